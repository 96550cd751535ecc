from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import (
    generate_with_diffusers,
    load_diffusers_pipeline,
    nearly_equal,
)
from torch import Tensor, nn

from safelight.errors import RunStoppedError, UnsupportedError
from safelight.generation.modifiers.guidance import DenoiserHooks, GuidanceOptions, combine_predictions
from safelight.generation.prompts.encode import Conditioning, ConditioningPhase
from safelight.models.checkpoints.loading import LoadedCheckpoint

Tiny = Callable[[str], Path]
SIZE = {"width": 64, "height": 64}


def doubled(seed: int = 0, channels: int = 4) -> Tensor:
    return torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_interval_includes_its_end() -> None:
    window = GuidanceOptions(5.0, start=0.25, end=0.75)
    assert [window.is_active(step / 4) for step in range(4)] == [False, True, True, False]
    assert all(GuidanceOptions(5.0).is_active(step / 7) for step in range(7))
    assert not any(GuidanceOptions(5.0, start=0.5, end=0.5).is_active(step / 4) for step in range(4))


def test_guidance_is_the_scaled_difference() -> None:
    values = doubled()
    guided = combine_predictions(values, GuidanceOptions(4.0), first_step=True, channels=4)
    assert torch.equal(guided, values[:1] + 4.0 * (values[1:] - values[:1]))


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaling_follows_the_paper(rescale: float) -> None:
    values = doubled()
    guided = combine_predictions(values, GuidanceOptions(4.0), first_step=False, channels=4)
    ours = combine_predictions(values, GuidanceOptions(4.0, rescale=rescale), first_step=False, channels=4)
    assert torch.allclose(ours, rescale_noise_cfg(guided, values[1:], rescale), atol=1e-6)
    if rescale == 1:
        assert float(ours.std()) == pytest.approx(float(values[1:].std()), rel=1e-5)


def test_a_learned_variance_does_not_affect_rescaling() -> None:
    values, loud = doubled(channels=8), doubled(channels=8)
    loud[:, 4:] *= 100
    guidance = GuidanceOptions(4.0, rescale=0.7)
    one, other = (
        combine_predictions(each, guidance, first_step=False, channels=4) for each in (values, loud)
    )
    assert torch.equal(one[:, :4], other[:, :4])


def test_cfg_zero_projects_the_negative_prediction_and_leaves_out_the_first_step() -> None:
    values, guidance = doubled(), GuidanceOptions(4.0, cfg_zero=True)
    assert not combine_predictions(values, guidance, first_step=True, channels=4).any()
    negative, positive = values[0].double().flatten(), values[1].double().flatten()
    share = torch.dot(positive, negative) / torch.dot(negative, negative)
    expected = share * negative + 4.0 * (positive - share * negative)
    found = combine_predictions(values, guidance, first_step=False, channels=4)
    assert torch.allclose(found.double().flatten(), expected, atol=1e-5)
    half = combine_predictions(values.half() * 200, guidance, first_step=False, channels=4)
    assert torch.isfinite(half).all()  # the sums are larger than half precision can hold


