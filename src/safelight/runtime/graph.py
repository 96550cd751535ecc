"""A network as an ONNX graph in memory, with the names Safelight gives its input and outputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

PIXELS = "pixels"
"""The one input: uint8 [batch, height, width, 3], RGB. Normalisation is part of the graph."""
PROBABILITIES = "probabilities"
"""Output: float32 [batch, labels], each row sums to 1."""
EMBEDDING = "embedding"
"""Output: float32 [batch, dimension], the feature under the linear head."""
FEATURES = "features"
"""Output of explanation graphs only: float32 [batch, dimension, rows, columns]."""


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX network that takes raw pixels.

    Args:
        onnx: The serialised ONNX model.
        height: Rows of the input, in pixels.
        width: Columns of the input, in pixels.
        outputs: Names of the outputs, in the model's order.
    """

    onnx: bytes
    height: int
    width: int
    outputs: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the serialised model, in hexadecimal."""
        return hashlib.sha256(self.onnx).hexdigest()
