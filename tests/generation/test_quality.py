"""Quality levels: what each permits, what is recorded, and that a picture is reproduced in what it ran in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.generation.conftest import GenerateImages, same_pixels

from safelight.errors import UnsupportedError
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.plan import make_plan
from safelight.generation.quality import (
    MIN_CACHED_STEPS,
    StepCache,
    quality_settings,
    resolve_step_cache,
    step_caches,
    with_quality,
)
from safelight.generation.record import Machine, ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.models.families import FAMILIES
from safelight.settings import Settings

Tiny = Callable[[str], Path]
DIFFUSION = {"_class_name": "DDIMScheduler", "prediction_type": "epsilon"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": False}


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.parse(prompt="a red cat", **fields)


def notes(name: str, **fields: Any) -> tuple[str, ...]:
    family = FAMILIES[name]
    scheduler = FLOW if family.prediction_process == "flow" else DIFFUSION
    return make_plan(request(**fields), family, scheduler, native_side=512).notes


# Which step cache a level means


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("sd1", "deep"),
        ("sdxl", "deep"),
        ("flux", "first-block"),
        ("sd3", "extrapolate"),
        ("chroma", "extrapolate"),
    ],
)
def test_fast_has_a_step_cache_for_every_family_and_the_others_have_none(family: str, kind: str) -> None:
    found = resolve_step_cache(request(quality="fast"), FAMILIES[family])
    assert found is not None
    assert found.kind == kind
    for level in ("exact", "balanced", None):
        assert resolve_step_cache(request(quality=level), FAMILIES[family]) is None
    assert all(resolve_step_cache(request(quality="fast"), each) for each in FAMILIES.values())


def test_fast_extrapolates_where_a_backend_does_not_let_the_network_be_changed() -> None:
    found = resolve_step_cache(request(quality="fast"), FAMILIES["sd1"], patchable=False)
    assert found == StepCache("extrapolate", 2)


def test_a_cache_is_usable_alone_or_turned_off() -> None:
    sd1 = FAMILIES["sd1"]
    assert resolve_step_cache(request(step_cache="deep", step_cache_interval=5), sd1) == StepCache("deep", 5)
    assert resolve_step_cache(request(step_cache="first-block"), FAMILIES["flux"]) == StepCache(
        "first-block", threshold=0.08
    )
    assert resolve_step_cache(request(quality="fast", step_cache="none"), sd1) is None


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("sd3", {"step_cache": "first-block"}, "Stable Diffusion 3 has no step cache first-block"),
        ("flux", {"step_cache": "deep"}, "Flux has no step cache deep"),
        ("sd1", {"step_cache": "deep", "step_cache_threshold": 0.1}, "takes no step_cache_threshold"),
        ("flux", {"step_cache": "first-block", "step_cache_interval": 3}, "takes no step_cache_interval"),
        ("sd1", {"quality": "exact", "step_cache": "deep"}, "The quality exact permits no step_cache"),
        ("sd1", {"quality": "exact", "token_merging": 0.5}, "The quality exact permits no token_merging"),
        ("flux", {"token_merging": 0.5}, "Flux has no token merging"),
    ],
)
def test_what_cannot_be_is_refused(family: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        notes(family, **fields)


def test_a_cache_without_effect_is_noted() -> None:
    few = (f"With fewer than {MIN_CACHED_STEPS} steps no step cache is used.",)
    assert notes("sd1", quality="fast", steps=MIN_CACHED_STEPS - 1) == few
    assert notes("sd1", quality="fast", steps=12, hires={"strength": 0.2}) == few  # in the second pass
    assert notes("sd1", quality="fast", steps=MIN_CACHED_STEPS) == ()
    assert notes("sd1", quality="balanced", steps=2) == ()
    assert notes("sd1", step_cache_interval=3) == (
        "Without a step cache, its interval and threshold have no effect.",
    )


def test_the_step_caches_of_a_family_begin_with_the_fast_one() -> None:
    assert step_caches(FAMILIES["flux"]) == ("first-block", "magcache", "taylorseer", "extrapolate")
    assert step_caches(FAMILIES["flux"], patchable=False) == ("extrapolate",)


# Which precision a level means


def precisions(settings: Settings) -> tuple[str, str, str]:
    return settings.generation_precision, settings.text_encoder_precision, settings.vae_precision


def test_exact_is_fp32_everywhere_and_no_step_changes_the_picture() -> None:
    usual = Settings(generation_precision="bf16", vae_precision="fp16")
    exact = quality_settings(usual, "exact")
    assert precisions(exact) == ("fp32", "fp32", "fp32")
    assert exact.memory_steps == ("phases", "blocks", "sliced-attention", "disk")
    for level in ("balanced", "fast"):
        assert quality_settings(usual, level) is usual  # type: ignore[arg-type]


def test_a_recorded_precision_takes_the_place_of_the_settings_on_such_a_device() -> None:
    usual = Settings(generation_precision="bf16")
    recorded = Machine(
        device="cuda:0", precision="fp16", other_precisions={"vae": "fp32"}, backend="eager", threads=1
    )
    assert precisions(quality_settings(usual, "fast", "cuda", recorded)) == ("fp16", "fp16", "fp32")
    assert quality_settings(usual, "fast", "cpu", recorded) is usual


def test_the_setting_is_the_level_of_requests_that_leave_it_open() -> None:
    settings = Settings(generation_quality="fast")
    assert with_quality(request(), settings).quality == "fast"
    assert with_quality(request(quality="exact"), settings).quality == "exact"


# Whole pictures


@pytest.fixture(scope="module")
def half(drawing_home: Path) -> Engine:
    """An engine whose settings ask for bf16 and the level fast."""
    return Engine(settings_of_half(drawing_home, "eager"))


def settings_of_half(home: Path, backend: str) -> Settings:
    return Settings(
        home=home,
        device="cpu",
        generation_backend=backend,
        generation_precision="bf16",
        generation_quality="fast",
    )


def generate(engine: Engine, tiny: Tiny, recorded: Machine | None = None, **fields: Any) -> Artifact:
    usual = {"seed": 7, "steps": 8, "width": 64, "height": 64, "checkpoint": str(tiny("sd1"))}
    (artifact,) = engine.generate(request(**usual | fields), unbatched=True, recorded=recorded)
    return artifact


def test_levels_differ_and_the_record_says_what_ran(half: Engine, draw: GenerateImages, tiny: Tiny) -> None:
    fast, balanced, exact = (
        generate(half, tiny, **fields) for fields in ({}, {"quality": "balanced"}, {"quality": "exact"})
    )
    assert (fast.record.quality, fast.record.step_cache, fast.record.step_cache_interval) == (
        "fast",
        "deep",
        3,
    )
    assert (balanced.record.quality, balanced.record.step_cache) == (None, None)
    assert (exact.record.quality, exact.record.step_cache) == ("exact", None)
    assert [each.record.machine.precision for each in (fast, balanced, exact)] == ["bf16", "bf16", "fp32"]
    assert not same_pixels(fast, balanced)
    (usual,) = draw(prompt="a red cat", steps=8, alone=True)
    assert same_pixels(exact, usual)
    assert "quality" not in usual.record.to_dict()


def test_fast_extrapolates_where_the_denoiser_may_be_compiled(drawing_home: Path, tiny: Tiny) -> None:
    """A form has no patch, so that the cache of deep features would take the denoiser from it."""
    engine = Engine(settings_of_half(drawing_home, "auto"))
    fields = {"seed": 7, "steps": 8, "width": 64, "height": 64, "checkpoint": str(tiny("sd1"))}
    assert engine.start(request(**fields)).plan.step_cache == StepCache("extrapolate", 2)


def test_pictures_are_reproduced_whatever_the_settings_are_now(
    half: Engine, engine: Engine, tiny: Tiny
) -> None:
    for level in ("fast", "balanced", "exact"):
        original = generate(half, tiny, quality=level)
        record = ReproductionRecord.parse(original.record.to_json())
        fields = record.to_request().model_dump(exclude_unset=True)
        assert fields["quality"] == level
        (again,) = engine.generate(record.to_request(), unbatched=True, recorded=record.machine)
        assert again.record == original.record
        assert same_pixels(again, original)
