from __future__ import annotations

import pytest

from safelight.errors import ControlUnsupportedError
from safelight.generation.control.units import (
    MODE_LABELS,
    RESIZE_LABELS,
    bare_name,
    format_unit,
    is_ip_adapter_module,
    label_number,
    parse_unit,
    unit_fields,
)
from safelight.generation.record import ControlRef

REF = ControlRef(
    name="sub/control_canny",
    digest="ab" * 32,
    kind="canny",
    preprocessor={"name": "canny", "parameters": {"low": 50, "high": 120}, "resolution": 512},  # type: ignore[arg-type]
    weight=0.75,
    end=0.5,
    mode="prompt",
    resize="stretch",
)


def test_a_control_as_a_unit_and_back() -> None:
    text = format_unit(REF)
    assert text == (
        "Module: canny, Model: sub/control_canny [abababab], Weight: 0.75, Resize Mode: Just Resize, "
        "Processor Res: 512, Threshold A: 50, Threshold B: 120, Guidance Start: 0, Guidance End: 0.5, "
        "Pixel Perfect: False, Control Mode: My prompt is more important, Control Type: canny"
    )
    fields, unread = unit_fields(parse_unit(text))
    assert unread == []
    assert fields == {
        "model": "sub/control_canny",
        "kind": "canny",
        "weight": 0.75,
        "start": 0.0,
        "end": 0.5,
        "resize": "stretch",
        "mode": "prompt",
        "preprocessor": {"name": "canny", "parameters": {"low": 50, "high": 120}, "resolution": 512},
    }


def test_without_a_preprocessor_it_is_pixel_perfect() -> None:
    text = format_unit(REF.model_copy(update={"preprocessor": None}))
    assert text.startswith("Module: none, ")
    assert "Pixel Perfect: True" in text
    fields, _ = unit_fields(parse_unit(text))
    assert "preprocessor" not in fields


def test_a_unit_of_an_older_extension() -> None:
    text = (
        "preprocessor: canny, model: control_v11p_sd15_canny [d14c016b], weight: 1, starting/ending: (0.1, 0.9), "
        "resize mode: Envelope (Outer Fit), pixel perfect: False, control mode: ControlNet is more important, "
        "preprocessor params: (512, 100, 200)"
    )
    fields, unread = unit_fields(parse_unit(text))
    assert unread == []
    assert fields == {
        "model": "control_v11p_sd15_canny",
        "weight": 1.0,
        "start": 0.1,
        "end": 0.9,
        "resize": "fill",
        "mode": "guess",
        "preprocessor": {"name": "canny", "parameters": {"low": 100, "high": 200}, "resolution": 512},
    }


def test_an_ip_adapter_is_a_unit_without_mode() -> None:
    ref = REF.model_copy(update={"kind": "ip-adapter", "preprocessor": None, "mode": "balanced"})
    text = format_unit(ref)
    assert text.startswith("Module: ip-adapter-auto, Model: sub/control_canny [abababab], ")
    fields, unread = unit_fields(parse_unit(text))
    assert unread == []
    assert (fields["kind"], fields["model"]) == ("ip-adapter", "sub/control_canny")
    assert "mode" not in fields
    for module in ("ip-adapter_clip_sd15", "CLIP-ViT-H (IPAdapter)"):
        fields, _ = unit_fields(
            parse_unit(f"Module: {module}, Model: x, Control Mode: My prompt is more important")
        )
        assert fields == {"model": "x", "kind": "ip-adapter"}
    for module in ("ip-adapter_face_id_plus", "InsightFace+CLIP-H (IPAdapter)"):
        with pytest.raises(ControlUnsupportedError, match="licence forbids commercial use"):
            is_ip_adapter_module(module)
        _, unread = unit_fields(parse_unit(f"Module: {module}, Model: x"))
        assert unread[0][0] == "module"


def test_what_cannot_be_read_is_said() -> None:
    fields, unread = unit_fields(
        parse_unit("Module: magic, Model: None, Weight: much, Resize Mode: Odd, Control Mode: 1")
    )
    assert fields == {}
    assert [key for key, _, _ in unread] == ["weight", "resize mode", "control mode", "module"]


@pytest.mark.parametrize(
    ("name", "bare"),
    [("a_canny [d14c016b]", "a_canny"), ("a [fp16]", "a [fp16]"), ("None", ""), ("", ""), ("x/y", "x/y")],
)
def test_names_of_models_have_a_hash_behind_them(name: str, bare: str) -> None:
    assert bare_name(name) == bare


def test_modes_by_number_and_label() -> None:
    assert label_number(2, MODE_LABELS) == 2
    assert label_number("crop and resize", RESIZE_LABELS) == 1
    assert label_number("Scale to Fit (Inner Fit)", RESIZE_LABELS) == 1
    assert label_number(3, MODE_LABELS) is None
    assert label_number(True, MODE_LABELS) is None
