from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, to_array
from tests.tiny.distinct import DISTINCT

from safelight.errors import NonFiniteError, RunStoppedError
from safelight.generation.conditioning import EncoderCall, make_conditioning
from safelight.generation.denoising import DenoisingPass
from safelight.generation.noise import make_generator
from safelight.generation.plan import ExpandedPrompts
from safelight.generation.previews import unpack_latents
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.prompts.embedding_cache import EmbeddingCache
from safelight.generation.request import Mode
from safelight.generation.solvers.registry import SAMPLERS
from safelight.generation.solvers.samplers import (
    PredictionProcess,
    build_scheduler,
    prediction_process_of,
    resolve_sampler,
)
from safelight.models.checkpoints.loading import LoadedCheckpoint

Memory = Callable[[str], LoadedCheckpoint]


@dataclass
class PreviewSpy:
    """Replaces the preview's linear map, and keeps the latents that it gets."""

    latents: list[torch.Tensor] = field(default_factory=list)

    def preview(self, latents: torch.Tensor) -> Image.Image:
        self.latents.append(latents)
        return Image.new("RGB", (1, 1))


def text_pass(
    loaded: LoadedCheckpoint, steps: int = 3, sampler: str | None = None, **changes: Any
) -> DenoisingPass:
    family = loaded.family
    prompts = make_conditioning(loaded, EmbeddingCache(10**6))
    words = ExpandedPrompts("a red cat", "blue")
    choice = resolve_sampler(sampler or family.sampler, None, prediction_process_of(loaded.scheduler_config))
    colours: Any = PreviewSpy()
    usual: dict[str, Any] = {
        "loaded": loaded,
        "previewer": lambda: colours,
        "mode": Mode.TEXT,
        "width": SIDE,
        "height": SIDE,
        "steps": steps,
        "scheduler": build_scheduler(choice, loaded.scheduler_config, [7]),
        "generator": make_generator(7),
        "guidance_scale": 3.0,
        "guided": family.guidance in ("cfg-batched", "cfg-separate"),
        "text": prompts.plain(words),
        "phases": prompts.phases(EncoderCall(words, steps)),
    }
    return DenoisingPass(**(usual | changes))


def text_families() -> list[str]:
    only_edits = {"sd1-inpaint", "sd2-inpaint", "sdxl-inpaint", "sdxl-refiner", "flux-fill"}
    return [name for name in DISTINCT if name not in only_edits]


@pytest.mark.parametrize("name", text_families())
def test_the_last_preview_is_the_image(name: str, in_memory: Memory) -> None:
    """Every family's sign, scale and packing: after an Euler step to zero noise the clean latents are the latents."""
    loaded, spy = in_memory(name), PreviewSpy()
    latents = text_pass(
        loaded,
        sampler="SCM" if name == "sana-sprint" else "Euler",
        latents_out=True,
        previewer=lambda: spy,
        on_step=lambda _step, _steps, preview: preview() and None,
    ).run()
    assert isinstance(latents, torch.Tensor)
    pipeline = loaded.pipeline(Mode.TEXT)
    final = unpack_latents(latents, pipeline, SIDE, SIDE)
    assert len(spy.latents) == 3
    error = (spy.latents[-1] - final).abs().max() / final.abs().max()
    assert float(error) < 0.02
    assert (spy.latents[0] - final).abs().max() > 2 * (spy.latents[-1] - final).abs().max()


TWO_CALLS = [sampler for sampler in SAMPLERS.values() if sampler.calls_per_step == 2]
FIT = {PredictionProcess.DIFFUSION: "sd1", PredictionProcess.FLOW: "sd3"}


@pytest.mark.parametrize("sampler", TWO_CALLS, ids=lambda sampler: sampler.name)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_step_of_two_calls_is_one_step(sampler: Any, steps: int, in_memory: Memory) -> None:
    loaded = in_memory(FIT[next(iter(sampler.prediction_processes))])
    told: list[tuple[int, int]] = []
    calls: list[int] = []
    denoiser: Any = loaded.components[loaded.family.denoiser]
    hook = denoiser.register_forward_pre_hook(lambda *_: calls.append(len(told)))
    text_pass(loaded, steps, sampler.name, on_step=lambda *step: told.append(step[:2])).run()
    hook.remove()
    assert told == [(step, steps) for step in range(1, steps + 1)]
    # Each call belongs to the step that was not reported yet; the last step has one call.
    assert calls == [step for step in range(steps) for _ in range(2 if step < steps - 1 else 1)]


@pytest.mark.parametrize(
    "sampler", [s for s in SAMPLERS.values() if s.prediction_processes & FIT.keys()], ids=lambda s: s.name
)
def test_every_sampler_reports_each_step_once(sampler: Any, in_memory: Memory) -> None:
    loaded = in_memory(FIT[next(iter(sampler.prediction_processes))])
    told: list[tuple[int, int]] = []
    text_pass(loaded, 4, sampler.name, latents_out=True, on_step=lambda *step: told.append(step[:2])).run()
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("name", "steps", "strength", "ran"),
    [
        ("sd1", 5, 0.5, 2),
        ("sd3", 5, 0.5, 3),
        ("flux", 4, 0.3, 2),
        ("qwen-image", 4, 0.3, 2),
        ("z-image", 4, 0.3, 2),
        ("chroma", 4, 0.3, 2),
        ("sdxl", 3, 1.0, 3),
    ],
)
@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_steps_of_image_to_image_are_counted_as_they_run(
    name: str, steps: int, strength: float, ran: int, sampler: str, draw: GenerateImages
) -> None:
    told: list[RunProgress] = []
    draw(
        name,
        Watcher(told.append),
        init_image=Image.new("RGB", (SIDE, SIDE)),
        steps=steps,
        strength=strength,
        sampler=sampler,
    )
    assert [(each.step, each.steps) for each in told] == [(step, ran) for step in range(1, ran + 1)]


