"""Quality levels: what each permits, what is recorded, and that a picture is reproduced in what it ran in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.generation.conftest import GenerateImages, loaded_checkpoint, same_pixels

from safelight.errors import BackendError, UnsupportedError
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine, decoding_bytes
from safelight.generation.plan import make_plan
from safelight.generation.precision import resolve_precisions
from safelight.generation.quality import (
    MIN_CACHED_STEPS,
    Quality,
    StepCache,
    quality_settings,
    resolve_step_cache,
    step_caches,
    with_few_steps,
    with_quality,
)
from safelight.generation.record import Machine, ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.models.adapters.packaged import FEW_STEPS
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.families import FAMILIES, Family
from safelight.runtime.compilation.speed import Speeds
from safelight.runtime.compilation.store import Wanted
from safelight.settings import Settings

Tiny = Callable[[str], Path]
SD1 = FAMILIES["sd1"]
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


def test_fast_has_a_cache_whose_patches_the_backend_computes() -> None:
    sd1, flux = FAMILIES["sd1"], FAMILIES["flux"]
    fast = request(quality="fast")
    assert resolve_step_cache(fast, sd1, "pure") == StepCache("deep", 3)
    assert resolve_step_cache(fast, sd1, "none") == StepCache("extrapolate", 2)
    assert resolve_step_cache(fast, flux, "pure") == StepCache("extrapolate", 2)


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
    assert step_caches(FAMILIES["flux"], "pure") == ("extrapolate",)


def test_fast_draws_the_starter_in_few_steps_where_nothing_else_was_asked_for() -> None:
    starter = FAMILIES["sd1-starter"]
    plan = make_plan(request(quality="fast"), starter, DIFFUSION, native_side=128)
    assert (plan.steps, plan.sampler_choice.sampler.name, plan.eta, plan.guidance_scale) == (4, "TCD", 0, 1)
    assert [adapter.name for adapter in plan.request.adapters] == [FEW_STEPS]
    assert plan.step_cache is None
    given = request(quality="fast", adapters=[{"name": "style", "strength": 0.5}])
    both = with_few_steps(given, starter).adapters
    assert [adapter.name for adapter in both] == ["style", FEW_STEPS]
    own = request(quality="fast", adapters=[{"name": FEW_STEPS, "strength": 0.8}])
    assert with_few_steps(own, starter).adapters == own.adapters


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": "balanced"},
        {"steps": 20},
        {"sampler": "Euler"},
        {"schedule": "karras"},
        {"guidance_scale": 4.0},
        {"step_cache": "none"},
        {"negative_prompt": "blue"},
        {"hires": {}},
        {"pag_scale": 1.0},
        {"control": [{"kind": "canny", "image": Image.new("RGB", (64, 64))}]},
    ],
)
def test_what_a_request_says_itself_is_not_drawn_in_few_steps(fields: dict[str, Any]) -> None:
    given = request(**({"quality": "fast"} | fields))
    assert with_few_steps(given, FAMILIES["sd1-starter"]) is given


def test_few_steps_are_for_the_starter() -> None:
    given = request(quality="fast")
    assert with_few_steps(given, SD1) is given


# Which precision a level means


def precisions(settings: Settings) -> tuple[str, str, str]:
    return settings.generation_precision, settings.text_encoder_precision, settings.vae_precision


def test_exact_is_fp32_everywhere_and_no_step_changes_the_picture() -> None:
    usual = Settings(generation_precision="bf16", vae_precision="fp16")
    exact = quality_settings(usual, "exact", SD1)
    assert precisions(exact) == ("fp32", "fp32", "fp32")
    assert exact.memory_steps == ("phases", "blocks", "sliced-attention", "disk")
    for level in ("balanced", "fast"):
        assert quality_settings(usual, level, SD1) is usual  # type: ignore[arg-type]


def test_a_recorded_precision_takes_the_place_of_the_settings_on_such_a_device() -> None:
    usual = Settings(generation_precision="bf16")
    recorded = Machine(
        device="cuda:0", precision="fp16", other_precisions={"vae": "fp32"}, backend="eager", threads=1
    )
    assert precisions(quality_settings(usual, "fast", SD1, "cuda", recorded)) == ("fp16", "fp16", "fp32")
    assert quality_settings(usual, "fast", SD1, "cpu", recorded) is usual


@pytest.mark.parametrize("level", ["balanced", "fast"])
def test_where_bf16_pays_denoiser_and_autoencoder_compute_in_it(level: Quality) -> None:
    usual = Settings()
    found = quality_settings(usual, level, SD1, "cpu", bf16_pays=True)
    resolved = resolve_precisions(found, SD1, torch.device("cpu"))
    assert (resolved.denoiser, resolved.text_encoders, resolved.vae) == ("bf16", "fp32", "bf16")
    assert precisions(quality_settings(usual, "exact", SD1, "cpu", bf16_pays=True)) == ("fp32",) * 3


@pytest.mark.parametrize(
    ("settings", "family"),
    [
        (Settings(generation_precision="fp32"), SD1),
        (Settings(), replace(SD1, precision=replace(SD1.precision, denoiser=("fp16",)))),
    ],
)
def test_a_precision_of_the_settings_and_the_familys_table_stand_above_what_is_faster(
    settings: Settings, family: Family
) -> None:
    assert quality_settings(settings, "balanced", family, "cpu", bf16_pays=True) is settings


def test_text_encoder_and_autoencoder_keep_precisions_of_their_own() -> None:
    usual = Settings(text_encoder_precision="bf16", vae_precision="fp32")
    found = quality_settings(usual, "balanced", SD1, "cpu", bf16_pays=True)
    assert precisions(found) == ("bf16", "bf16", "fp32")


def test_the_setting_is_the_level_of_requests_that_leave_it_open() -> None:
    settings = Settings(generation_quality="fast")
    assert with_quality(request(), settings).quality == "fast"
    assert with_quality(request(quality="exact"), settings).quality == "exact"


# Whole pictures


class NoCompiler:
    """Refuses to compile."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        pass

    def __call__(self, wanted: Wanted, urgent: bool) -> None:
        raise BackendError("Nothing is compiled here.")


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


