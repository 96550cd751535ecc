from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import generate_with_diffusers, nearly_equal
from tests.generation.modifiers.calls import Recorder, denoiser_call, doubled
from torch import Tensor, nn

from safelight.generation.modifiers.denoiser_call import Role
from safelight.generation.modifiers.guidance_interval import GuidanceInterval
from safelight.models.checkpoints.loading import LoadedCheckpoint

Tiny = Callable[[str], Path]
SIZE = {"width": 64, "height": 64}


def rows_computed(interval: GuidanceInterval, steps: int) -> list[int]:
    recorder = Recorder()
    for step in range(steps):
        assert interval.predict(denoiser_call(doubled(), step, steps), recorder).shape == doubled().shape
    return [len(call.roles) for call in recorder.calls]


def test_the_interval_includes_its_end() -> None:
    assert rows_computed(GuidanceInterval(0.25, 0.75), 4) == [1, 2, 2, 1]
    assert rows_computed(GuidanceInterval(), 7) == [2] * 7
    assert rows_computed(GuidanceInterval(0.5, 0.5), 4) == [1] * 4


def test_outside_the_interval_the_negative_half_is_not_computed() -> None:
    recorder, sample = Recorder(), doubled()
    ids = torch.arange(12).reshape(2, 6)
    interval = GuidanceInterval(end=0.5)
    arguments = {"added": {"ids": ids, "none": None}, "image_rotary_emb": (ids, ids), "shared": ids[:1]}
    for step in range(4):
        out = interval.predict(denoiser_call(sample, step, **arguments), recorder)
        assert out.shape == sample.shape
        assert torch.equal(out[1], sample[1] + 1)
        assert torch.equal(out[0], out[1]) == (step >= 2)
    assert [len(call.latents) for call in recorder.calls] == [2, 2, 1, 1]
    last: Any = recorder.calls[-1]
    assert last.roles == (Role.POSITIVE,)
    assert torch.equal(last.latents, sample[1:])
    assert torch.equal(last.arguments["added"]["ids"], ids[1:])
    assert last.timestep.ndim == 0
    assert torch.equal(last.arguments["shared"], ids[:1])
    assert torch.equal(last.arguments["image_rotary_emb"][0], ids)  # positions, not rows


def test_a_call_without_a_negative_prompt_is_computed_as_it_is() -> None:
    recorder = Recorder()
    call = denoiser_call(doubled()[:1], roles=(Role.POSITIVE,))
    GuidanceInterval(0.5, 0.5).predict(call, recorder)
    assert recorder.calls == [call]


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