class EchoDenoiser(nn.Module):
    """A denoiser that returns its input and records it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def forward(self, sample: Tensor, timestep: Tensor, **named: Any) -> tuple[Tensor, ...]:
        self.seen.append({"sample": sample, "timestep": timestep, **named})
        return (sample + 1, "more")  # type: ignore[return-value]


def conditioning(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 3, 2), value), torch.full((1, 2), value))


PHASES = [
    ConditioningPhase(0, conditioning(1), conditioning(-1)),
    ConditioningPhase(2, conditioning(2), conditioning(-2)),
]


def adapter(denoiser: nn.Module, **changes: Any) -> DenoiserHooks:
    usual: dict[str, Any] = {
        "guidance": GuidanceOptions(3.0),
        "has_negative": True,
        "phases": (),
        "steps": 4,
        "should_stop": lambda: False,
    }
    return DenoiserHooks(denoiser, **(usual | changes))


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_outside_the_interval_the_negative_half_is_not_computed() -> None:
    echo, sample = EchoDenoiser(), doubled()
    ids = torch.arange(12).reshape(2, 6)
    with adapter(echo, guidance=GuidanceOptions(3.0, end=0.5)) as adapted:
        for adapted.step in range(4):
            out, more = echo(
                sample, torch.tensor(5), added={"ids": ids, "none": None}, rope=(ids, ids), shared=ids[:1]
            )
            assert more == "more"
            assert out.shape == sample.shape
            assert torch.equal(out[1], sample[1] + 1)
            assert torch.equal(out[0], out[1]) == (adapted.step >= 2)
    assert [len(call["sample"]) for call in echo.seen] == [2, 2, 1, 1]
    last = echo.seen[-1]
    assert torch.equal(last["sample"], sample[1:])
    assert torch.equal(last["added"]["ids"], ids[1:])
    assert last["timestep"].ndim == 0
    assert torch.equal(last["shared"], ids[:1])
    assert torch.equal(last["rope"][0], ids)  # not of the batch: a pair for rotary embeddings


@pytest.mark.parametrize(
    ("guided", "batch", "rows"),
    [
        (True, 2, [-2, 2]),
        (True, 3, [-2, 2, 2]),  # perturbed-attention guidance
        (False, 2, [2, 2]),  # the same without classifier-free guidance
        (False, 1, [2]),
    ],
)
def test_every_row_gets_the_embeddings_of_its_step(guided: bool, batch: int, rows: list[int]) -> None:
    echo = EchoDenoiser()
    with adapter(echo, has_negative=guided, phases=PHASES) as adapted:
        adapted.step = 3
        echo(
            torch.zeros(batch, 4, 2, 2),
            1,
            encoder_hidden_states=torch.zeros(batch, 3, 2),
            added_cond_kwargs={"text_embeds": torch.zeros(batch, 2), "time_ids": 5},
        )
    (call,) = echo.seen
    assert call["encoder_hidden_states"][:, 0, 0].tolist() == rows
    assert call["added_cond_kwargs"]["text_embeds"][:, 0].tolist() == rows
    assert call["added_cond_kwargs"]["time_ids"] == 5


def test_hooks_are_removed_after_errors_too() -> None:
    echo = EchoDenoiser()
    with adapter(echo):
        assert hooks(echo) == 2
    assert hooks(echo) == 0
    with pytest.raises(ZeroDivisionError), adapter(echo):
        _ = 1 / 0
    assert hooks(echo) == 0
    with pytest.raises(RunStoppedError), adapter(echo, should_stop=lambda: True):
        echo(doubled(), 1)
    assert hooks(echo) == 0
    assert echo.seen == []


# With whole pipelines


@contextmanager
def recorded_batch_sizes(loaded: LoadedCheckpoint) -> Iterator[list[int]]:
    """The batch sizes that the network really gets."""
    sizes: list[int] = []
    denoiser: Any = loaded.components[loaded.family.denoiser]
    first: nn.Module = denoiser.conv_in if hasattr(denoiser, "conv_in") else denoiser.pos_embed
    handle = first.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    yield sizes
    handle.remove()


@pytest.mark.parametrize(("name", "pipeline"), [("sd1", ""), ("sdxl", "XL")])
def test_outside_the_interval_guidance_is_one_at_half_the_cost(
    name: str, pipeline: str, draw: GenerateImages, tiny: Tiny, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    def drop_guidance(pipe: Any, step: int, _: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if step != 1:
            return {}
        pipe._guidance_scale = 1.0
        return {key: value[-1:] for key, value in tensors.items() if key != "latents"}

    more = ["add_text_embeds", "add_time_ids"] if pipeline else []
    expected = generate_with_diffusers(
        tiny(name),
        f"StableDiffusion{pipeline}Pipeline",
        num_inference_steps=4,
        guidance_scale=7.0,
        callback_on_step_end=drop_guidance,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds", *more],
        **SIZE,
    )
    with recorded_batch_sizes(in_memory(name)) as sizes:
        (drawn,) = draw(name, steps=4, guidance_end=0.5)
    assert sizes == [2, 2, 1, 1]
    assert nearly_equal(to_array(drawn), expected)
    with recorded_batch_sizes(in_memory(name)) as sizes:
        draw(name, steps=4, guidance_start=0.5, guidance_end=0.9)
    assert sizes == [1, 1, 2, 2]


def test_rescaling_equals_diffusers(draw: GenerateImages, tiny: Tiny) -> None:
    (drawn,) = draw(guidance_rescale=0.7, guidance_scale=9)
    expected = generate_with_diffusers(
        tiny("sd1"), "StableDiffusionPipeline", guidance_rescale=0.7, guidance_scale=9.0, **SIZE
    )
    assert np.abs(to_array(drawn).astype(int) - expected).max() <= 1
    assert not np.array_equal(to_array(drawn), to_array(*draw(guidance_scale=9)))


def test_cfg_zero_follows_the_papers_formula(draw: GenerateImages, tiny: Tiny) -> None:
    pipe = load_diffusers_pipeline(tiny("sd3"), "StableDiffusion3Pipeline", "Euler")
    with torch.no_grad():
        words, no_words, pooled, no_pooled = pipe.encode_prompt(
            prompt="a red cat",
            prompt_2=None,
            prompt_3=None,
            negative_prompt="blue",
            negative_prompt_2=None,
            negative_prompt_3=None,
            do_classifier_free_guidance=True,
        )
        pipe.scheduler.set_timesteps(3)
        latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(7))
        for step, time in enumerate(pipe.scheduler.timesteps):
            negative, positive = pipe.transformer(
                torch.cat([latents, latents]),
                timestep=time.expand(2),
                encoder_hidden_states=torch.cat([no_words, words]),
                pooled_projections=torch.cat([no_pooled, pooled]),
                return_dict=False,
            )[0].chunk(2)
            share = (positive * negative).sum() / (negative**2).sum()
            velocity = (1 - 7.0) * share * negative + 7.0 * positive if step else 0 * positive
            latents = pipe.scheduler.step(velocity, time, latents, return_dict=False)[0]
        decoded = pipe.vae.decode(latents / 0.3611 + 0.1159).sample
    expected = (decoded[0] / 2 + 0.5).clamp(0, 1).mul(255).round().movedim(0, -1).numpy()
    (drawn,) = draw("sd3", guidance_method="cfg-zero", negative_prompt="blue", guidance_scale=7)
    assert np.abs(to_array(drawn) - expected).max() <= 1
    assert np.abs(to_array(*draw("sd3", negative_prompt="blue", guidance_scale=7)) - expected).max() > 1


@pytest.mark.parametrize(
    ("name", "pipeline", "sampler"),
    [("sd1", "StableDiffusionPAGPipeline", "Euler a"), ("sd3", "StableDiffusion3PAGPipeline", "Euler")],
)
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_perturbed_attention_equals_diffusers(
    name: str, pipeline: str, sampler: str, scale: float, draw: GenerateImages, tiny: Tiny
) -> None:
    more = {"guidance_scale": scale, "sampler": sampler}
    (drawn,) = draw(name, pag_scale=3, **more)
    expected = generate_with_diffusers(
        tiny(name), pipeline, sampler, pag_scale=3.0, guidance_scale=scale, **SIZE
    )
    assert nearly_equal(to_array(drawn), expected)
    assert not np.array_equal(expected, to_array(*draw(name, **more)))


@pytest.mark.parametrize(
    ("name", "pipeline", "sampler"),
    [("sd1", "StableDiffusionPAGPipeline", "Euler a"), ("sd3", "StableDiffusion3PAGPipeline", "Euler")],
)
@pytest.mark.parametrize("adaptive", [0.004, 0.5])
def test_adaptive_perturbed_attention_equals_diffusers(
    name: str, pipeline: str, sampler: str, adaptive: float, draw: GenerateImages, tiny: Tiny
) -> None:
    more: dict[str, Any] = {"guidance_scale": 5.0, "pag_scale": 3.0}
    (drawn,) = draw(name, pag_adaptive=adaptive, sampler=sampler, **more)
    expected = generate_with_diffusers(
        tiny(name), pipeline, sampler, pag_adaptive_scale=adaptive, **more, **SIZE
    )
    assert nearly_equal(to_array(drawn), expected)
    assert not np.array_equal(to_array(drawn), to_array(*draw(name, sampler=sampler, **more)))
    assert drawn.record.pag_adaptive == adaptive


def test_perturbed_attention_with_prompt_changes_and_stops(draw: GenerateImages, in_memory: Any) -> None:
    assert not np.array_equal(
        to_array(*draw(prompt="[red:blue:2] cat", pag_scale=3)),
        to_array(*draw(prompt="red cat", pag_scale=3)),
    )
    with pytest.raises(UnsupportedError):
        draw("flux", pag_scale=3)


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "qwen-image", "z-image"])
def test_no_run_leaves_state_in_the_shared_denoiser(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    loaded = in_memory(name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    draw(name)
    if loaded.family.pag:
        draw(name, pag_scale=3)
    with pytest.raises(ZeroDivisionError), broken(denoiser):
        draw(name)
    assert hooks(denoiser) == 0
    assert "forward" not in vars(denoiser)


@contextmanager
def broken(denoiser: nn.Module) -> Iterator[None]:
    def fail(*_: Any) -> None:
        _ = 1 / 0

    inner = next(part for part in denoiser.modules() if isinstance(part, nn.Linear))
    handle = inner.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()
