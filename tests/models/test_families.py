"""Every family of the table against diffusers: signatures, and runs of two steps with random weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from PIL import Image
from tests.tiny.distinct import DISTINCT
from tests.tiny.generation import SIDE, generate_array, guidance

from safelight.errors import CheckpointFamilyError, UnsupportedError
from safelight.models.checkpoints.discovery import Checkpoint, describe_checkpoint
from safelight.models.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from safelight.models.families import FAMILIES, IMAGE, INPAINT, TEXT, Family

Tiny = Callable[[str], Path]
# numpy's warning about torch's tensors, caused by diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
EVERY = pytest.mark.parametrize("name", FAMILIES)
OWN = pytest.mark.parametrize("name", [name for name in DISTINCT if name in FAMILIES])
LATENT = {"output_type": "latent"}


def quick_arguments(family: Family) -> dict[str, Any]:
    """Arguments for a run whose image does not matter."""
    return LATENT | {"num_inference_steps": family.min_steps}


def checkpoint(name: str, tiny: Tiny) -> Checkpoint:
    """The tiny checkpoint of a family; the starter is a Stable Diffusion 1 that is recognised by its name."""
    if name == "sd1-starter":
        return replace(describe_checkpoint(tiny("sd1"), name), family=FAMILIES[name])
    return describe_checkpoint(tiny(name), name)


@pytest.fixture(scope="module")
def loaded(tiny: Tiny) -> Callable[[str], LoadedCheckpoint]:
    known: dict[str, LoadedCheckpoint] = {}

    def one(name: str) -> LoadedCheckpoint:
        if name not in known:
            known[name] = load_checkpoint(checkpoint(name, tiny))
        return known[name]

    return one


@dataclass
class DenoiserSpy:
    """Counts the denoiser's calls and records the scheduler's timesteps."""

    batches: list[int] = field(default_factory=list)
    timestep_arguments: dict[str, Any] = field(default_factory=dict)
    latents: list[int] = field(default_factory=list)

    def watch(self, pipeline: Any, denoiser: str) -> Any:
        hook = getattr(pipeline, denoiser).register_forward_pre_hook(self._called, with_kwargs=True)
        original = pipeline.scheduler.set_timesteps

        def set_timesteps(*args: Any, **kwargs: Any) -> None:
            self.timestep_arguments = kwargs
            original(*args, **kwargs)

        set_timesteps.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        pipeline.scheduler.set_timesteps = set_timesteps
        return hook

    def on_step(self, _: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.latents.append(tensors["latents"].ndim)
        return {}

    def _called(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = args[0] if args else kwargs.get("hidden_states", kwargs.get("x"))
        self.batches.append(len(first))


def parameters(family: Family, mode: str) -> set[str]:
    kind = getattr(diffusers, family.pipeline_name(mode))
    return set(inspect.signature(kind.__call__).parameters)


@EVERY
def test_the_pipelines_accept_the_tables_arguments(name: str) -> None:
    family = FAMILIES[name]
    for mode in family.modes:
        takes = parameters(family, mode)
        assert {
            "prompt",
            "num_inference_steps",
            "generator",
            "output_type",
        } <= takes
        assert family.guidance_parameter is None or family.guidance_parameter in takes
        assert ("callback_on_step_end" in takes) == family.supports_step_callback
        assert ("clip_skip" in takes) == family.clip_skip
        assert set(family.call_arguments) <= takes
        assert ("image" in takes) or mode == TEXT
        assert ({"image", "mask_image", "strength"} <= takes) or mode != INPAINT
        assert ({"image", "strength"} <= takes) or mode != IMAGE
        assert "negative_prompt" in takes or not family.supports_negative
        assert {"negative_prompt", "true_cfg_scale"} <= takes or not family.true_cfg


@EVERY
def test_the_pipelines_have_the_components_the_table_names(name: str) -> None:
    family = FAMILIES[name]
    for mode in family.modes:
        init = inspect.signature(getattr(diffusers, family.pipeline_name(mode)).__init__).parameters
        assert {family.denoiser, "vae", "scheduler", *family.text_encoders} <= set(init)


@EVERY
def test_the_default_sampler_fits(name: str) -> None:
    family = FAMILIES[name]
    from safelight.generation.solvers.samplers import resolve_sampler

    choice = resolve_sampler(family.sampler, family.schedule, family.prediction_process)
    choice.check_steps(family.steps)


CALLS = {"cfg-batched": [2], "cfg-separate": [1, 1], "embedded": [1], "none": [1]}
"""The batch sizes of the denoiser's calls at one step, for one image."""