def test_fast_keeps_the_cache_of_deep_features_where_the_denoiser_may_be_compiled(
    drawing_home: Path, tiny: Tiny
) -> None:
    engine = Engine(settings_of_half(drawing_home, "auto"))
    fields = {"seed": 7, "steps": 8, "width": 64, "height": 64}
    for name, cache in (("sd1", StepCache("deep", 3)), ("flux", StepCache("extrapolate", 2))):
        assert engine.start(request(**fields, checkpoint=str(tiny(name)))).plan.step_cache == cache


FAST_BF16 = Speeds(
    {"eager fp32": 200.0, "openvino fp32": 210.0, "eager bf16": 500.0, "openvino bf16": 520.0}, 20.0, 2
)


def test_balanced_computes_in_bf16_once_it_was_measured_to_be_faster_and_exact_in_fp32_beside_it(
    drawing_home: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Speeds] = []
    monkeypatch.setattr("safelight.generation.memory_costs.CPU_SLACK", 0)
    monkeypatch.setattr(
        "safelight.generation.compiled_networks.known_speeds", lambda _: measured[0] if measured else None
    )
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_backend="auto"), compiler=NoCompiler)
    first = generate(engine, tiny)  # nothing was measured yet
    assert first.record.machine.precision == "fp32"
    weights, room = engine._pool.loaded_bytes, decoding_bytes(loaded_checkpoint(engine, tiny("sd1")), 64, 64)
    engine._pool.budget = weights + room + weights // 4  # too small for the networks in both precisions
    measured.append(FAST_BF16)
    machines = []
    for quality in ("balanced", "exact", "fast"):
        artifact = generate(engine, tiny, quality=quality)
        machines.append(artifact.record.machine)
        assert artifact.record.notes == ()
        assert engine._pool.loaded_bytes <= engine._pool.budget
        if quality == "exact":
            assert same_pixels(artifact, first)
    assert [machine.precision for machine in machines] == ["bf16", "fp32", "bf16"]
    assert machines[0].other_precisions == {"text_encoder": "fp32"}
    again = generate(engine, tiny, recorded=machines[0], quality="balanced")
    measured.clear()
    elsewhere = Engine(Settings(home=drawing_home, device="cpu"))
    reproduced = generate(elsewhere, tiny, recorded=machines[0], quality="balanced")
    assert reproduced.record == again.record
    assert same_pixels(reproduced, again)


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_text_encoders_may_compute_in_another_precision_than_the_denoiser(
    name: str, drawing_home: Path, tiny: Tiny
) -> None:
    engine = Engine(
        Settings(home=drawing_home, device="cpu", generation_precision="bf16", text_encoder_precision="fp32")
    )
    scheduled = GenerationRequest.parse(
        prompt="a [red:blue:0.5] cat", steps=2, width=64, height=64, checkpoint=str(tiny(name))
    )
    (artifact,) = engine.generate(scheduled)
    assert artifact.record.machine.precision == "bf16"
    assert set(artifact.record.machine.other_precisions.values()) == {"fp32"}


def test_a_worker_loads_the_networks_of_its_level_beforehand(
    drawing_home: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.generation.compiled_networks.known_speeds", lambda _: FAST_BF16)
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_backend="auto"), compiler=NoCompiler)
    engine.preload(name := str(tiny("sd1")))
    assert sorted(key.dtype for key in engine._pool.keys) == ["bf16", "bf16", "fp32"]
    assert engine.is_loaded(name)


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