def stop_after(after: int, *, keep: bool = False) -> tuple[Watcher, list[RunProgress]]:
    """A stop callback that returns true after so many reported steps."""
    told: list[RunProgress] = []
    return Watcher(told.append, lambda: len(told) >= after, keep), told


@pytest.mark.parametrize(
    "name", ["sd1", "kolors", "sd3", "qwen-image", "pixart-sigma", "auraflow", "z-image"]
)
@pytest.mark.parametrize("keep", [False, True])
def test_a_stop_request_ends_the_run_before_the_next_call(
    name: str, keep: bool, draw: GenerateImages, in_memory: Memory
) -> None:
    loaded = in_memory(name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    watcher, told = stop_after(2, keep=keep)
    calls: list[int] = []
    hook = denoiser.register_forward_hook(lambda *_: calls.append(len(told)))
    cut_short = keep and name not in ("pixart-sigma", "auraflow")
    if cut_short:
        (drawn,) = draw(name, watcher, steps=6)
        assert drawn.stopped_at == 2
        assert drawn.record.notes[-1] == "Stopped after step 2 of the first pass: the picture is unfinished."
    else:
        with pytest.raises(RunStoppedError):
            draw(name, watcher, steps=6)
    hook.remove()
    assert [each.step for each in told] == [1, 2]
    assert set(calls) == {0, 1}
    assert not denoiser._forward_pre_hooks
    assert not denoiser._forward_hooks
    assert len(draw(name)) == 1


def test_a_stop_request_within_a_call_ends_the_run_after_it(draw: GenerateImages, in_memory: Memory) -> None:
    """A step of two calls is left between them."""
    loaded = in_memory("qwen-image")
    denoiser: Any = loaded.components["transformer"]
    calls: list[int] = []
    hook = denoiser.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(RunStoppedError):
        draw("qwen-image", Watcher(should_stop=lambda: len(calls) >= 3), steps=6)
    hook.remove()
    assert len(calls) == 3


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "Heun", "DPM++ SDE", "LCM"])
def test_a_partial_image_is_the_current_prediction(sampler: str, draw: GenerateImages) -> None:
    watcher, told = stop_after(3, keep=True)
    (drawn,) = draw("sd1", watcher, steps=4, sampler=sampler)
    assert drawn.stopped_at == 3
    assert len(told) == 3
    (whole,) = draw("sd1", steps=4, sampler=sampler)
    (noise,) = draw("sd1", stop_after(1, keep=True)[0], steps=4, sampler=sampler)
    near, far = (np.abs(to_array(each).astype(int) - to_array(whole)).mean() for each in (drawn, noise))
    assert 0 < near < far


def test_a_partial_edit_keeps_the_unmasked_area(draw: GenerateImages) -> None:
    picture = Image.effect_noise((SIDE, SIDE), 80).convert("RGB")
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (16, 16, 48, 48))
    (drawn,) = draw(
        "sd1", stop_after(2, keep=True)[0], init_image=picture, mask=mask, inpaint={"blur": 0}, steps=5
    )
    assert drawn.stopped_at == 2
    outside = np.asarray(mask) == 0
    assert np.array_equal(to_array(drawn)[outside], np.asarray(picture)[outside])


def test_a_stop_in_the_second_pass_is_reported_as_such(draw: GenerateImages) -> None:
    told: list[RunProgress] = []
    watcher = Watcher(told.append, lambda: bool(told) and told[-1].stage == "second pass", True)
    (drawn,) = draw("sd1", watcher, hires={"scale": 2, "strength": 0.9}, steps=4)
    assert drawn.stopped_at == 1
    assert "step 1 of the second pass" in drawn.record.notes[-1]
    assert drawn.image.size == (128, 128)
    with pytest.raises(RunStoppedError):  # latents are no image yet
        draw("sd1", stop_after(1, keep=True)[0], hires={"scale": 2}, steps=4)


def test_non_finite_latents_are_an_error(draw: GenerateImages, in_memory: Memory) -> None:
    loaded = in_memory("sd1")
    unet: Any = loaded.components["unet"]
    weight = unet.conv_in.weight
    kept = weight.data.clone()
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(
            NonFiniteError, match="The unet of Stable Diffusion 1 returned NaN or infinity in fp32"
        ):
            draw("sd1")
    finally:
        weight.data.copy_(kept)


def test_the_schedulers_step_keeps_its_signature(in_memory: Memory, draw: GenerateImages) -> None:
    """Pipelines inspect whether a step takes eta and a generator."""
    first, second = (to_array(*draw("sd1", sampler="DDIM", eta=eta)) for eta in (0.0, 1.0))
    assert not np.array_equal(first, second)


STOCHASTIC = [
    (name, sampler.name)
    for name, process in (("sd1", PredictionProcess.DIFFUSION), ("sd3", PredictionProcess.FLOW))
    for sampler in SAMPLERS.values()
    if sampler.stochastic and process in sampler.prediction_processes
]


@pytest.mark.parametrize(("name", "sampler"), STOCHASTIC)
def test_noise_that_a_sampler_adds_comes_from_the_seed(draw: GenerateImages, name: str, sampler: str) -> None:
    """And not from torch's global generator: pipelines of flow models pass their own only to the first noise."""
    states = torch.random.get_rng_state()
    try:
        images = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            images += draw(name, sampler=sampler)
    finally:
        torch.random.set_rng_state(states)
    assert np.array_equal(*map(to_array, images))
