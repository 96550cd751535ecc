"""How a family's pipelines look at reference pictures: how many, by which classes, and in which sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

TEXT = "text-to-image"
Size = tuple[int, int]
"""Width and height in pixels."""
_MULTIPLE = 16


def result_size(_: Size, result: Size) -> Size:
    """The size of a picture that has to have that of the result."""
    return result


def as_it_is(picture: Size, _: Size) -> Size:
    """The size of a picture whose pipeline makes it fit itself."""
    return picture


def within_area(picture: Size, native: int) -> Size:
    """The picture's own size; one with more pixels than the checkpoint was trained on keeps its proportions only.

    Args:
        picture: Width and height in pixels.
        native: Width and height on which the checkpoint was trained, in pixels.
    """
    width, height = picture
    share = min(1.0, math.sqrt(native * native / (width * height)))
    width, height = (int(side * share) // _MULTIPLE * _MULTIPLE for side in picture)
    return width, height


def _nothing(_mode: str, _size: Size) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class References:
    """How a family looks at reference pictures.

    Args:
        pipelines: diffusers' pipeline class by mode. It is used where a request has references; that for inpainting
            always, since it looks at the initial picture.
        parameters: The pipelines' names of the pictures, by mode; there are none in other modes. For inpainting it is
            one picture beside the initial one.
        maximum: Most pictures; None for as many as the memory holds.
        required: Nothing is generated without one.
        image_guidance: Guidance is also by the picture, with a scale of its own: the network computes three rows at
            once, for the prompt, for the negative prompt, and for that without the picture.
        min_side: Least width and height of a picture, in pixels.
        max_ratio: Largest quotient of its sides.
        default_size: The size of the result, from that of the first picture and the side that the checkpoint was
            trained on.
        painted_size: The size in which inpainting is computed, from the one that was asked for; None for that itself.
        fitted_size: The size in which a picture is given to the pipeline, from its own and that of the result.
        components: Components beside those of the family that the pipelines need: ``processor``, that of a text encoder
            that sees the pictures; or an image encoder and its processor.
        arguments: Further arguments of every call, by mode and size of the result.
    """

    pipelines: Mapping[str, str]
    parameters: Mapping[str, str]
    maximum: int | None = 1
    required: bool = False
    image_guidance: bool = False
    min_side: int = 16
    max_ratio: float = 50.0
    default_size: Callable[[Size, int], Size] = within_area
    painted_size: Callable[[Size], Size] | None = None
    fitted_size: Callable[[Size, Size], Size] = as_it_is
    components: tuple[str, ...] = ()
    arguments: Callable[[str, Size], Mapping[str, Any]] = field(default=_nothing)

    def maximum_in(self, mode: str) -> int | None:
        """Most pictures in a mode, beside the initial one; None for as many as the memory holds."""
        return self.maximum if mode == TEXT else 1

    def to_dict(self) -> dict[str, Any]:
        """How many pictures are looked at, and in which modes, for JSON output."""
        return {
            "required": self.required,
            "maximum": self.maximum,
            "modes": list(self.parameters),
            "image_guidance": self.image_guidance,
        }

    def call_arguments(self, mode: str, pictures: Sequence[Any], size: Size) -> Mapping[str, Any]:
        """The arguments of a pipeline's call that have to do with pictures.

        Args:
            mode: The mode, one of ``pipelines``.
            pictures: The references; none where inpainting looks at the initial picture alone.
            size: Width and height of the result, in pixels.
        """
        arguments = dict(self.arguments(mode, size))
        if pictures:
            arguments[self.parameters[mode]] = pictures[0] if self.maximum_in(mode) == 1 else list(pictures)
        return MappingProxyType(arguments)
