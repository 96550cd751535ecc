from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import UnsupportedFieldError
from safelight.server.api.a1111.ignored_fields import KNOWN_FIELDS, SWITCH_BY_PREFIX
from safelight.server.api.a1111.unsupported import check_unsupported, ineffective_fields

ODD = st.text(st.characters(), min_size=1) | st.text(st.characters(categories=["Cs"]), min_size=1)
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
    "script_name": None,
    "script_args": [1, 2],
    "save_images": True,
    "image_cfg_scale": 1.5,
    "initial_noise_multiplier": 1.0,
    "freeu_enabled": False,
    "freeu_b1": 1.2,
    "hypertile_unet_enabled": False,
    "hypertile_unet_swap_size": 2,
    "hypertile_hires_only": True,
    "teacache_thresh": 0.3,
    "vae_type": "Full",
    "schedulers_beta_schedule": "default",
    "control_units": [],
    "extra": {},
    "hr_additional_modules": ["Use same choices"],
    "grading_gamma": 1,
    "hdr_boundary": 4.0,
    "detailer_steps": 10,
    "resize_name": "None",
}


def test_values_that_clients_send_by_default_are_accepted() -> None:
    check_unsupported(ASKED_OF_NOTHING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("restore_faces", True),
        ("s_churn", 3),
        ("s_noise", 1.1),
        ("seed_resize_from_w", 512),
        ("script_name", "X/Y/Z plot"),
        ("initial_noise_multiplier", 0.5),
        ("freeu_enabled", True),
        ("vae_type", "Tiny"),
        ("control_units", [{"process": "Canny"}]),
        ("prompt_attention", "compel"),
        ("hdr_mode", 2),
        ("grading_gamma", 1.5),
        ("hr_additional_modules", ["t5.safetensors"]),
        ("guidance_scale", 4),
    ],
)
def test_unsupported_features_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UnsupportedFieldError, match=name) as caught:
        check_unsupported({name: value})
    assert caught.value.field == name
    assert caught.value.hint


def test_options_of_enabled_unsupported_features_are_refused() -> None:
    with pytest.raises(UnsupportedFieldError):
        check_unsupported({"freeu_b1": 1.2, "freeu_enabled": True})


KNOWN = [name for name, fits in KNOWN_FIELDS.items() if not fits("something else")]


@given(st.sampled_from(KNOWN), st.integers(2, 9) | st.text("xyz", min_size=1))
def test_no_field_with_a_meaning_elsewhere_is_ignored(name: str, value: object) -> None:
    if KNOWN_FIELDS[name](value):
        return
    with pytest.raises(UnsupportedFieldError):
        check_unsupported({name: value})
    assert ineffective_fields({name: value}) == []


@given(st.sampled_from(sorted(SWITCH_BY_PREFIX)), st.text(st.characters(), max_size=5))
def test_a_message_can_be_encoded_whatever_the_field_name(start: str, rest: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        check_unsupported({f"{start}{rest}": 1, **dict.fromkeys(SWITCH_BY_PREFIX.values(), True)})
    assert caught.value.message.encode()


@given(ODD.filter(lambda name: name not in KNOWN_FIELDS), st.integers(1) | st.text(min_size=1))
def test_unknown_fields_are_ignored_and_reported(name: str, value: object) -> None:
    if any(name.startswith(start) for start in SWITCH_BY_PREFIX):
        return
    check_unsupported({name: value})
    (told,) = ineffective_fields({name: value, "restore_faces": False})
    assert told.encode(), "can be sent, whatever the name"


def test_requests_of_ai_render_for_blender_are_accepted() -> None:
    sent = {"image_similarity": 0.4, "sampler": "DPM++ 2M", "restore_faces": False}
    check_unsupported(sent)
    assert ineffective_fields(sent) == ["image_similarity", "sampler"]