@EVERY
def test_every_mode_runs_as_the_table_says(name: str, loaded: Callable[[str], LoadedCheckpoint]) -> None:
    model = loaded(name)
    family = model.family
    assert family is FAMILIES[name]
    for mode in family.modes:
        spy, pipeline = DenoiserSpy(), model.pipeline(mode)
        hook = spy.watch(pipeline, family.denoiser)
        callback = {"callback_on_step_end": spy.on_step} if family.supports_step_callback else {}
        picture = generate_array(
            pipeline, family, mode, **guidance(family, 3.0), **negative(family, "blue"), **callback
        )
        hook.remove()
        assert picture.shape == (SIDE, SIDE, 4 if name == "qwen-image-21" else 3)
        assert np.isfinite(picture).all()
        see_guidance(spy, family)
        if not isinstance(pipeline.scheduler, UniPCMultistepScheduler):  # to which HiDream passes no shift
            see_timesteps(spy, family, dynamic=bool(model.scheduler_config.get("use_dynamic_shifting")))


def see_guidance(spy: DenoiserSpy, family: Family) -> None:
    once = CALLS[family.guidance]
    if family.references is not None and family.references.image_guidance:
        once = [3]
    assert spy.batches == once * (len(spy.batches) // len(once))
    assert set(spy.latents) == (
        {{"packed": 3, "spatial": 4, "channels-last": 5}[family.latent_layout]}
        if family.supports_step_callback
        else set()
    )


def see_timesteps(spy: DenoiserSpy, family: Family, *, dynamic: bool) -> None:
    assert (spy.timestep_arguments.get("sigmas") is not None) == family.passes_sigmas
    assert ("mu" in spy.timestep_arguments) == (
        family.passes_mu == "always" or (family.passes_mu == "dynamic" and dynamic)
    )


@OWN
def test_disabled_guidance_costs_no_second_call(name: str, loaded: Callable[[str], LoadedCheckpoint]) -> None:
    model, spy = loaded(name), DenoiserSpy()
    family = model.family
    pipeline = model.pipeline(family.modes[0])
    hook = spy.watch(pipeline, family.denoiser)
    off = guidance(family, family.guidance_off_value) | quick_arguments(family)
    plain = generate_array(pipeline, family, family.modes[0], **off)
    calls, spy.batches = spy.batches, []
    other = generate_array(pipeline, family, family.modes[0], **off, **negative(family, "blue"))
    hook.remove()
    assert set(calls) == {1}
    assert len(calls) == len(spy.batches)
    assert np.array_equal(plain, other)


@OWN
def test_a_negative_prompt_has_an_effect_where_the_table_says_so(
    name: str, loaded: Callable[[str], LoadedCheckpoint]
) -> None:
    model = loaded(name)
    family = model.family
    if not family.supports_negative:
        return
    pipeline = model.pipeline(family.modes[0])
    scale = guidance(family, 6.0) | quick_arguments(family)
    first, second = (
        generate_array(pipeline, family, family.modes[0], **scale, **negative(family, words))
        for words in ("a", "b c d e f")
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "first"), [("sd1", True), ("sdxl", True), ("sd3", True), ("z-image", False)]
)
def test_which_half_of_the_doubled_batch_is_the_negative_prompt(
    name: str, first: bool, loaded: Callable[[str], LoadedCheckpoint]
) -> None:
    model = loaded(name)
    halves: list[Any] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        words = kwargs.get("encoder_hidden_states", args[2] if len(args) > 2 else None)
        halves.append((words[0], words[1]))

    pipeline = model.pipeline()
    hook = getattr(pipeline, model.family.denoiser).register_forward_pre_hook(note, with_kwargs=True)
    for prompt in ("blue", "x y"):
        generate_array(pipeline, model.family, TEXT, guidance_scale=3.0, negative_prompt=prompt, **LATENT)
    hook.remove()
    one, other = halves[0], halves[len(halves) // 2]
    unchanged = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert unchanged == [not first, first]
    assert model.family.unconditional_first == first


def test_chroma_inpaints_a_full_mask_like_image_to_image(
    loaded: Callable[[str], LoadedCheckpoint],
) -> None:
    """Its inpainting pipeline runs only with a config that we complete."""
    model = loaded("chroma")
    everything = {"mask_image": Image.new("L", (SIDE, SIDE), 255)}
    same = {"strength": 0.6, "guidance_scale": 3.0, "num_inference_steps": 4, **LATENT}
    inpainted, drawn = (
        generate_array(model.pipeline(mode), model.family, mode, **same, **more)
        for mode, more in ((INPAINT, everything), (IMAGE, {}))
    )
    assert np.array_equal(inpainted, drawn)


def negative(family: Family, words: str) -> dict[str, str]:
    return {"negative_prompt": words} if family.supports_negative else {}


def test_modes_are_those_of_a_request() -> None:
    from safelight.generation.request import Mode

    assert {TEXT, IMAGE, INPAINT} == {mode.value for mode in Mode}
    assert FAMILIES["sd1"].pipeline_name(Mode.INPAINT) == "StableDiffusionInpaintPipeline"


def test_an_unsupported_mode_lists_the_supported_ones() -> None:
    with pytest.raises(UnsupportedError, match="PixArt-alpha has no image-to-image") as caught:
        FAMILIES["pixart-alpha"].pipeline_name(IMAGE)
    assert "text-to-image" in caught.value.hint


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointFamilyError, match="no family 'sd9'") as caught:
        FAMILIES["sd9"]
    assert "sdxl-turbo" in caught.value.hint
