"""diffusers' step caches for transformers: first-block cache, MagCache (Ma et al., 2025), TaylorSeer (Liu et al.).

diffusers keeps a cache in hooks on the network, which all runs share. Here the hooks are on the network only while one
call is computed, and their state belongs to the pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import torch
from diffusers.hooks import (
    FirstBlockCacheConfig,
    HookRegistry,
    MagCacheConfig,
    TaylorSeerCacheConfig,
)
from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.hooks.hooks import StateManager
from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS
from diffusers.hooks.taylorseer_cache import _TRANSFORMER_BLOCK_IDENTIFIERS
from diffusers.models.cache_utils import CacheMixin
from torch import Tensor, nn

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.ip_adapter_layers import TOKENS
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.generation.quality import StepCache, StepCacheKind
from safelight.plugins import Registry, hookimpl

WARM_UP = 3
"""Steps that TaylorSeer computes before it predicts any."""
_MAG_RATIOS = {"flux": FLUX_MAG_RATIOS}
"""The change of residuals from step to step that MagCache needs, measured by its authors, by the key of the family."""


@dataclass
class CacheHooks:
    """A patch: diffusers' hooks of a cache, with a state of this pass.

    Args:
        config: diffusers' configuration of the cache.
        context: Tells calls with different rows apart, each of which has a state of its own.
        identity: Unique, so that calls are never joined: whether blocks are computed depends on the values of a call.
    """

    config: Any
    context: str = ""
    identity: str = field(default_factory=lambda: f"transformer-cache:{uuid4().hex}")
    _states: list[StateManager] = field(default_factory=list)

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Put the hooks on the network, and remove them afterwards."""
        network.enable_cache(self.config)
        try:
            self._adopt_states(network)
            with network.cache_context(self.context):
                yield
        finally:
            network.disable_cache()

    def _adopt_states(self, network: nn.Module) -> None:
        """Give the new hooks the states of the last call; their order is the same for each call."""
        places: dict[int, tuple[StateManager, list[tuple[Any, str]]]] = {}
        for module in network.modules():
            registry: HookRegistry | None = getattr(module, "_diffusers_hook", None)
            for hook in () if registry is None else registry.hooks.values():
                for name, value in vars(hook).items():
                    if isinstance(value, StateManager):
                        places.setdefault(id(value), (value, []))[1].append((hook, name))
        if not self._states:
            self._states = [manager for manager, _ in places.values()]
        for state, (_, attributes) in zip(self._states, places.values(), strict=True):
            for hook, name in attributes:
                setattr(hook, name, state)


class TransformerCache(Modifier):
    """Computes calls with diffusers' hooks of a cache.

    Args:
        config: diffusers' configuration of the cache.
    """

    def __init__(self, config: Any) -> None:
        self._hooks = CacheHooks(config)

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction, of which blocks may be left out."""
        given = call.arguments.get("joint_attention_kwargs")
        if isinstance(given, dict) and TOKENS in given:
            return compute(call)  # what layers see of pictures would be left out as well
        self._hooks.context = " ".join(
            [
                *(role.value for role in call.roles),
                *(patch.identity for patch in call.patches),
                str(call.group),
            ]
        )
        return compute(call.patch(self._hooks))


def supports_cache(kind: StepCacheKind, network: Any, family: str) -> bool:
    """Whether diffusers has a kind of cache for a transformer.

    Args:
        kind: The kind.
        network: The transformer.
        family: The key of its family.
    """
    if not isinstance(network, CacheMixin) or not isinstance(network, nn.Module):
        return False
    if kind == "taylorseer":
        return any(
            re.fullmatch(pattern, name)
            for name, _ in network.named_modules()
            for pattern in _TRANSFORMER_BLOCK_IDENTIFIERS
        )
    blocks = [
        block
        for name, child in network.named_children()
        if name in _ALL_TRANSFORMER_BLOCK_IDENTIFIERS and isinstance(child, nn.ModuleList)
        for block in child
    ]
    return len(blocks) > 1 and all(map(_is_known, blocks)) and (kind != "magcache" or family in _MAG_RATIOS)


def _is_known(block: nn.Module) -> bool:
    """Whether diffusers' caches know a kind of block."""
    try:
        TransformerBlockRegistry.get(type(block))
    except ValueError:
        return False
    return True


def cache_config(cache: StepCache, steps: int, family: str, dtype: torch.dtype) -> Any:
    """Diffusers' configuration of a cache.

    Args:
        cache: Kind, interval and threshold.
        steps: Steps of the pass.
        family: The key of the family.
        dtype: The data type in which the network computes.
    """
    make: dict[str, Callable[[], Any]] = {
        "first-block": lambda: FirstBlockCacheConfig(cache.threshold),
        "magcache": lambda: MagCacheConfig(
            cache.threshold, num_inference_steps=steps, mag_ratios=_MAG_RATIOS[family]
        ),
        "taylorseer": lambda: TaylorSeerCacheConfig(
            cache.interval, disable_cache_before_step=WARM_UP, taylor_factors_dtype=dtype
        ),
    }
    return make[cache.kind]()


def _build(context: PassContext) -> TransformerCache | None:
    cache, denoiser, family = context.step_cache, context.loaded.denoiser, context.plan.family.key
    if cache is None or cache.kind not in ("first-block", "magcache", "taylorseer"):
        return None
    return TransformerCache(cache_config(cache, context.steps, family, denoiser.dtype))


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register diffusers' caches for transformers."""
    registry.register("transformer-cache", ModifierFactory(Layer.NETWORK, _build))
