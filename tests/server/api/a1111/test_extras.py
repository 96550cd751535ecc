from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from safelight.errors import UnsupportedFieldError, UpscalerUnknownError
from safelight.generation.upscaling.registry import find_upscalers
from safelight.images import DecodeLimits
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.server.api.a1111.extras import (
    ExtraBatchImagesBody,
    ExtraSingleImageBody,
    UpscalePlan,
    check_body,
    crop_to_size,
    plan_upscale,
)

LIMITS = DecodeLimits()
UPSCALERS = find_upscalers(Path("/nowhere"))
PICTURE = encode_image(Image.new("RGB", (40, 20), "red"), "png", Metadata(infotext="a cat", record="{}"))


def plan_extras(**sent: Any) -> UpscalePlan:
    extras = ExtraSingleImageBody(image="aGk=", **sent)
    check_body(extras)
    return plan_upscale(extras, PICTURE, UPSCALERS, LIMITS)


def test_by_a_factor() -> None:
    assert plan_extras(upscaler_1="Lanczos", upscaling_resize=3) == UpscalePlan(3.0, "lanczos")
    assert plan_extras(upscaler_1="Lanczos") == UpscalePlan(2.0, "lanczos")


def test_the_upscaler_none_leaves_the_picture_unchanged() -> None:
    assert plan_extras() == UpscalePlan(1.0, "nearest")


def test_to_a_size() -> None:
    to_size = {"upscaler_1": "Nearest", "resize_mode": 1, "upscaling_resize_w": 60, "upscaling_resize_h": 60}
    assert plan_extras(**to_size) == UpscalePlan(3.0, "nearest", (60, 60))
    assert plan_extras(**to_size, upscaling_crop=False) == UpscalePlan(3.0, "nearest")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"gfpgan_visibility": 0.5}, "gfpgan_visibility"),
        ({"codeformer_visibility": 1}, "codeformer_visibility"),
        ({"upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}, "upscaler_2"),
        ({"script_args": {}, "rembg": True}, "rembg"),
        (
            {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 10, "upscaling_resize_h": 5},
            "upscaling_resize_w",
        ),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 4000}, "upscaling_resize_w"),
    ],
)
def test_unsupported_fields_are_refused_by_name(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        plan_extras(**sent)
    assert caught.value.field == field


def test_an_unknown_upscaler() -> None:
    with pytest.raises(UpscalerUnknownError, match="SwinIR"):
        plan_extras(upscaler_1="SwinIR 4x")


def test_cropping_keeps_the_infotext_and_drops_the_record() -> None:
    data = crop_to_size(PICTURE, (20, 20), LIMITS)
    assert Image.open(io.BytesIO(data)).size == (20, 20)
    told = read_metadata(data, limits=LIMITS)
    assert (told.infotext, told.record) == ("a cat", None)
    assert crop_to_size(PICTURE, None, LIMITS) is PICTURE
    assert crop_to_size(PICTURE, (40, 20), LIMITS) is PICTURE


def test_a_batch_is_limited() -> None:
    with pytest.raises(ValidationError):
        ExtraBatchImagesBody.model_validate({"imageList": []})
    with pytest.raises(ValidationError):
        ExtraBatchImagesBody.model_validate({"imageList": [{"data": "aGk="}] * 65})
    assert UpscalePlan(2.5, "lanczos").summary == {
        "Postprocess upscale by": "2.5",
        "Postprocess upscaler": "lanczos",
    }
