"""From what a picture or a text says of how it was made, back to the fields of a request. Nothing is drawn here."""

from safelight.generation.recall.filling import Here, Known, Recalled, Source, Unfilled
from safelight.generation.recall.reading import recall_picture, recall_text

__all__ = ["Here", "Known", "Recalled", "Source", "Unfilled", "recall_picture", "recall_text"]
