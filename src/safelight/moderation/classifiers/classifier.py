"""Classifiers: from square images to probabilities by label and embeddings, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.moderation.classifiers.preprocess import Preprocessing
from safelight.runtime.backends import CompiledNetwork
from safelight.runtime.graph import EMBEDDING, PROBABILITIES

_DECODE_OVERSAMPLING = 2
"""Images are decoded at no less than this multiple of the size they are then resized to; below it, scores change."""


@dataclass(frozen=True)
class ClassifierInfo:
    """Identity of a classifier, and the arithmetic it runs in.

    Args:
        name: Its name in requests.
        digest: SHA-256 of its weights, in hexadecimal.
        labels: Label names, in the order of the network's outputs. Always look a label up by name.
        embedding_dim: Length of an embedding.
        arithmetic: Mode, backend and precision, such as "fast, openvino bf16" or "exact, onnxruntime fp32".
    """

    name: str
    digest: str
    labels: tuple[str, ...]
    embedding_dim: int
    arithmetic: str

    def to_dict(self) -> dict[str, Any]:
        """Return name, digest and arithmetic for JSON output."""
        return {"name": self.name, "digest": self.digest, "arithmetic": self.arithmetic}


@dataclass(frozen=True)
class Prediction:
    """A classifier's output for one square image.

    Args:
        scores: Probability by label name.
        embedding: float32 [dimension].
    """

    scores: Mapping[str, float]
    embedding: NDArray[np.float32]


class Classifier(Protocol):
    """Classifies images. Implementations are thread-safe."""

    @property
    def info(self) -> ClassifierInfo:
        """Name, digest, labels and arithmetic."""

    @property
    def shrink_to(self) -> int | None:
        """Minimum side in pixels to which an image may be reduced while decoding; None: decode it in full."""

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Preprocess an upright sRGB image of mode RGB into the network's input, uint8 [side, side, 3]."""

    def predict(self, squares: NDArray[np.uint8]) -> list[Prediction]:
        """Classify n square images, uint8 [n, side, side, 3]; apart from the results, memory does not grow with n."""


@dataclass(frozen=True)
class NetworkClassifier:
    """A classifier made of a compiled network and its preprocessing.

    Args:
        info: Name, digest, labels and arithmetic.
        network: The compiled network, with outputs ``probabilities`` and ``embedding``.
        preprocessing: How images are resized and cropped.
        exact: Decode images in full, as the reference does, never at reduced scale.
    """

    info: ClassifierInfo
    network: CompiledNetwork
    preprocessing: Preprocessing
    exact: bool = False

    @property
    def shrink_to(self) -> int | None:
        """See ``Classifier.shrink_to``."""
        return None if self.exact else _DECODE_OVERSAMPLING * self.preprocessing.resized

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
