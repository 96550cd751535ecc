"""Recall: read an image's metadata, or a text, into request fields. Nothing is generated here."""

from safelight.generation.recall.detection import recall_image, recall_text
from safelight.generation.recall.field_builder import (
    AvailableModels,
    KnownAdapter,
    KnownCheckpoint,
    RecallResult,
    Source,
    UnfilledField,
)

__all__ = [
    "AvailableModels",
    "KnownAdapter",
    "KnownCheckpoint",
    "RecallResult",
    "Source",
    "UnfilledField",
    "recall_image",
    "recall_text",
]
