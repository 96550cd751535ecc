"""Recall: read an image's metadata, or a text, into request fields. Nothing is generated here."""

from safelight.generation.recall.filling import Here, Known, Recalled, Source, Unfilled
from safelight.generation.recall.reading import recall_picture, recall_text

__all__ = ["Here", "Known", "Recalled", "Source", "Unfilled", "recall_picture", "recall_text"]
