"""The form's controls are those of the request's fields; ``test_form.py`` finds them on the page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

from safelight.generation.fields import fields_by_path
from safelight.generation.request import Control, GenerationRequest
from safelight.ui.form_fields import controls_json, form_controls
from safelight.ui.texts import LANGUAGES, load_texts

CONTROLS = {each.name: each for each in form_controls()}
FORM = {name: each for name, each in CONTROLS.items() if each.control != "editor"}


def test_ranges_and_defaults_come_from_the_fields() -> None:
    clip_skip = CONTROLS["clip_skip"]
    assert (clip_skip.minimum, clip_skip.maximum, clip_skip.initial) == (1, 12, 1)
    assert (CONTROLS["width"].minimum, CONTROLS["width"].maximum) == (64, 2048)
    assert CONTROLS["strength"].initial == 0.75
    assert CONTROLS["guidance_method"].choices == ("cfg", "cfg-zero")
    assert CONTROLS["seed"].control == "text"
    blur = CONTROLS["inpaint.blur"]
    assert (blur.control, blur.minimum, blur.maximum, blur.initial) == ("editor", 0, 64, 4)
    assert CONTROLS["outpaint.left"].maximum == 8192


def test_what_is_not_sent_is_a_default_or_no_value_at_all() -> None:
    fields = fields_by_path(GenerationRequest)
    for control in CONTROLS.values():
        if control.unset is not None and control.unset != fields[control.name].default:
            assert fields[control.name].default is None, control.name


def test_initial_values_are_permitted() -> None:
    for control in CONTROLS.values():
        if control.control == "slider":
            assert isinstance(control.initial, int | float)
            assert (control.minimum or 0) <= control.initial <= (control.maximum or 0), control.name


def test_every_control_has_its_texts_in_every_language() -> None:
    for language in LANGUAGES:
        texts = load_texts(language)
        for name in FORM:
            assert texts.get(f"create.{name}"), f"{language}: {name}"
            assert texts.get(f"create.{name}.info"), f"{language}: {name}"


def test_ranges_in_explanations_are_the_controls() -> None:
    fields = fields_by_path(GenerationRequest)
    for language in LANGUAGES:
        texts = load_texts(language)
        for name in FORM:
            for ends in re.findall(r"(\d+) (?:to|bis|à) (\d+)", texts[f"create.{name}.info"]):
                assert [float(end) for end in ends] == [fields[name].minimum, fields[name].maximum], name


def test_names_that_people_know_find_the_fields() -> None:
    known = {
        "CFG": "guidance_scale",
        "CFG scale": "guidance_scale",
        "hires fix": "hires.scale",
        "Denoising strength": "strength",
        "img2img": "strength",
        "subseed": "variation.seed",
        "batch size": "count",
        "sampling method": "sampler",
    }
    for name, field in known.items():
        assert name in CONTROLS[field].aliases


def test_what_can_be_typed_may_lie_above_the_end_of_the_slider() -> None:
    steps = CONTROLS["steps"]
    assert (steps.maximum, steps.limit) == (150, 1000)
    assert CONTROLS["seed"].limit == 2**63 - 1


def test_the_units_of_control_have_the_requests_ranges() -> None:
    units = {each.name: each for each in form_controls(Control)}
    assert (units["weight"].minimum, units["weight"].limit, units["weight"].unset) == (0, 4, 1)
    assert units["mode"].choices == ("balanced", "prompt", "guess")
    assert {"control mode", "guess mode"} <= set(units["mode"].aliases)
    assert json.loads(controls_json(Control)) == json.loads(
        json.dumps([asdict(each) for each in units.values()])
    )


def test_the_scripts_get_the_same_controls() -> None:
    text = controls_json()
    assert "<" not in text
    assert json.loads(text) == json.loads(json.dumps([asdict(each) for each in CONTROLS.values()]))
