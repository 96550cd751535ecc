from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, get_args

import numpy as np
import pytest
from tests.generation.conftest import GenerateImages, to_array

from safelight.generation.artifact import Artifact
from safelight.generation.modifiers.deep_feature_cache import supports_deep_features
from safelight.generation.modifiers.transformer_cache import supports_cache
from safelight.generation.progress import Watcher
from safelight.generation.quality import StepCacheKind, step_caches
from safelight.models.checkpoints.empty_networks import published_families, published_networks
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.models.families import FAMILIES

InMemory = Callable[[str], LoadedCheckpoint]


@pytest.mark.parametrize("name", published_families())
def test_the_table_names_the_caches_that_each_network_supports(name: str) -> None:
    family = FAMILIES[name]
    network: Any = published_networks(name)[family.denoiser]
    supported = {"extrapolate"} | ({"deep"} if supports_deep_features(network) else set())
    supported |= {
        kind
        for kind in get_args(StepCacheKind)
        if kind not in ("none", "deep", "extrapolate") and supports_cache(kind, network, family.key)
    }
    assert set(step_caches(family)) <= supported


CASES = [
    (name, kind)
    for name, kinds in {
        "flux": ("first-block", "magcache", "taylorseer"),
        "qwen-image": ("first-block", "taylorseer"),
        "flux2": ("taylorseer",),
        "hunyuan-image": ("first-block", "taylorseer"),
        "cogview4": ("first-block",),
        "chroma": ("taylorseer",),
    }.items()
    for kind in kinds
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_blocks_are_left_out_and_the_network_is_as_before(
    name: str, kind: str, draw: GenerateImages, in_memory: InMemory
) -> None:
    loaded = in_memory(name)
    network: Any = loaded.components[loaded.family.denoiser]
    fields: dict[str, Any] = {"steps": 8, "step_cache": kind}
    if kind != "taylorseer":
        fields["step_cache_threshold"] = 1.0
    plain = to_array(*draw(name, steps=8))
    cached, again = (to_array(*draw(name, **fields)) for _ in range(2))
    assert not np.array_equal(cached, plain)
    assert np.array_equal(cached, again)
    assert not network.is_cache_enabled
    assert np.array_equal(to_array(*draw(name, steps=8)), plain)
    if kind == "first-block":
        fields["step_cache_threshold"] = 0.0
        assert np.array_equal(to_array(*draw(name, **fields)), plain)


def test_two_at_once_equal_each_alone(draw: GenerateImages) -> None:
    requests: list[dict[str, Any]] = [
        {"seed": 1, "step_cache": "first-block", "step_cache_threshold": 1.0},
        {"seed": 2, "step_cache": "first-block", "step_cache_threshold": 1.0},
        {"seed": 3, "step_cache": "taylorseer"},
        {"seed": 4},
    ]
    alone = [to_array(*draw("flux", steps=8, **fields)) for fields in requests]
    barrier = Barrier(len(requests))

    def in_step(fields: dict[str, Any]) -> Artifact:
        (artifact,) = draw("flux", steps=8, watcher=Watcher(lambda _: barrier.wait(60) and None), **fields)
        return artifact

    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(in_step, requests))
    assert all(np.array_equal(to_array(one), other) for one, other in zip(together, alone, strict=True))
