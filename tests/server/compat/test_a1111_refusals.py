from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import FieldError
from safelight.server.compat.a1111_refusals import HARMLESS, SWITCHED, check_extras, check_scripts

NAMES = st.text(st.characters(), min_size=1) | st.text(st.characters(categories=["Cs"]), min_size=1)
ASKED_OF_NOTHING = {
    "restore_faces": False,
    "tiling": False,
    "do_not_save_samples": True,
    "s_churn": 0,
    "s_tmax": 0.7,
    "s_tmin": 0.2,
    "s_noise": 1,
    "seed_resize_from_w": -1,
    "seed_resize_from_h": 0,
    "hr_checkpoint_name": "Use same checkpoint",
    "script_name": None,
    "script_args": [1, 2],
    "save_images": True,
    "image_cfg_scale": 1.5,
    "initial_noise_multiplier": 1.0,
    "refiner_checkpoint": "",
    "refiner_switch_at": 0.8,
    "freeu_enabled": False,
    "freeu_b1": 1.2,
    "hypertile_unet_enabled": False,
    "hypertile_unet_swap_size": 2,
    "hypertile_hires_only": True,
    "teacache_thresh": 0.3,
    "vae_type": "Full",
    "schedulers_beta_schedule": "default",
    "control_units": [],
    "ip_adapter": None,
    "extra": {},
}


def test_what_clients_send_along_without_asking_for_it_passes() -> None:
    check_extras(ASKED_OF_NOTHING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("restore_faces", True),
        ("tiling", True),
        ("s_churn", 3),
        ("s_noise", 1.1),
        ("seed_resize_from_w", 512),
        ("hr_checkpoint_name", "another"),
        ("script_name", "X/Y/Z plot"),
        ("refiner_checkpoint", "refiner"),
        ("initial_noise_multiplier", 0.5),
        ("freeu_enabled", True),
        ("vae_type", "Tiny"),
        ("control_units", [{"process": "Canny"}]),
        ("prompt_attention", "compel"),
        ("never_heard_of", 1),
    ],
)
def test_what_is_asked_for_in_vain_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(FieldError, match=name) as caught:
        check_extras({name: value})
    assert caught.value.field == name
    assert caught.value.hint


def test_fields_of_what_is_switched_on_are_refused() -> None:
    with pytest.raises(FieldError):
        check_extras({"freeu_b1": 1.2, "freeu_enabled": True})


@given(NAMES.filter(lambda name: name not in HARMLESS), st.integers(1) | st.text(min_size=1))
def test_no_unknown_field_with_a_value_is_passed_over(name: str, value: object) -> None:
    if any(name.startswith(start) for start in SWITCHED):
        return
    with pytest.raises(FieldError) as caught:
        check_extras({name: value})
    assert caught.value.message.encode(), "can be sent, whatever the name"


@pytest.mark.parametrize(
    "scripts",
    [
        {},
        {"ADetailer": {"args": [False]}},
        {"ControlNet": {"args": []}},
        {"ControlNet": {"args": [{"enabled": False, "model": "canny"}]}},
        {"Self Attention Guidance": {"args": [False, 0.75, 1.0]}},
        {"animatediff": {"args": [{"enable": False}]}},
        {"Empty": {}},
    ],
)
def test_scripts_that_are_switched_off_pass(scripts: dict[str, object]) -> None:
    check_scripts(scripts)


@pytest.mark.parametrize(
    "scripts",
    [
        {"ADetailer": {"args": [True, {"ad_model": "face"}]}},
        {"ControlNet": {"args": [{"enabled": True}]}},
        {"ControlNet": {"args": [{"enabled": False}, {"model": "canny"}]}},
        {"roop": {"args": ["picture", True]}},
        {"Odd": {"args": {"enabled": {"a": 1}}}},
        {"Odd": "yes"},
    ],
)
def test_scripts_that_are_on_are_refused_by_name(scripts: dict[str, object]) -> None:
    with pytest.raises(FieldError, match=next(iter(scripts))) as caught:
        check_scripts(scripts)
    assert caught.value.field == "alwayson_scripts"
