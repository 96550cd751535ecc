"""Translate the bodies of extra-single-image and extra-batch-images to upscaling, and crop the result to a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from safelight.errors import UnsupportedFieldError
from safelight.generation.request import MAX_UPSCALE, Fraction
from safelight.generation.upscaling.registry import UpscalerInfo
from safelight.images import DecodeLimits, decode
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.server.api.a1111.schemas import Base64, LenientBody, Name
from safelight.server.api.a1111.unsupported import check_unsupported
from safelight.server.api.image_resizing import CROP, Size, resize
from safelight.server.api.upscaler_names import NO_UPSCALER, find_upscaler
from safelight.server.core.executors.image_cost import decode_cost, encode_cost
from safelight.server.core.executors.image_executor import ImageCost

MAX_IMAGES = 64
Side = Annotated[int, Field(ge=1, le=16384)]


class ExtrasBody(LenientBody):
    """Fields of both routes. All other fields are kept, and ``a1111_refusals`` checks them."""

    resize_mode: int = Field(0, ge=0, le=1, description="0: by upscaling_resize; 1: to a width and height.")
    upscaling_resize: float = Field(
        2.0, ge=1, le=MAX_UPSCALE, allow_inf_nan=False, description="Factor on both sides."
    )
    upscaling_resize_w: Side = Field(512, description="Width, with resize_mode 1.")
    upscaling_resize_h: Side = Field(512, description="Height, with resize_mode 1.")
    upscaling_crop: bool = Field(True, description="Crop to exactly that width and height.")
    upscaler_1: Name = Field(
        NO_UPSCALER, description="From /sdapi/v1/upscalers; None keeps the picture as it is."
    )
    upscaler_2: Name = Field(NO_UPSCALER, description="Must be None: a second upscaler is not supported.")
    extras_upscaler_2_visibility: Fraction = Field(0.0, description="Must be 0, unless upscaler_2 is None.")
    gfpgan_visibility: Fraction = Field(0.0, description="Must be 0: there is no face restoration.")
    codeformer_visibility: Fraction = Field(0.0, description="Must be 0, unless upscaler_2 is None.")
    codeformer_weight: Fraction = Field(0.0, description="Without effect.")
    show_extras_results: bool = Field(True, description="Without effect.")
    upscale_first: bool = Field(False, description="Without effect.")


class ExtraSingleImageBody(ExtrasBody):
    """The body of extra-single-image."""

    image: Base64


class NamedImage(BaseModel):
    """One of several images."""

    model_config = ConfigDict(frozen=True)

    data: Base64
    name: Name = ""


class ExtraBatchImagesBody(ExtrasBody):
    """The body of extra-batch-images."""

    image_list: list[NamedImage] = Field(alias="imageList", min_length=1, max_length=MAX_IMAGES)


@dataclass(frozen=True)
class UpscalePlan:
    """How to upscale an image.

    Args:
        factor: Factor on width and height.
        upscaler: Our name of the upscaler.
        crop: Width and height in pixels to crop to afterwards; None for no crop.
    """

    factor: float
    upscaler: str
    crop: Size | None = None

    @property
    def summary(self) -> dict[str, str]:
        """The upscaling under A1111's infotext keys."""
        return {"Postprocess upscale by": f"{self.factor:g}", "Postprocess upscaler": self.upscaler}


def check_body(body: ExtrasBody) -> None:
    """Check that a body asks for nothing that Safelight does not support.

    Raises:
        UnsupportedFieldError: A field asks for something unsupported.
    """
    check_unsupported(body.model_extra or {})
    for name in ("gfpgan_visibility", "codeformer_visibility"):
        if getattr(body, name) > 0:
            raise UnsupportedFieldError(
                f"{name}: there is no face restoration.", field=name, hint="Leave it at 0."
            )
    if body.upscaler_2 != NO_UPSCALER and body.extras_upscaler_2_visibility > 0:
        raise UnsupportedFieldError(
            "upscaler_2: the results of two upscalers are not mixed.",
            field="upscaler_2",
            hint="Leave it at None.",
        )


def plan_upscale(
    body: ExtrasBody, data: bytes, upscalers: Sequence[UpscalerInfo], limits: DecodeLimits
) -> UpscalePlan:
    """Choose the factor and the upscaler for an image.

    Args:
        body: The body, checked.
        data: The image file.
        upscalers: The available upscalers.
        limits: Limits for decoding the image.

    Raises:
        UpscalerUnknownError: There is no upscaler of that name.
        UnsupportedFieldError: The requested size is smaller than the image, or more than
            ``MAX_UPSCALE`` times as large.
        ImageError: The image cannot be read.
    """
    if body.upscaler_1 == NO_UPSCALER:
        return UpscalePlan(1.0, "nearest")
    upscaler = find_upscaler(body.upscaler_1, upscalers)
    if body.resize_mode == 0:
        return UpscalePlan(body.upscaling_resize, upscaler)
    target = body.upscaling_resize_w, body.upscaling_resize_h
    size = decode(data, limits=limits).image.size
    by = max(wanted / side for wanted, side in zip(target, size, strict=True))
    if not 1 <= by <= MAX_UPSCALE:
        raise UnsupportedFieldError(
            f"upscaling_resize_w: from {size[0]} x {size[1]} to {target[0]} x {target[1]} is a factor of {by:.2f}.",
            field="upscaling_resize_w",
            hint=f"Factors of 1 to {MAX_UPSCALE} are possible.",
        )
    return UpscalePlan(by, upscaler, target if body.upscaling_crop else None)


def plan_upscale_cost(body: ExtrasBody, data: bytes, limits: DecodeLimits) -> ImageCost:
    """The cost of ``plan_upscale`` with the same arguments."""
    return ImageCost() if body.resize_mode == 0 else decode_cost(data, limits)


def crop_cost(data: bytes, size: Size | None, limits: DecodeLimits) -> ImageCost:
    """The cost of ``crop_to_size`` with the same arguments."""
    return ImageCost() if size is None else decode_cost(data, limits) + encode_cost(size, "png")


def crop_to_size(data: bytes, size: Size | None, limits: DecodeLimits) -> bytes:
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
    metadata = Metadata(infotext=read_metadata(data, limits=limits).infotext)
    return encode_image(resize(image, size, CROP), "png", metadata)
