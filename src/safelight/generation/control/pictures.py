"""The control pictures of a run: preprocessed, and fitted to what each pass generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from safelight.generation.canvas.init_image import InitImage
from safelight.generation.control.planning import PlannedControl
from safelight.generation.control.preprocessors import (
    PreprocessContext,
    find_preprocessor,
    pixel_perfect_resolution,
)
from safelight.settings import Settings

Size = tuple[int, int]


@dataclass(frozen=True)
class ControlPicture:
    """A control picture as a pass uses it.

    Args:
        control: What was asked for, and its network.
        pixels: (height, width, 3), 0 to 1, in the size of the pass; a network that completes
            pictures has another value in the hole.
        mask: (height, width), 0 to 1: where it counts; None for everywhere.
    """

    control: PlannedControl
    pixels: NDArray[np.float32]
    mask: NDArray[np.float32] | None


@dataclass(frozen=True)
class ImagePrompt:
    """A picture that an IP-Adapter looks at.

    Args:
        control: What was asked for, its adapter and its image encoder.
        image: RGB.
        mask: (height, width), 0 to 1, in the size of the pass: where it counts; None for everywhere.
        kept: What image encoders made of pictures, kept for the run.
        is_own: Whether the picture is the control's own, and so the same in all passes and pictures of the run.
    """

    control: PlannedControl
    image: Image.Image
    mask: NDArray[np.float32] | None
    kept: dict[object, Any]
    is_own: bool


@dataclass(frozen=True)
class GivenPicture:
    """The pictures of one control as they were given, decoded.

    Args:
        image: RGB; None where the initial picture takes its place.
        mask: RGB; None without one.
    """

    image: Image.Image | None
    mask: Image.Image | None


@dataclass(frozen=True)
class ControlPictures:
    """The control pictures of a run, made ready for each size once.

    Args:
        controls: The controls.
        given: Their pictures, likewise.
        settings: For preprocessors.
        should_stop: Likewise.
    """

    controls: Sequence[PlannedControl] = ()
    given: Sequence[GivenPicture] = ()
    settings: Settings | None = None
    should_stop: Callable[[], bool] = lambda: False
    _maps: dict[tuple[int, Size], Image.Image] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def at(self, size: Size, start: InitImage) -> tuple[ControlPicture | ImagePrompt, ...]:
        """The pictures of the controls that have an effect, for a pass.

        Args:
            size: Width and height of the pass in pixels.
            start: What the picture starts from; with only a part of it to be generated, the controls count for that.

        Raises:
            SafelightError: A preprocessor failed.
        """
        return tuple(self._at(control, size, start) for control in self.controls if control.has_effect)

    def _at(self, control: PlannedControl, size: Size, start: InitImage) -> ControlPicture | ImagePrompt:
        given, options = self.given[control.index], control.options
        whole, box = _canvas(size, start)
        image = given.image
        if image is None:
            image = start.image if start.canvas is None else start.canvas.init_image
        assert image is not None
        mask = None if given.mask is None else mask_of_pass(given.mask, size, start, options.resize)
        if control.model.architecture.is_ip_adapter:
            return ImagePrompt(control, image, mask, self._kept, given.image is not None)
        fitted = _cut(fit(self._map(control, image, whole), whole, options.resize), box, size)
        pixels = np.asarray(fitted.convert("RGB"), dtype=np.float32) / np.float32(255)
        if control.kind == "inpaint" and start.mask is not None:
            hole = np.float32(control.model.architecture.hole)
            pixels = np.where(np.asarray(start.mask)[..., None] > 0, hole, pixels)
        return ControlPicture(control, pixels, mask)

    def _map(self, control: PlannedControl, image: Image.Image, size: Size) -> Image.Image:
        """What the preprocessor makes of a picture; the picture itself without one."""
        options = control.options.preprocessor
        if options is None:
            return image
        key = control.index, size
        if key not in self._maps or self.given[control.index].image is None:
            assert self.settings is not None
            resolution = options.resolution or pixel_perfect_resolution(
                image.size, size, fit=control.options.resize == "fill"
            )
            context = PreprocessContext(self.settings, should_stop=self.should_stop)
            preprocessor = find_preprocessor(options.name)
            parameters: Mapping[str, Any] = options.parameters
            self._maps[key] = preprocessor.run(image, parameters, resolution=resolution, context=context)
        return self._maps[key]


def mask_of_pass(mask: Image.Image, size: Size, start: InitImage, resize: str) -> NDArray[np.float32]:
    """A mask in the size of a pass, (height, width), 0 to 1; of the whole picture, whatever part of it is generated.

    Args:
        mask: Any mode; its lightness counts.
        size: Width and height of the pass in pixels.
        start: What the picture starts from.
        resize: As in ``fit``.
    """
    whole, box = _canvas(size, start)
    fitted = _cut(fit(mask.convert("L"), whole, resize), box, size)
    return np.asarray(fitted, dtype=np.float32) / np.float32(255)


def _canvas(size: Size, start: InitImage) -> tuple[Size, tuple[int, int, int, int] | None]:
    """The size of the whole picture, and the part of it that is generated; None for all of it."""
    if start.canvas is None:
        return size, None
    whole = start.canvas.original.size
    box = start.canvas.box
    return (size, None) if box == (0, 0, *whole) else (whole, box)


def _cut(image: Image.Image, box: tuple[int, int, int, int] | None, size: Size) -> Image.Image:
    return image if box is None else image.crop(box).resize(size, Image.Resampling.LANCZOS)


def fit(image: Image.Image, size: Size, how: str) -> Image.Image:
    """A picture of the given size.

    Args:
        image: The picture; it is returned itself where it has the size.
        size: Width and height in pixels.
        how: One of ``Control.resize``: crop what is too much, fill what is missing with the edge, or stretch.
    """
    if image.size == size:
        return image
    if how == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if how == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    inner = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    left, top = ((whole - part) // 2 for whole, part in zip(size, inner.size, strict=True))
    around = ((top, size[1] - inner.height - top), (left, size[0] - inner.width - left))
    pixels = np.asarray(inner)
    return Image.fromarray(np.pad(pixels, around if pixels.ndim == 2 else (*around, (0, 0)), mode="edge"))
