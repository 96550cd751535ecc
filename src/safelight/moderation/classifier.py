"""A classifier: squares of pixels in, probabilities by label and embeddings out, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.moderation.preprocess import Preprocessing
from safelight.runtime.backends import Network
from safelight.runtime.graph import EMBEDDING, PROBABILITIES

_OVERSAMPLING = 2
"""Pictures are decoded to at least twice the size they are then resized to: with less, scores move too far."""


@dataclass(frozen=True)
class ClassifierInfo:
    """Which classifier judged, and with which arithmetic.

    Args:
        name: The name it was asked for by.
        digest: SHA-256 of its weights, in hexadecimal.
        labels: Label names, in the order of the network's outputs. Always look a label up by name.
        embedding_dim: Length of an embedding.
        arithmetic: Road and precision, such as "fast, openvino bf16" or "exact, onnxruntime fp32".
    """

    name: str
    digest: str
    labels: tuple[str, ...]
    embedding_dim: int
    arithmetic: str

    def to_dict(self) -> dict[str, Any]:
        """Name, digest and arithmetic for JSON output."""
        return {"name": self.name, "digest": self.digest, "arithmetic": self.arithmetic}


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one square of pixels.

    Args:
        scores: Probability by label name.
        embedding: float32 [dimension].
    """

    scores: Mapping[str, float]
    embedding: NDArray[np.float32]


class Classifier(Protocol):
    """Anything that judges pictures. Implementations are thread-safe."""

    @property
    def info(self) -> ClassifierInfo:
        """Name, digest, labels and arithmetic."""

    @property
    def shrink_to(self) -> int | None:
        """Both sides of a picture may be decoded down to this many pixels; None: decode it in full."""

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Turn an upright sRGB picture of mode RGB into the square the network takes, uint8 [side, side, 3]."""

    def predict(self, squares: NDArray[np.uint8]) -> list[Prediction]:
        """Judge any number of squares, uint8 [n, side, side, 3]; memory does not grow with n beyond its results."""


@dataclass(frozen=True)
class NetworkClassifier:
    """A classifier that is a compiled network and its preprocessing.

    Args:
        info: Name, digest, labels and arithmetic.
        network: The compiled network, with outputs ``probabilities`` and ``embedding``.
        preprocessing: How pictures are resized and cropped.
        exact: Decode pictures in full, as the reference does, never at reduced scale.
    """

    info: ClassifierInfo
    network: Network
    preprocessing: Preprocessing
    exact: bool = False

    @property
    def shrink_to(self) -> int | None:
        """See ``Classifier.shrink_to``."""
        return None if self.exact else _OVERSAMPLING * self.preprocessing.resized

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """See ``Classifier.prepare``."""
        return self.preprocessing.apply(picture)

    def predict(self, squares: NDArray[np.uint8]) -> list[Prediction]:
        """See ``Classifier.predict``."""
        if len(squares) == 0:
            return []
        outputs = self.network.run(squares)
        return [
            Prediction(dict(zip(self.info.labels, map(float, row), strict=True)), embedding)
            for row, embedding in zip(outputs[PROBABILITIES], outputs[EMBEDDING], strict=True)
        ]
