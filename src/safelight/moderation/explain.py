"""Heat maps: which parts of an image raise or lower open-nsfw's score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from safelight.atomic_write import atomic_write
from safelight.errors import ExplanationUnsupportedError, UsageError
from safelight.images import DecodeLimits, ImageSource, iter_frames
from safelight.moderation.classifiers import open_nsfw
from safelight.runtime.backends import BackendPlan, CompiledNetwork, compile_network
from safelight.runtime.graph import FEATURES, PROBABILITIES
from safelight.runtime.machine import usable_cores

_SATURATION_LOG_ODDS = 16.0
"""Log-odds at which the colour saturates: a constant, so that a harmless image does not look alarming."""
_RED = np.array([214, 40, 57], np.float32)
_BLUE = np.array([38, 110, 190], np.float32)
_MAX_SIDE = 768


@dataclass(frozen=True)
class Explanation:
    """The contributions of an image's parts to its score.

    Args:
        unsafe: The probability of nsfw.
        contributions: float32 [7, 7], in log-odds: positive means towards nsfw; the mean is the score's log-odds.
        image: The image, at most 768 pixels on its longer side.
        heat_map: The heat map: the same image in grey, overlaid with red towards nsfw and blue away from it.
    """

    unsafe: float
    contributions: NDArray[np.float32]
    image: Image.Image
    heat_map: Image.Image

    def save(self, path: Path) -> None:
        """Write the heat map atomically as a PNG, with the contributions in its text chunks.

        Raises:
            OutputError: The file cannot be written.
        """
        info = PngInfo()
        info.add_text("contributions", np.array2string(self.contributions, precision=4, separator=", "))
        info.add_text("unsafe", repr(self.unsafe))
        with atomic_write(path) as temporary:
            self.heat_map.save(temporary, format="PNG", pnginfo=info)


class Explainer:
    """Explains open-nsfw by its exact class-activation map.

    The head is linear over averaged features, so the map is an exact decomposition of the score, not an approximation
    (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).
    """

    def __init__(self, classifier: str) -> None:
        if classifier != open_nsfw.NAME:
            raise ExplanationUnsupportedError(f"{classifier} has no exact explanation map.")
        graph = open_nsfw.build_graph(with_features=True)
        self._network: CompiledNetwork = compile_network(
            graph, BackendPlan("onnxruntime", "fp32", usable_cores())
        )
        weight, bias = open_nsfw.read_head()
        unsafe, safe = open_nsfw.LABELS.index("nsfw"), open_nsfw.LABELS.index("sfw")
        self._unsafe = unsafe
        self._weight = weight[:, unsafe] - weight[:, safe]
        self._bias = float(bias[unsafe] - bias[safe])

    def explain(
        self, source: ImageSource, *, limits: DecodeLimits | None = None, frame: int = 0
    ) -> Explanation:
        """Explain one frame of an image, in reference arithmetic.

        Args:
            source: The image.
            limits: Limits of its size.
            frame: Index of the frame, as in a verdict.

        Raises:
            ImageError, FileMissingError: The image cannot be read.
            UsageError: There is no such frame.
        """
        looked_at = iter_frames(source, limits=limits or DecodeLimits())
        seen = next((found for found in looked_at if found.index == frame), None)
        if seen is None:
            raise UsageError(f"frame {frame} is not among those that are looked at.")
        square = open_nsfw.PREPROCESSING.apply(seen.image)
        outputs = self._network.run(square[np.newaxis])
        contributions = self._contributions(outputs[FEATURES][0])
        picture = _shrink_to_fit(seen.image)
        unsafe = float(outputs[PROBABILITIES][0, self._unsafe])
        return Explanation(unsafe, contributions, picture, _overlay_heat_map(picture, contributions))

    def _contributions(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 [7, 7] whose mean is the log-odds of nsfw; the head's bias is spread evenly."""
        return np.asarray(np.tensordot(self._weight, features, axes=1) + self._bias, dtype=np.float32)


def _shrink_to_fit(image: Image.Image) -> Image.Image:
    """Return the image, at most 768 pixels on its longer side; a large one is not copied at full size."""
    scale = _MAX_SIDE / max(image.size)
    if scale >= 1:
        return image.copy()
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), reducing_gap=2)


def _overlay_heat_map(image: Image.Image, contributions: NDArray[np.float32]) -> Image.Image:
    heat = _resize_to_image(contributions, image.size)
    strength = np.clip(np.abs(heat) / _SATURATION_LOG_ODDS, 0, 1)[..., np.newaxis] * 0.8
    colour = np.where((heat > 0)[..., np.newaxis], _RED, _BLUE)
    grey = np.repeat(np.asarray(image.convert("L"), np.float32)[..., np.newaxis], 3, axis=2)
    blended = (1 - strength) * grey + strength * colour
    painted = Image.fromarray(np.round(blended).astype(np.uint8))
    _outline_visible_box(painted)
    return painted


def _resize_to_image(contributions: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize the 7 x 7 map to the part of the image that the network saw; it is zero outside."""
    width, height = size
    left, top, right, bottom = _visible_box(size)
    smooth = Image.fromarray(contributions).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    heat = np.zeros((height, width), np.float32)
    heat[top:bottom, left:right] = np.asarray(smooth)
    return heat


def _visible_box(size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    left, top, right, bottom = open_nsfw.PREPROCESSING.visible_box(size)
    x, y = round(left * width), round(top * height)
    return x, y, max(round(right * width), x + 1), max(round(bottom * height), y + 1)


def _outline_visible_box(image: Image.Image) -> None:
    """Outline the part of the image that the network saw."""
    left, top, right, bottom = _visible_box(image.size)
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
