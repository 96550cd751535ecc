from __future__ import annotations

from typing import Any

import pytest

from safelight.errors import UnsupportedFieldError
from safelight.server.api.a1111.schemas import Img2ImgBody, Txt2ImgBody
from safelight.server.api.a1111.scripts import check_scripts, ignored_scripts, refiner_of
from safelight.server.api.a1111.soft_inpainting import is_soft

FIELDS: dict[str, Any] = {"steps": 20, "sampler_name": "DPM++ 2M", "seed": 7, "subseed": -1}
OWN: dict[str, Any] = {
    "Sampler": {"args": [20, "DPM++ 2M", "Automatic"]},
    "Seed": {"args": [7, False, 3, 0.5, 0, 0]},
    "Refiner": {"args": [False, "", 0.8]},
    "Comments": {"args": []},
    "Extra options": {"args": []},
}


@pytest.mark.parametrize("fields", [FIELDS, {}])
def test_built_in_scripts_that_agree_with_the_fields_are_accepted(fields: dict[str, Any]) -> None:
    drawing = Txt2ImgBody(alwayson_scripts=OWN, **fields)
    check_scripts(drawing)
    assert ignored_scripts(drawing) == ["alwayson_scripts.Sampler", "alwayson_scripts.Seed"]


@pytest.mark.parametrize(
    "script",
    [
        {"Sampler": {"args": [30, "DPM++ 2M", "Automatic"]}},
        {"sampler": {"args": [20, "Euler", "Automatic"]}},
        {"Seed": {"args": [8, False, -1, 0, 0, 0]}},
        {"Seed": {"args": [7, True, 3, 0.5, 0, 0]}},
        {"Seed": {"args": [7, True, -1, 0, 512, 0]}},
        {"Refiner": {"args": [True, 7, 0.8]}},
        {"Refiner": {"args": [True, "xl-refiner", 1.5]}},
    ],
)
def test_built_in_scripts_that_contradict_the_fields_are_refused(script: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        check_scripts(Txt2ImgBody(alwayson_scripts=script, **FIELDS))
    assert caught.value.field == "alwayson_scripts"


@pytest.mark.parametrize(
    "scripts",
    [
        {},
        {"ADetailer": {"args": [False]}},
        {"ControlNet": {"args": []}},
        {"ControlNet": {"args": [{"enabled": False, "model": "canny"}]}},
        {"Refiner": {"args": [False, "", 0.8]}},
        {"Odd": {"args": [False]}},
        {"animatediff": {"args": [{"enable": False}]}},
        {"Empty": {}},
    ],
)
def test_disabled_scripts_are_accepted(scripts: dict[str, Any]) -> None:
    drawing = Txt2ImgBody(alwayson_scripts=scripts)
    check_scripts(drawing)
    assert ignored_scripts(drawing) == []


@pytest.mark.parametrize(
    "scripts",
    [
        {"ADetailer": {"args": [True, {"ad_model": "face"}]}},
        {"animatediff": {"args": [{"enabled": True}]}},
        {"animatediff": {"args": [{"enabled": False}, {"model": "mm"}]}},
        {"roop": {"args": ["picture", True]}},
        {"Odd": {"args": {"enabled": {"a": 1}}}},
        {"Odd": "yes"},
    ],
)
def test_enabled_scripts_are_refused_by_name(scripts: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFieldError, match=next(iter(scripts))) as caught:
        check_scripts(Txt2ImgBody(alwayson_scripts=scripts))
    assert caught.value.field == "alwayson_scripts"


def test_a_script_that_is_assumed_to_be_disabled_is_reported() -> None:
    """Its first argument is false, which may have another meaning than a switch."""
    drawing = Txt2ImgBody(
        alwayson_scripts={"Odd": {"args": [False, 0.75, 1.0]}, "Other": {"args": [False, 0, ""]}}
    )
    check_scripts(drawing)
    assert ignored_scripts(drawing) == ["alwayson_scripts.Odd"]


SOFT = {"args": [True, 1, 0.5, 4, 0, 0.5, 2]}


@pytest.mark.parametrize(
    ("script", "soft", "ignored"),
    [
        (SOFT, True, []),
        ({"args": [{"Soft inpainting": True, "Schedule bias": 2}]}, True, ["Schedule bias"]),
        ({"args": [True, 1, 0.5, 8]}, True, ["Transition contrast boost"]),
        ({"args": [False, 3]}, False, []),
        ({}, False, []),
    ],
)
def test_soft_inpainting_is_a_field_of_ours(script: dict[str, Any], soft: bool, ignored: list[str]) -> None:
    body = Img2ImgBody(init_images=["aGk="], mask="aGk=", alwayson_scripts={"Soft Inpainting": script})
    check_scripts(body)
    assert is_soft(body) == soft
    assert ignored_scripts(body) == [f"alwayson_scripts.soft inpainting.{name}" for name in ignored]


def test_soft_inpainting_needs_a_mask() -> None:
    body = Img2ImgBody(init_images=["aGk="], alwayson_scripts={"soft inpainting": SOFT})
    check_scripts(body)
    assert not is_soft(body)
    assert ignored_scripts(body) == ["alwayson_scripts.soft inpainting.Soft inpainting"]
    with pytest.raises(UnsupportedFieldError, match="soft inpainting"):
        check_scripts(Txt2ImgBody(alwayson_scripts={"soft inpainting": SOFT}))


def test_the_refiners_script_is_used_instead_of_the_fields() -> None:
    fields = {"refiner_checkpoint": "other", "refiner_switch_at": 0.5}
    on = Txt2ImgBody(alwayson_scripts={"Refiner": {"args": [True, "xl-refiner", 0.7]}}, **fields)
    check_scripts(on)
    assert ignored_scripts(on) == []
    assert refiner_of(on) == ("xl-refiner", 0.7)
    off = Txt2ImgBody(alwayson_scripts={"Refiner": {"args": [False, "xl-refiner", 0.7]}}, **fields)
    check_scripts(off)
    assert refiner_of(off) == ("other", 0.5)
