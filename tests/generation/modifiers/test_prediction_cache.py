from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.generation.conftest import GenerateImages
from tests.generation.modifiers.calls import denoiser_call, doubled
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.prediction_cache import PredictionCache
from safelight.models.checkpoints.loading import LoadedCheckpoint


def run(cache: PredictionCache, steps: int, calls: int = 1) -> tuple[list[int], list[Tensor]]:
    """The steps that were computed by a network whose prediction is the step, and all predictions."""
    computed: list[int] = []

    def network(call: DenoiserCall) -> Tensor:
        computed.append(call.step)
        return torch.full_like(call.latents, float(call.step))

    predictions = [
        cache.predict(denoiser_call(doubled(), step, steps), network)
        for step in range(steps)
        for _ in range(calls)
    ]
    return computed, predictions


def test_the_first_two_steps_every_nth_and_the_last_are_computed() -> None:
    computed, predictions = run(PredictionCache(3), 9)
    assert computed == [0, 1, 3, 6, 8]
    assert [float(each.mean()) for each in predictions] == pytest.approx(range(9), abs=1e-5)  # a line


def test_a_sampler_that_calls_twice_in_a_step_has_a_history_for_each_call() -> None:
    computed, predictions = run(PredictionCache(2), 6, calls=2)
    assert computed == [0, 0, 1, 1, 2, 2, 4, 4, 5, 5]
    assert [float(each.mean()) for each in predictions[::2]] == pytest.approx(range(6), abs=1e-5)


@pytest.mark.parametrize("name", ["sd1", "sd3", "z-image", "flux", "qwen-image"])
def test_it_works_with_every_kind_of_guidance(
    name: str, draw: GenerateImages, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    loaded = in_memory(name)
    denoiser: Any = loaded.components[loaded.family.denoiser]
    calls: list[int] = []
    hook = denoiser.register_forward_hook(lambda *_: calls.append(1))
    (plain,) = draw(name, steps=6)
    whole = len(calls)
    (cached,) = draw(name, steps=6, step_cache="extrapolate")
    hook.remove()
    assert (len(calls) - whole) * 6 == whole * 5  # all but step 3
    assert cached.record.step_cache == "extrapolate"
    assert cached.record.step_cache_interval == 2
    assert plain.record.step_cache is None
