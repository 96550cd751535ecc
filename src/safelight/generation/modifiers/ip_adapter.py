"""IP-Adapters: pictures that count as parts of the prompt do (Ye et al., 2023, arXiv 2308.06721).

An image encoder reads each picture once. What it makes of it becomes tokens that attention layers see beside those of
the text (``ip_adapter_layers``). Pictures of one adapter with the same weight and the same steps count as one prompt,
as several pictures of one adapter do in diffusers; all others add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from safelight.errors import ControlFamilyError
from safelight.generation.control.pictures import ImagePrompt
from safelight.generation.control.planning import PlannedControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.image_encoding import encode_negative, encode_picture
from safelight.generation.modifiers.ip_adapter_layers import (
    MASKS,
    TOKENS,
    FluxLayer,
    SD3Layer,
    SeeingLayer,
    SeePictures,
    UNetLayer,
)
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, NetworkContext, PassContext
from safelight.models.checkpoints.loading import network_source
from safelight.models.controls.ip_adapter_network import IPAdapter, denoiser_layers, ip_adapter_source
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import Component, ComponentSource
from safelight.runtime.patching import check_patchable

NAME = "ip-adapter"


@dataclass(frozen=True)
class Method:
    """How a kind of adapter is applied.

    Args:
        layer: How a layer of the denoiser sees pictures.
        arguments: The denoiser's argument whose values reach its attention layers.
    """

    layer: type[SeeingLayer]
    arguments: str


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ip-adapter": Method(UNetLayer, "cross_attention_kwargs"),
        "flux-ip-adapter": Method(FluxLayer, "joint_attention_kwargs"),
        "sd3-ip-adapter": Method(SD3Layer, "joint_attention_kwargs"),
    }
)
"""By architecture."""


class AdapterPictures:
    """The pictures of one adapter in a pass.

    Args:
        prompts: The pictures.
        adapter: The adapter.
        encoder: Its image encoder.
        together: Whether what both prompts get is projected at once, as diffusers does where both are computed at
            once: it differs in the last bits.
    """

    def __init__(
        self, prompts: Sequence[ImagePrompt], adapter: Component, encoder: Component, *, together: bool
    ) -> None:
        self.adapter: IPAdapter = adapter.network
        self._prompts, self._encoder, self._together = prompts, encoder, together
        self._features: dict[Role, Tensor] = {}
        self._tokens: dict[Role, Tensor] = {}

    def features(self, role: Role) -> Tensor:
        """What the image encoder gives rows of a role: (pictures, …)."""
        if role not in self._features:
            parts = [encode_picture(prompt, self._encoder) for prompt in self._prompts]
            if role is Role.NEGATIVE:
                pairs = zip(self._prompts, parts, strict=True)
                parts = [encode_negative(prompt, self._encoder, positive) for prompt, positive in pairs]
            self._features[role] = torch.cat(parts).to(self.adapter.device, self.adapter.dtype)
        return self._features[role]

    def tokens(self, role: Role) -> Tensor:
        """What the adapter makes of that: (pictures, tokens, width)."""
        if role not in self._tokens:
            roles = (Role.NEGATIVE, Role.POSITIVE) if self._together else (role,)
            with torch.no_grad():
                projected = self.adapter.projection(torch.cat([self.features(each) for each in roles]))
            self._tokens |= dict(zip(roles, projected.chunk(len(roles)), strict=True))
        return self._tokens[role]


class PictureGroup:
    """Pictures of one adapter that count as one prompt.

    Args:
        prompts: The pictures, alike in weight and steps; one with a mask is alone.
        places: Where they are among the adapter's pictures.
        pictures: The adapter's pictures.
    """

    def __init__(
        self, prompts: Sequence[ImagePrompt], places: Sequence[int], pictures: AdapterPictures
    ) -> None:
        self._options, self._places, self._pictures = prompts[0].control.options, list(places), pictures
        self.adapter, self.weight = pictures.adapter, self._options.weight
        self.identity = f"{prompts[0].control.digest}@{self.weight!r}"
        mask = prompts[0].mask
        self._mask = None if mask is None else torch.from_numpy(mask)[None, None].to(self.adapter.device)

    def is_active(self, call: DenoiserCall) -> bool:
        """Whether the step of a call lies in the group's part of the steps."""
        first, last = call.step / call.steps, (call.step + 1) / call.steps
        return self._options.start <= first and last <= self._options.end

    def mask(self, rows: int) -> Tensor | None:
        """Where it counts, for each row: (rows, 1, height, width); None for everywhere."""
        return None if self._mask is None else self._mask.expand(rows, -1, -1, -1)

    def tokens(self, call: DenoiserCall) -> Any:
        """What the layers see of the pictures, for each row of a call: (rows, pictures, tokens, width)."""
        return torch.stack([self._pictures.tokens(role)[self._places] for role in call.roles])


