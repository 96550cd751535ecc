from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from safelight.errors import CheckpointMissingError, UnsupportedFieldError
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.server.api.a1111.options import (
    OPTIONS,
    all_options,
    option_values,
    unknown_options,
    validate_options,
)
from safelight.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_every_option_accepts_its_default(settings: Settings) -> None:
    for option in OPTIONS.values():
        assert option.accepts(option.default)
    assert validate_options(dict(all_options({}, settings)), {}, settings) == {}, (
        "clients send everything back"
    )


def test_the_effects_of_options() -> None:
    usual = option_values({})
    assert (usual.checkpoint, usual.clip_skip, usual.schedule, usual.file_format) == (None, 1, None, "png")
    made = option_values(
        {
            "sd_model_checkpoint": "mine",
            "clip_skip": 2,
            "schedulers_sigma": "sgm_uniform",
            "samples_format": "jpg",
            "jpeg_quality": 80,
            "token_merging_ratio": 0.5,
            "webp_lossless": True,
        }
    )
    assert (made.checkpoint, made.clip_skip, made.schedule) == ("mine", 2, "sgm-uniform")
    assert (usual.token_merging, made.token_merging) == (0, 0.5)
    assert (made.file_format, made.quality, made.lossless) == ("jpeg", 80, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLIP_stop_at_last_layers", 0),
        ("CLIP_stop_at_last_layers", 13),
        ("jpeg_quality", True),
        ("token_merging_ratio", 0.8),
        ("CLIP_stop_at_last_layers", "2"),
        ("samples_format", "tiff"),
        ("schedulers_sigma", "nonsense"),
        ("schedulers_sigma", 3),
        ("sd_vae", 3),
        ("forge_additional_modules", "ae.safetensors"),
        ("jpeg_quality", None),
        ("jpeg_quality", [80]),
        ("enable_pnginfo", False),
    ],
)
def test_invalid_values(settings: Settings, name: str, value: JsonValue) -> None:
    with pytest.raises(UnsupportedFieldError, match=name) as caught:
        validate_options({name: value}, {}, settings)
    assert caught.value.field == name


def test_unknown_options_do_not_keep_known_ones_from_changing(settings: Settings) -> None:
    given = {
        "jpeg_quality": 70,
        "outdir_samples": "/",
        "sd_hypernetwork": "x",
        "sd_model_checkpoint": "starter",
    }
    assert unknown_options(given) == ["outdir_samples", "sd_hypernetwork"]
    assert validate_options(given, {}, settings) == {"jpeg_quality": 70}
    with pytest.raises(UnsupportedFieldError, match="jpeg_quality cannot be 0"):
        validate_options({"outdir_samples": "/", "jpeg_quality": 0}, {}, settings)


def test_the_checkpoint_by_name_title_and_hash(settings: Settings) -> None:
    before = {"sd_model_checkpoint": "gone"}
    digest = find_checkpoint("starter", settings.home).digest(settings.cache_folder)
    title = f"starter [{digest[:10]}]"
    for given in (
        {"sd_model_checkpoint": title},
        {"sd_model_checkpoint": "starter"},
        {"sd_checkpoint_hash": digest},
    ):
        assert validate_options(given, before, settings) == {"sd_model_checkpoint": None}
    assert all_options({}, settings)["sd_model_checkpoint"] == title
    assert all_options({}, settings)["sd_checkpoint_hash"] == digest
    everything = all_options(before, settings) | {"sd_model_checkpoint": title}
    assert validate_options(everything, before, settings) == {"sd_model_checkpoint": None}
    with pytest.raises(CheckpointMissingError):
        validate_options({"sd_model_checkpoint": "../starter"}, {}, settings)


def test_where_noise_is_drawn(settings: Settings) -> None:
    assert option_values({}).noise_source is None, "the setting's"
    for name in ("randn_source", "diffusers_generator_device"):
        assert option_values({name: "GPU"}).noise_source == "gpu"
        assert option_values({name: "CPU"}).noise_source == "cpu"
        assert all_options({}, settings)[name] == "CPU"
        gpu = settings.model_copy(update={"noise_source": "gpu"})
        assert validate_options({name: "CPU"}, {}, gpu) == {name: "CPU"}
    assert option_values({"randn_source": "NV"}).noise_source == "gpu"
    assert option_values({"diffusers_generator_device": "Unset"}).noise_source is None
