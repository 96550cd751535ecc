from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.modifiers.calls import denoiser_call, doubled
from torch import Tensor

from safelight.errors import RunStoppedError, UnsupportedError
from safelight.generation.artifact import Artifact
from safelight.generation.comparison import within_tolerance
from safelight.generation.modifiers.deep_feature_cache import (
    FEATURES,
    DeepFeatureCache,
    ReturnFeatures,
    UseFeatures,
)
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.progress import Watcher
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.runtime.patching import patched

InMemory = Callable[[str], LoadedCheckpoint]
DEEP: dict[str, Any] = {"step_cache": "deep", "steps": 6}


def network_call(unet: Any) -> dict[str, Any]:
    """The arguments of a call."""
    config, generator = unet.config, torch.Generator().manual_seed(1)
    noise = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    arguments = {"encoder_hidden_states": noise(2, 7, config.encoder_hid_dim or config.cross_attention_dim)}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        arguments["added_cond_kwargs"] = {"text_embeds": noise(2, pooled), "time_ids": torch.ones(2, 6)}
    return {"sample": noise(2, config.in_channels, 8, 8), "timestep": 7, **arguments}


@pytest.mark.parametrize("name", ["sd1", "sdxl", "kolors"])
def test_with_the_features_of_the_same_call_the_prediction_is_the_same(
    name: str, in_memory: InMemory
) -> None:
    unet: Any = in_memory(name).components["unet"]
    arguments = network_call(unet)
    computed: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: computed.append(name))
        for name, module in unet.named_modules()
        if name.endswith(("conv1", "to_q"))
    ]
    layers = list(dict(unet.named_modules()))
    with torch.no_grad():
        plain = unet(**arguments, return_dict=False)[0]
        whole = len(computed)
        with patched(unet, [ReturnFeatures()]):
            same, features = unet(**arguments, return_dict=False)
        computed.clear()
        with patched(unet, [UseFeatures()]):
            shallow = unet(**arguments, **{FEATURES: features}, return_dict=False)[0]
        few = len(computed)
        after = unet(**arguments, return_dict=False)[0]
    for hook in hooks:
        hook.remove()
    assert torch.equal(same, plain)
    assert torch.equal(shallow, plain)
    assert torch.equal(after, plain)
    assert 0 < few < whole / 3
    assert layers == list(dict(unet.named_modules()))  # and in the same order


class Network:
    """Answers as a patched network, and records which patch each call has."""

    def __init__(self) -> None:
        self.calls: list[DenoiserCall] = []

    def __call__(self, call: DenoiserCall) -> Tensor:
        self.calls.append(call)
        rows = torch.arange(len(call.roles))[:, None] + 10 * call.step
        if call.on_outputs is not None:
            call.on_outputs((call.latents, rows))
        return call.latents

    @property
    def whole(self) -> list[bool]:
        return [isinstance(call.patches[-1], ReturnFeatures) for call in self.calls]


def test_the_first_two_steps_every_nth_and_the_last_are_computed_whole() -> None:
    network, cache = Network(), DeepFeatureCache(3)
    for step in range(9):
        cache.predict(denoiser_call(doubled(), step, 9), network)
    assert [step for step, whole in enumerate(network.whole) if whole] == [0, 1, 3, 6, 8]
    assert torch.equal(network.calls[4].arguments[FEATURES], torch.tensor([[30], [31]]))  # type: ignore[arg-type]


def test_fewer_rows_take_the_features_of_their_roles() -> None:
    """As outside a guidance interval; more rows than before are computed whole."""
    network, cache = Network(), DeepFeatureCache(2)
    cache.predict(denoiser_call(doubled(), 2, 9), network)
    cache.predict(denoiser_call(doubled(), 3, 9).take([1]), network)
    assert torch.equal(network.calls[1].arguments[FEATURES], torch.tensor([[21]]))  # type: ignore[arg-type]
    cache.predict(denoiser_call(doubled(), 4, 9).take([1]), network)
    cache.predict(denoiser_call(doubled(), 5, 9), network)
    assert network.whole == [True, False, True, True]


def test_calls_with_a_controlnets_residuals_or_other_patches_are_not_mixed_up() -> None:
    network, cache = Network(), DeepFeatureCache(2)
    call = denoiser_call(doubled(), 2, 9)
    cache.predict(call, network)
    cache.predict(replace(call, step=3).patch(UseFeatures("another patch")), network)
    assert network.whole == [True, True]
    controlled = call.add(down_block_additional_residuals=(doubled(),))
    cache.predict(controlled, network)
    assert network.calls[-1] is controlled


def test_roles_that_occur_twice_are_only_reused_as_they_were() -> None:
    network, cache = Network(), DeepFeatureCache(2)
    twice = (Role.NEGATIVE, Role.POSITIVE, Role.POSITIVE)
    call = denoiser_call(torch.cat([doubled(), doubled()[:1]]), 2, 9, twice)
    cache.predict(call, network)
    cache.predict(replace(call, step=3), network)
    cache.predict(denoiser_call(doubled(), 3, 9), network)
    assert network.whole == [True, False, True]


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler": "Heun"},
        {"guidance_end": 0.5},
        {"pag_scale": 2.0},
        {"prompt": "a [cat:dog:0.5]"},
        {"hires": {"scale": 1.5, "strength": 1.0}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_it_works_with_the_other_options(fields: dict[str, Any], draw: GenerateImages) -> None:
    plain, cached, again = (
        to_array(*draw(**DEEP | fields | more)) for more in ({"step_cache": "none"}, {}, {})
    )
    assert not np.array_equal(cached, plain)
    assert np.array_equal(cached, again)


def test_two_at_once_equal_each_alone(draw: GenerateImages) -> None:
    """At the same phase they are computed as one, at others and without a cache each by itself."""
    requests: list[dict[str, Any]] = [
        DEEP | {"seed": 1},
        DEEP | {"seed": 2},
        DEEP | {"seed": 3, "step_cache_interval": 2},
        {"steps": 6, "seed": 4},
    ]
    alone = [to_array(*draw(**fields)) for fields in requests]
    barrier = Barrier(len(requests))

    def in_step(fields: dict[str, Any]) -> Artifact:
        (artifact,) = draw(watcher=Watcher(lambda _: barrier.wait(60) and None), **fields)
        return artifact

    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(in_step, requests))
    assert all(within_tolerance(to_array(one), other) for one, other in zip(together, alone, strict=True))
    assert together[0].record.batched
    assert together[1].record.batched


def test_a_stopped_run_leaves_the_network_as_it_was(draw: GenerateImages) -> None:
    plain = to_array(*draw(steps=6))
    with pytest.raises(RunStoppedError):
        draw(watcher=Watcher(should_stop=iter([False] * 6 + [True] * 9).__next__), **DEEP)
    assert np.array_equal(to_array(*draw(steps=6)), plain)


def test_a_transformer_has_none(draw: GenerateImages) -> None:
    with pytest.raises(UnsupportedError, match="Flux has no step cache deep"):
        draw("flux", **DEEP)