class TimedPictureGroup(PictureGroup):
    """A picture whose tokens depend on the timestep."""

    def tokens(self, call: DenoiserCall) -> Mapping[str, Tensor]:
        """The tokens, (rows, tokens, width), and the embedding of the time."""
        features = torch.cat([self._pictures.features(role)[self._places] for role in call.roles])
        timesteps = call.timestep.to(features.device).expand(len(call.roles))
        with torch.no_grad():
            tokens, time = self.adapter.projection(features, timesteps)
        return {"tokens": tokens, "time": time}


class IPAdapters(Modifier):
    """All IP-Adapters of a pass.

    Args:
        groups: Their pictures.
        method: How the denoiser sees them.
    """

    def __init__(self, groups: Sequence[PictureGroup], method: Method) -> None:
        self._groups, self._method = groups, method

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction of a denoiser that sees the pictures."""
        groups = [group for group in self._groups if group.is_active(call)]
        if not groups:
            return compute(call)
        rows = len(call.roles)
        masks = {str(number): group.mask(rows) for number, group in enumerate(groups)}
        given: Any = call.arguments.get(self._method.arguments) or {}
        seen = {
            TOKENS: {str(number): group.tokens(call) for number, group in enumerate(groups)},
            MASKS: {number: mask for number, mask in masks.items() if mask is not None},
        }
        patch = SeePictures(
            self._method.layer,
            tuple(group.adapter for group in groups),
            tuple(group.weight for group in groups),
            f"{NAME} {' '.join(group.identity for group in groups)}",
        )
        return compute(call.add(**{self._method.arguments: {**given, **seen}}).patch(patch))


def _source(control: PlannedControl, context: NetworkContext) -> ComponentSource:
    denoiser = context.networks()[context.plan.family.denoiser]
    layers = denoiser_layers(control.model.architecture.name, denoiser)
    try:
        return ip_adapter_source(control.model, layers, context.precision, context.device, context.cache)
    except ControlFamilyError as error:
        error.field = f"control.{control.index}.model"
        raise


def _networks(context: NetworkContext) -> Mapping[str, ComponentSource]:
    found = {}
    for control in context.plan.controls:
        if control.encoder is None or not control.has_effect:
            continue
        found[control.name] = _source(control, context)
        found[control.encoder_name] = network_source(
            control.encoder.file(), context.precision, context.device, context.digests, context.cache
        )
    return found


def _build(context: PassContext) -> IPAdapters | None:
    prompts = [each for each in context.control_pictures if isinstance(each, ImagePrompt)]
    if not prompts:
        return None
    check_patchable(context.loaded.denoiser)
    architecture = prompts[0].control.model.architecture.name
    together = context.plan.guided and context.plan.family.guidance == "cfg-batched"
    by_file: dict[str | None, list[ImagePrompt]] = {}
    for prompt in prompts:
        by_file.setdefault(prompt.control.digest, []).append(prompt)
    groups: list[PictureGroup] = []
    for own in by_file.values():
        first = own[0].control
        networks = context.networks[first.name], context.networks[first.encoder_name]
        pictures = AdapterPictures(own, *networks, together=together)
        kind = TimedPictureGroup if architecture == "sd3-ip-adapter" else PictureGroup
        for places in _alike(own, apart=kind is TimedPictureGroup):
            groups.append(kind([own[place] for place in places], places, pictures))  # noqa: PERF401
    return IPAdapters(groups, METHODS[architecture])


def _alike(prompts: Sequence[ImagePrompt], *, apart: bool) -> list[list[int]]:
    """The places of pictures that count as one prompt.

    Args:
        prompts: The pictures of one adapter.
        apart: Whether each counts by itself.
    """
    groups: dict[object, list[int]] = {}
    for place, prompt in enumerate(prompts):
        options = prompt.control.options
        alone = apart or prompt.mask is not None
        alike: object = place if alone else (options.weight, options.start, options.end)
        groups.setdefault(alike, []).append(place)
    return list(groups.values())


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register IP-Adapters."""
    registry.register(NAME, ModifierFactory(Layer.CONDITIONING, _build, _networks))
