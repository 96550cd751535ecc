"""What a classifier is before it is compiled, and the registry of those that come with a package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ClassifierUnknownError
from safelight.moderation.classifiers.cascade import QuantizedForm
from safelight.moderation.classifiers.preprocess import Preprocessing
from safelight.moderation.classifiers.probe_images import probe_images
from safelight.plugins import Registry
from safelight.runtime.graph import OnnxGraph


@dataclass(frozen=True)
class ClassifierDefinition:
    """A classifier before compilation: its graph, labels and preprocessing.

    Args:
        name: Its name in requests.
        digest: SHA-256 of its weights.
        labels: Label names in the order of the outputs.
        graph: The network.
        preprocessing: How images are resized and cropped.
        folder: Folder of the timm checkpoint; None for a registered classifier.
        quantized: Its int8 form; None if it has none.
    """

    name: str
    digest: str
    labels: tuple[str, ...]
    graph: OnnxGraph
    preprocessing: Preprocessing
    folder: Path | None = None
    quantized: QuantizedForm | None = None

    def probe_inputs(self) -> NDArray[np.uint8]:
        """Return the probe images, preprocessed for this classifier: uint8 [n, side, side, 3]."""
        return np.stack([self.preprocessing.apply(picture) for picture in probe_images()])


@dataclass(frozen=True)
class PackagedClassifier:
    """A classifier whose weights are in an installed package.

    Args:
        name: Its name in requests.
        digest: SHA-256 of its weights.
        package: The distribution that has the weights.
        weights: Their path within the distribution.
        define: Reads the weights and returns the definition.
    """

    name: str
    digest: str
    package: str
    weights: str
    define: Callable[[], ClassifierDefinition]


CLASSIFIERS = Registry[PackagedClassifier](
    "classifier",
    "register_classifiers",
    ClassifierUnknownError,
    ("safelight.moderation.classifiers.open_nsfw",),
    name_field="name",
)
"""The classifiers that are there without being pulled; others are found in the model store or in a folder."""
