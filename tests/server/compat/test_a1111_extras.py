from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from safelight.errors import FieldError, UpscalerUnknownError
from safelight.generation.upscaling.finding import find_upscalers
from safelight.images import DecodeLimits
from safelight.images.encode import encode_picture
from safelight.images.metadata import Metadata, read_metadata
from safelight.server.compat.a1111_extras import BatchExtras, Plan, SingleExtras, check, cropped, plan

LIMITS = DecodeLimits()
UPSCALERS = find_upscalers(Path("/nowhere"))
PICTURE = encode_picture(Image.new("RGB", (40, 20), "red"), "png", Metadata(parameters="a cat", record="{}"))


def planned(**sent: Any) -> Plan:
    extras = SingleExtras(image="aGk=", **sent)
    check(extras)
    return plan(extras, PICTURE, UPSCALERS, LIMITS)


def test_by_a_factor() -> None:
    assert planned(upscaler_1="Lanczos", upscaling_resize=3) == Plan(3.0, "lanczos")
    assert planned(upscaler_1="Lanczos") == Plan(2.0, "lanczos")


def test_none_leaves_the_picture_as_it_is() -> None:
    assert planned() == Plan(1.0, "nearest")


def test_to_a_size() -> None:
    to_size = {"upscaler_1": "Nearest", "resize_mode": 1, "upscaling_resize_w": 60, "upscaling_resize_h": 60}
    assert planned(**to_size) == Plan(3.0, "nearest", (60, 60))
    assert planned(**to_size, upscaling_crop=False) == Plan(3.0, "nearest")


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
def test_what_is_not_done_is_refused_by_name(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        planned(**sent)
    assert caught.value.field == field


def test_an_upscaler_that_is_not_there() -> None:
    with pytest.raises(UpscalerUnknownError, match="SwinIR"):
        planned(upscaler_1="SwinIR 4x")


def test_cropping_keeps_the_infotext_and_drops_a_record_that_tells_of_another_size() -> None:
    data = cropped(PICTURE, (20, 20), LIMITS)
    assert Image.open(io.BytesIO(data)).size == (20, 20)
    told = read_metadata(data, limits=LIMITS)
    assert (told.parameters, told.record) == ("a cat", None)
    assert cropped(PICTURE, None, LIMITS) is PICTURE
    assert cropped(PICTURE, (40, 20), LIMITS) is PICTURE


def test_a_batch_is_bounded() -> None:
    with pytest.raises(ValidationError):
        BatchExtras.model_validate({"imageList": []})
    with pytest.raises(ValidationError):
        BatchExtras.model_validate({"imageList": [{"data": "aGk="}] * 65})
    assert Plan(2.5, "lanczos").summary == {
        "Postprocess upscale by": "2.5",
        "Postprocess upscaler": "lanczos",
    }
