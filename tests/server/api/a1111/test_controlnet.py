from __future__ import annotations

from typing import Any

import pytest

from safelight.errors import (
    AboveMaximumError,
    ControlUnsupportedError,
    PreprocessorUnknownError,
    UnsupportedFieldError,
)
from safelight.server.api.a1111.controlnet import control_units, ignored_unit_fields, unit_fields
from safelight.server.api.a1111.schemas import Txt2ImgBody


def body(*units: Any, name: str = "controlnet") -> Txt2ImgBody:
    return Txt2ImgBody(alwayson_scripts={name: {"args": list(units)}})


def fields(**unit: Any) -> dict[str, Any]:
    (found,) = control_units(body(unit))
    return unit_fields(0, found, b"picture", None)


def test_a_unit_is_a_control() -> None:
    found = fields(
        enabled=True,
        module="canny",
        model="control_v11p_sd15_canny [d14c016b]",
        weight=0.8,
        image="aGk=",
        resize_mode="Resize and Fill",
        processor_res=512,
        threshold_a=50,
        threshold_b=150.0,
        guidance_start=0.1,
        guidance_end=0.9,
        control_mode=2,
        pixel_perfect=False,
        low_vram=False,
        hr_option="Both",
    )
    assert found == {
        "model": "control_v11p_sd15_canny",
        "image": b"picture",
        "weight": 0.8,
        "start": 0.1,
        "end": 0.9,
        "mode": "guess",
        "resize": "fill",
        "preprocessor": {
            "name": "canny",
            "parameters": {"low": 50, "high": 150},
            "resolution": 512,
        },
    }


def test_defaults_and_old_names() -> None:
    (unit,) = control_units(body({"input_image": "cA==", "mask_image": "bQ==", "model": "a_depth"}))
    assert unit.encoded == ("cA==", "bQ==")
    assert unit_fields(0, unit, None, None) == {
        "model": "a_depth",
        "weight": 1.0,
        "start": 0.0,
        "end": 1.0,
        "mode": "balanced",
        "resize": "crop",
    }
    (nested,) = control_units(body({"image": {"image": "cA==", "mask": None}, "model": "x"}))
    assert nested.encoded == ("cA==", None)


def test_the_module_says_the_kind_where_the_model_does_not() -> None:
    assert fields(module="canny", model="xinsir-promax")["kind"] == "canny"
    assert fields(model="xinsir-promax", union_control_type="OpenPose")["kind"] == "pose"
    assert "kind" not in fields(module="canny", model="control_canny")


@pytest.mark.parametrize("module", ["ip-adapter_clip_sd15", "ip-adapter-auto", "CLIP-ViT-H (IPAdapter)"])
def test_modules_of_ip_adapters(module: str) -> None:
    found = fields(module=module, model="ip-adapter-plus_sd15 [c817b455]", control_mode=2, processor_res=512)
    assert (found["kind"], found["model"], found["mode"]) == (
        "ip-adapter",
        "ip-adapter-plus_sd15",
        "balanced",
    )
    assert "preprocessor" not in found
    assert fields(module=module)["kind"] == "ip-adapter", "the first one for the checkpoint"
    assert "kind" not in fields(module="none", model="ip-adapter_sd15")


def test_units_that_are_off_are_left_out() -> None:
    units = ({"enabled": False, "weight": "?"}, None, {}, {"model": "one_canny"}, {"enabled": "false"})
    assert [unit.model for unit in control_units(body(*units, name="ControlNet"))] == ["one_canny"]


def test_what_a_unit_asks_for_in_vain_is_named() -> None:
    assert ignored_unit_fields(body({"model": "x_canny", "low_vram": True, "odd": 1})) == [
        "alwayson_scripts.controlnet.0.odd"
    ]


@pytest.mark.parametrize(
    ("unit", "error"),
    [
        ({"model": "None"}, UnsupportedFieldError),
        ({"model": "x", "control_mode": "Best"}, UnsupportedFieldError),
        ({"model": "x", "resize_mode": 7}, UnsupportedFieldError),
        ({"model": "x", "hr_option": "High res only"}, UnsupportedFieldError),
        ({"model": "x", "module": "nope"}, PreprocessorUnknownError),
        ({"model": "x", "weight": 9}, AboveMaximumError),
        ({"model": "x", "module": "ip-adapter_face_id"}, ControlUnsupportedError),
        ("canny", UnsupportedFieldError),
    ],
)
def test_what_cannot_be_done_is_refused(unit: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        [unit_fields(number, each, None, None) for number, each in enumerate(control_units(body(unit)))]
