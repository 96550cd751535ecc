"""The registry of modifiers: which there are, in which order they apply, and how those of a pass are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from safelight.errors import PluginInvalidError, UnsupportedError
from safelight.generation.control.pictures import ControlPicture, ImagePrompt
from safelight.generation.modifiers.modifier import Modifier
from safelight.generation.plan import ExpandedPrompts, Plan
from safelight.generation.progress import Stage
from safelight.generation.quality import MIN_CACHED_STEPS, StepCache
from safelight.generation.regions import Mask
from safelight.models.checkpoints.loading import CheckpointParts, LoadedCheckpoint
from safelight.models.digests import FileDigests
from safelight.plugins import Registry
from safelight.runtime.changed_weights import Keep, keep_nothing
from safelight.runtime.component import Component, ComponentSource
from safelight.runtime.patching import check_patchable
from safelight.settings import Settings

NetworkSources = Mapping[str, Mapping[str, ComponentSource]]
"""What is to be leased for modifiers: by the modifier's name, and by the name that the modifier gives it."""
Networks = Mapping[str, Mapping[str, Component]]
"""The same, leased."""


class Layer(IntEnum):
    """Where a modifier applies, from the outermost to the innermost; within a layer, in the order of registration."""

    CONDITIONING = 0
    """Chooses or changes what each row is conditioned on: prompt schedules, IP-Adapters."""
    GUIDANCE = 1
    """Chooses the rows that are computed, and combines their predictions."""
    CONTROL = 2
    """Adds inputs to the rows that are computed: ControlNets."""
    NETWORK = 3
    """Patches or replaces the network: LoRAs, step caches."""


@dataclass(frozen=True)
class NetworkContext:
    """What the networks of a modifier are loaded for.

    Args:
        plan: What is generated.
        device: The device of the checkpoint's networks.
        dtype: The data type of their weights.
        precision: The same by its name, such as "fp32", as a ``ComponentKey`` has it.
        cache: The cache folder, which keeps digests of files.
        parts: The checkpoint.
        networks: Returns the checkpoint's networks without weights; called while the modifier's are loaded.
        settings: The settings of the run.
        digests: The digests of files.
    """

    plan: Plan
    device: torch.device
    dtype: torch.dtype
    precision: str
    cache: Path
    parts: CheckpointParts
    networks: Callable[[], Mapping[str, nn.Module]]
    settings: Settings
    digests: FileDigests


@dataclass(frozen=True)
class PassContext:
    """The pass that a modifier is built for.

    Args:
        plan: What is generated.
        index: Which picture of the request, from 0.
        prompts: Its expanded prompts.
        stage: The first or the second pass.
        steps: Steps that run.
        loaded: The checkpoint.
        networks: The modifier's own networks, as named by its factory's ``networks``.
        control_pictures: The pictures of the controls that have an effect, for the pass.
        region_masks: The masks of the regions, (height, width) of the pass, 0 to 1.
        keep: Keeps what is made for the pass in memory, where there is room.
    """

    plan: Plan
    index: int
    prompts: ExpandedPrompts
    stage: Stage
    steps: int
    loaded: LoadedCheckpoint
    networks: Mapping[str, Component] = field(default_factory=dict)
    control_pictures: Sequence[ControlPicture | ImagePrompt] = ()
    region_masks: Sequence[Mask] = ()
    keep: Keep = keep_nothing

    @property
    def step_cache(self) -> StepCache | None:
        """The step cache of this pass; None for none."""
        return self.plan.step_cache if self.steps >= MIN_CACHED_STEPS else None


def no_networks(_: NetworkContext) -> Mapping[str, ComponentSource]:
    """Of modifiers without networks of their own."""
    return {}


@dataclass(frozen=True)
class ModifierFactory:
    """A kind of modifier.

    Args:
        layer: Where it applies.
        build: Builds the modifier of a pass; returns None for a pass that it does not change.
        networks: Names the networks that it needs beside the checkpoint's, such as a ControlNet. They are leased from
            the model pool together with the checkpoint, and count in the memory budget.
    """

    layer: Layer
    build: Callable[[PassContext], Modifier | None]
    networks: Callable[[NetworkContext], Mapping[str, ComponentSource]] = no_networks


_BUILT_IN = (
    "adapters",
    "textual_inversions",
    "prompt_schedule",
    "ip_adapter",
    "guidance_interval",
    "guidance_rescale",
    "cfg_zero",
    "perturbed_attention",
    "composition",
    "region_attention",
    "control",
    "seamless",
    "token_merging",
    "deep_feature_cache",
    "prediction_cache",
    "transformer_cache",
)
"""The order within a layer matters: rescaling combines the rows that CFG-Zero* has changed, and all guidance those that
composition has joined."""

MODIFIERS = Registry[ModifierFactory](
    "modifier",
    "register_modifiers",
    UnsupportedError,
    tuple(f"safelight.generation.modifiers.{name}" for name in _BUILT_IN),
)
"""Every kind of modifier by name."""


def network_sources(context: NetworkContext) -> NetworkSources:
    """The networks that modifiers need for a run."""
    return {name: factory.networks(context) for name, factory in MODIFIERS.items()}


def build_modifiers(context: PassContext, networks: Networks = MappingProxyType({})) -> tuple[Modifier, ...]:
    """The modifiers of a pass, the outermost first.

    Args:
        context: The pass.
        networks: The networks of all modifiers.

    Raises:
        PluginInvalidError: A modifier patches a component that the checkpoint does not have, such as the T5 of a
            Stable Diffusion 3 that was saved without it.
        BackendError: A modifier patches a component whose backend cannot patch networks.
    """
    family = context.plan.family
    patchable = {family.denoiser, "vae", *family.text_encoders} & context.loaded.networks.keys()
    found = []
    for name, factory in sorted(MODIFIERS.items(), key=lambda item: item[1].layer):
        modifier = factory.build(replace(context, networks=networks.get(name, {})))
        if modifier is None:
            continue
        if unknown := sorted(modifier.patches.keys() - patchable):
            raise PluginInvalidError(
                f"The modifier {name!r} patches {unknown[0]!r}; "
                f"this checkpoint ({family.title}) has {', '.join(sorted(patchable))}."
            )
        for component, patches in modifier.patches.items():
            if patches and component in context.loaded.networks:
                check_patchable(context.loaded.networks[component])
        found.append(modifier)
    return tuple(found)
