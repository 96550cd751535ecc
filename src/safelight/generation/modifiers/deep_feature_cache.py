"""A step cache for U-Nets: deep features change little between steps and are reused (DeepCache; Ma et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from safelight.errors import UnsupportedError
from safelight.generation.modifiers.control_xs import FusedControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import PurePatch
from safelight.runtime.patching import replaced_forward

FEATURES = "deep_features"
"""The argument that a patched U-Net takes in place of computing its deep layers."""
_BLOCKS = frozenset({"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"})


@dataclass(frozen=True)
class ReturnFeatures(PurePatch):
    """A patch: the U-Net also returns the features that enter its last layer.

    It has no state, so calls of several pictures with it are computed as one.
    """

    identity: str = "deep-features:return"

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Let the network return the features as a second output.

        Raises:
            UnsupportedError: It is no such U-Net.
        """
        found: list[Tensor] = []
        forward = network.forward

        def returning(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
            result = forward(*args, **kwargs)
            return (*result, found.pop())

        hook = _layer_before_last(network).register_forward_hook(lambda _, __, out: found.append(_first(out)))
        with replaced_forward(network, returning):
            try:
                yield
            finally:
                hook.remove()


@dataclass(frozen=True)
class UseFeatures(PurePatch):
    """A patch: the U-Net takes these features as an argument, and computes nothing but its first and last layers."""

    identity: str = "deep-features:use"

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Replace the layers whose results only reach the output through the features.

        Raises:
            UnsupportedError: It is no such U-Net.
        """
        _layer_before_last(network)
        given: list[Tensor] = []
        forward = network.forward

        def using(*args: Any, **kwargs: Any) -> Any:
            given[:] = [kwargs.pop(FEATURES)]
            return forward(*args, **kwargs)

        last = network.up_blocks[-1]
        replaced: list[tuple[nn.Module, str, nn.Module]] = [
            (network.down_blocks, str(number), _SkippedDownBlock(block))
            for number, block in enumerate(network.down_blocks)
        ]
        replaced += [
            (network.up_blocks, str(number), _SkippedUpBlock(block, given))
            for number, block in enumerate(network.up_blocks[:-1])
        ]
        for number in range(len(last.resnets) - 1):
            replaced.append((last.resnets, str(number), _Given(given)))
            if hasattr(last, "attentions"):
                replaced.append((last.attentions, str(number), _GivenTuple(given)))
        if network.mid_block is not None:
            replaced.append((network, "mid_block", _Given(given)))
        with ExitStack() as stack:
            for parent, name, module in replaced:
                stack.enter_context(_replaced_module(parent, name, module))
            with replaced_forward(network, using):
                yield


class _SkippedDownBlock(nn.Module):
    """Returns its input for each of its layers; no layer that is computed reads the result."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._outputs = len(block.resnets) + (block.downsamplers is not None)

    def forward(self, hidden_states: Tensor, temb: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:  # noqa: ARG002
        return hidden_states, (hidden_states,) * self._outputs


class _Given(nn.Module):
    """Returns the given features, whatever its input."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self._given = given

    def forward(self, *_: Any, **__: Any) -> Any:
        return self._given[0]


class _GivenTuple(_Given):
    """The same for layers that return a tuple."""

    def forward(self, *_: Any, **__: Any) -> tuple[Tensor]:
        return (self._given[0],)


class _SkippedUpBlock(_Given):
    """The same for a block; the U-Net counts its layers."""

    def __init__(self, block: Any, given: list[Tensor]) -> None:
        super().__init__(given)
        self.resnets = (None,) * len(block.resnets)


_Key = tuple[int, tuple[str, ...]]
"""What calls with the same features have in common: their group and their patches."""


class DeepFeatureCache(Modifier):
    """Computes only a U-Net's first and last layers in some steps, with the deep features of an earlier one.

    The whole network is computed in the first two steps, which differ most, in every n-th one and in the last.

    Args:
        interval: Steps from one whole computation to the next, at least 2.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._features: dict[_Key, tuple[tuple[Role, ...], Tensor]] = {}

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction, computed in full or with cached features."""
        adds = call.arguments.get("down_block_additional_residuals") is not None
        if adds or any(isinstance(patch, FusedControl) for patch in call.patches):
            return compute(call)  # a ControlNet adds to layers that would be left out
        call = call.add(return_dict=False)
        key = call.group, tuple(patch.identity for patch in call.patches)
        whole = call.step < 2 or call.step % self._interval == 0 or call.step == call.steps - 1
        features = None if whole else self._rows(key, call.roles)
        if features is not None:
            return compute(call.add(**{FEATURES: features}).patch(UseFeatures()))

        def keep(outputs: tuple[Any, ...]) -> None:
            self._features[key] = call.roles, outputs[-1]

        return compute(replace(call.patch(ReturnFeatures()), on_outputs=keep))

    def _rows(self, key: _Key, roles: tuple[Role, ...]) -> Tensor | None:
        """The features of rows with these roles; outside a guidance interval there are fewer rows than before."""
        if key not in self._features:
            return None
        known, features = self._features[key]
        if known == roles:
            return features
        if len(set(known)) < len(known) or not set(roles) <= set(known):
            return None
        return features[torch.tensor([known.index(role) for role in roles], device=features.device)]


def supports_deep_features(network: Any) -> bool:
    """Whether a denoiser is a U-Net of the layers that the cache knows."""
    blocks = [*getattr(network, "down_blocks", ()), *getattr(network, "up_blocks", ())]
    known = bool(blocks) and {type(block).__name__ for block in blocks} <= _BLOCKS
    return known and len(network.up_blocks[-1].resnets) > 1


def _layer_before_last(network: Any) -> nn.Module:
    """The layer whose output enters the last one; that one reads nothing else but the first convolution's output.

    Raises:
        UnsupportedError: The network has no such layers.
    """
    if not supports_deep_features(network):
        raise UnsupportedError(
            "This checkpoint's denoiser has no layers for the step cache deep.",
            hint="Leave out step_cache.",
            field="step_cache",
        )
    block = network.up_blocks[-1]
    layers: nn.ModuleList = getattr(block, "attentions", None) or block.resnets
    return layers[-2]


def _first(output: Any) -> Tensor:
    value: Tensor = output if isinstance(output, Tensor) else output[0]
    return value


@contextmanager
def _replaced_module(parent: nn.Module, name: str, module: nn.Module) -> Iterator[None]:
    original = parent._modules[name]
    parent._modules[name] = module
    try:
        yield
    finally:
        parent._modules[name] = original


def _build(context: PassContext) -> DeepFeatureCache | None:
    cache = context.step_cache
    if cache is None or cache.kind != "deep" or cache.interval is None:
        return None
    return DeepFeatureCache(cache.interval)


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register the cache of deep features."""
    registry.register("deep-feature-cache", ModifierFactory(Layer.NETWORK, _build))
