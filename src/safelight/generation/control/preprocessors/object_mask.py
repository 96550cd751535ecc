"""The mask of an object from points on it or a box around it, by a network such as SAM that users have pulled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from safelight.errors import AboveMaximumError, FieldMissingError, NonFiniteError
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.generation.control.preprocessors.pulled_model import NAME_PATTERN, DenseNetwork, ModelKind
from safelight.plugins import Registry, hookimpl

OBJECT_MASK = "object_mask"
MASKS = ModelKind("masks", "AutoModelForMaskGeneration", "facebook/sam2.1-hiera-tiny", "AutoProcessor")
_FRACTION = r"(?:0(?:\.\d{1,9})?|1(?:\.0{1,9})?)"
_POINT = rf"{_FRACTION},{_FRACTION}(?:,[01])?"
MAX_POINTS = 64

Point = tuple[float, float, bool]
"""A point's place from the left and from the top, and whether the object is there."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class ObjectMaskParameters(Parameters):
    """Parameters of the mask of an object."""

    points: str = Field(
        "",
        pattern=rf"^(?:{_POINT}(?:;{_POINT}){{0,{MAX_POINTS - 1}}})?$",
        max_length=3000,
        description="Points on the object: x,y as fractions of width and height, with semicolons between them; x,y,0 "
        "is a point beside it.",
    )
    box: str = Field(
        "",
        pattern=rf"^(?:{_FRACTION}(?:,{_FRACTION}){{3}})?$",
        max_length=100,
        description="A box around it: left,top,right,bottom, likewise.",
    )
    model: str = Field(
        MASKS.example,
        pattern=NAME_PATTERN,
        max_length=200,
        description="The model's name on the hub, or its folder's.",
    )

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if not self.points and not self.box:
            text = "the mask of an object needs a point on it or a box around it"
            raise PydanticCustomError(FieldMissingError.code, text, {"field": "points"})
        return self


def place_parameters(
    points: Sequence[Point], box: Box | None, size: tuple[int, int], model: str | None = None
) -> dict[str, Any]:
    """The parameters for points and a box in pixels.

    Args:
        points: In pixels of the picture.
        box: Likewise.
        size: Its width and height.
        model: The model's name; the usual one when not given.

    Raises:
        AboveMaximumError: A point or the box lies beyond the picture's edges.
        FieldMissingError: There is neither a point nor a box.
    """
    if not points and box is None:
        raise FieldMissingError("Give a point on the object or a box around it.", field="points")
    for number, (x, y, _) in enumerate(points):
        _check_inside(x, y, size, f"points.{number}")
    if box is not None:
        _check_inside(box[0], box[1], size, "box")
        _check_inside(box[2], box[3], size, "box")
    width, height = size
    found = {
        "points": ";".join(
            f"{_fraction(x / width)},{_fraction(y / height)}{'' if inside else ',0'}"
            for x, y, inside in points
        )
    }
    if box is not None:
        sides = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        found["box"] = ",".join(map(_fraction, sides))
    return found | ({} if model is None else {"model": model})


def _check_inside(x: float, y: float, size: tuple[int, int], field: str) -> None:
    for place, length in zip((x, y), size, strict=True):
        if not 0 <= place <= length:
            raise AboveMaximumError(
                f"The place {x:g}, {y:g} lies outside of the picture, which has {size[0]} x {size[1]} pixels.",
                hint="",
                field=field,
                context={"maximum": length},
            )


def _fraction(value: float) -> str:
    return f"{value:.9f}"


def object_mask(
    pixels: Pixels, parameters: ObjectMaskParameters, context: PreprocessContext
) -> NDArray[np.uint8]:
    """White where the object is: of the masks that the network proposes, the one that it is surest of."""
    with MASKS.lease(parameters.model, context) as network:
        context.check_not_stopped()
        found: NDArray[np.bool_] = _surest_mask(network, pixels, _prompts(parameters, pixels))
    return np.where(found, np.uint8(255), np.uint8(0))


def _prompts(parameters: ObjectMaskParameters, pixels: Pixels) -> Mapping[str, Any]:
    """Points and box as processors of transformers take them, in pixels: of one object in one picture."""
    height, width = pixels.shape[:2]
    prompts: dict[str, Any] = {}
    if parameters.points:
        points = [[float(each) for each in point.split(",")] for point in parameters.points.split(";")]
        prompts["input_points"] = [[[[x * width, y * height] for x, y, *_ in points]]]
        prompts["input_labels"] = [[[int(label[0]) if label else 1 for _, _, *label in points]]]
    if parameters.box:
        left, top, right, bottom = (float(each) for each in parameters.box.split(","))
        prompts["input_boxes"] = [[[left * width, top * height, right * width, bottom * height]]]
    return prompts


def _surest_mask(network: DenseNetwork, pixels: Pixels, prompts: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask with the highest score, [height, width].

    Raises:
        NonFiniteError: The network's numbers are not finite.
    """
    import torch

    inputs = network.processor(images=Image.fromarray(pixels), return_tensors="pt", **prompts)
    device = next(network.network.parameters()).device
    names = ("pixel_values", *prompts)
    with torch.inference_mode():
        output = network.network(**{name: inputs[name].to(device) for name in names}, multimask_output=True)
    scores, masks = output.iou_scores.float().cpu(), output.pred_masks.float().cpu()
    if not (torch.isfinite(scores).all() and torch.isfinite(masks).all()):
        raise NonFiniteError("The network of the preprocessor gave numbers that are not finite.")
    sizes = {name: inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs}
    (full,) = network.processor.post_process_masks(masks, **sizes)
    found: NDArray[np.bool_] = full[0, int(scores[0, 0].argmax())].numpy().astype(bool)
    return found


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register the mask of an object."""
    registry.register(
        OBJECT_MASK,
        Preprocessor(
            OBJECT_MASK,
            "Mask of an object",
            "White where the object lies that points or a box show, for inpainting, by a model that you have pulled.",
            "",
            ObjectMaskParameters,
            object_mask,
            available=MASKS.is_installed,
            uses_torch=True,
        ),
    )
