"""Translate the bodies of extra-single-image and extra-batch-images to upscaling, and crop the result to a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from safelight.errors import FieldError
from safelight.generation.request import Share
from safelight.generation.upscaling.finding import UpscalerInfo
from safelight.images import DecodeLimits, decode
from safelight.images.encode import encode_picture
from safelight.images.metadata import Metadata, read_metadata
from safelight.server.compat.a1111_fields import Base64, Name, Sent
from safelight.server.compat.a1111_refusals import check_extras
from safelight.server.compat.a1111_upscalers import NOTHING, named
from safelight.server.compat.resizing import CROP, Size, resize
from safelight.server.picture_cost import reading, writing
from safelight.server.picture_threads import Cost

MOST_PICTURES = 64
Side = Annotated[int, Field(ge=1, le=16384)]


class Extras(Sent):
    """Fields of both routes. All other fields are kept, and ``a1111_refusals`` checks them."""

    resize_mode: int = Field(0, ge=0, le=1, description="0: by upscaling_resize; 1: to a width and height.")
    upscaling_resize: float = Field(2.0, ge=1, le=8, allow_inf_nan=False, description="Factor on both sides.")
    upscaling_resize_w: Side = Field(512, description="Width, with resize_mode 1.")
    upscaling_resize_h: Side = Field(512, description="Height, with resize_mode 1.")
    upscaling_crop: bool = Field(True, description="Crop to exactly that width and height.")
    upscaler_1: Name = Field(
        NOTHING, description="From /sdapi/v1/upscalers; None keeps the picture as it is."
    )
    upscaler_2: Name = Field(NOTHING, description="Must be None: a second upscaler is not supported.")
    extras_upscaler_2_visibility: Share = Field(0.0, description="Must be 0, unless upscaler_2 is None.")
    gfpgan_visibility: Share = Field(0.0, description="Must be 0: there is no face restoration.")
    codeformer_visibility: Share = Field(0.0, description="Must be 0, unless upscaler_2 is None.")
    codeformer_weight: Share = Field(0.0, description="Without effect.")
    show_extras_results: bool = Field(True, description="Without effect.")
    upscale_first: bool = Field(False, description="Without effect.")


class SingleExtras(Extras):
    """The body of extra-single-image."""

    image: Base64


class NamedPicture(BaseModel):
    """One of several images."""

    model_config = ConfigDict(frozen=True)

    data: Base64
    name: Name = ""


class BatchExtras(Extras):
    """The body of extra-batch-images."""

    image_list: list[NamedPicture] = Field(alias="imageList", min_length=1, max_length=MOST_PICTURES)


@dataclass(frozen=True)
class Plan:
    """How to upscale an image.

    Args:
        by: Factor on width and height.
        upscaler: Our name of the upscaler.
        crop: Width and height in pixels to crop to afterwards; None for no crop.
    """

    by: float
    upscaler: str
    crop: Size | None = None

    @property
    def summary(self) -> dict[str, str]:
        """The upscaling under A1111's infotext keys."""
        return {"Postprocess upscale by": f"{self.by:g}", "Postprocess upscaler": self.upscaler}


def check(extras: Extras) -> None:
    """Check that a body asks for nothing that Safelight does not support.

    Raises:
        FieldError: A field asks for something unsupported.
    """
    check_extras(extras.model_extra or {})
    for name in ("gfpgan_visibility", "codeformer_visibility"):
        if getattr(extras, name) > 0:
            raise FieldError(f"{name}: there is no face restoration.", field=name, hint="Leave it at 0.")
    if extras.upscaler_2 != NOTHING and extras.extras_upscaler_2_visibility > 0:
        raise FieldError(
            "upscaler_2: the results of two upscalers are not mixed.",
            field="upscaler_2",
            hint="Leave it at None.",
        )


def plan(extras: Extras, data: bytes, upscalers: Sequence[UpscalerInfo], limits: DecodeLimits) -> Plan:
    """Choose the factor and the upscaler for an image.

    Args:
        extras: The body, checked.
        data: The image file.
        upscalers: The available upscalers.
        limits: Limits for decoding the image.

    Raises:
        UpscalerUnknownError: There is no upscaler of that name.
        FieldError: The requested size is smaller than the image, or more than eight times as large.
        ImageError: The image cannot be read.
    """
    if extras.upscaler_1 == NOTHING:
        return Plan(1.0, "nearest")
    upscaler = named(extras.upscaler_1, upscalers)
    if extras.resize_mode == 0:
        return Plan(extras.upscaling_resize, upscaler)
    target = extras.upscaling_resize_w, extras.upscaling_resize_h
    size = decode(data, limits=limits).image.size
    by = max(wanted / side for wanted, side in zip(target, size, strict=True))
    if not 1 <= by <= 8:
        raise FieldError(
            f"upscaling_resize_w: from {size[0]} x {size[1]} to {target[0]} x {target[1]} is a factor of {by:.2f}.",
            field="upscaling_resize_w",
            hint="Factors of 1 to 8 are possible.",
        )
    return Plan(by, upscaler, target if extras.upscaling_crop else None)


def plan_cost(extras: Extras, data: bytes, limits: DecodeLimits) -> Cost:
    """The cost of ``plan`` with the same arguments."""
    return Cost() if extras.resize_mode == 0 else reading(data, limits)


def cropped_cost(data: bytes, size: Size | None, limits: DecodeLimits) -> Cost:
    """The cost of ``cropped`` with the same arguments."""
    return Cost() if size is None else reading(data, limits) + writing(size, "png")


def cropped(data: bytes, size: Size | None, limits: DecodeLimits) -> bytes:
    """Crop the file of an upscaled image around its center; the infotext is kept.

    Args:
        data: The file.
        size: Width and height in pixels; None for no crop.
        limits: Limits for decoding.
    """
    if size is None:
        return data
    image = decode(data, limits=limits).image
    if image.size == size:
        return data
    metadata = Metadata(parameters=read_metadata(data, limits=limits).parameters)
    return encode_picture(resize(image, size, CROP), "png", metadata)
