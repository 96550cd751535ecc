"""Seamless pictures: convolutions see the opposite edge beyond an edge, so that copies side by side show no seam."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from safelight.errors import UnsupportedError
from safelight.generation.autoencoder import decodes_with_mask
from safelight.generation.modifiers.modifier import Modifier
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.generation.request import Seamless
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import PurePatch
from safelight.settings import Settings


@dataclass(frozen=True)
class CircularConvolutions(PurePatch):
    """A patch: all convolutions are padded with the opposite edge in place of zeros.

    Args:
        across: Left and right edge meet.
        down: Upper and lower edge meet.
    """

    across: bool
    down: bool

    @classmethod
    def of(cls, seamless: Seamless) -> tuple[CircularConvolutions, ...]:
        """The patch of a request's field, or none."""
        if seamless == "none":
            return ()
        return (cls(seamless in ("both", "horizontal"), seamless in ("both", "vertical")),)

    @property
    def identity(self) -> str:
        """Equal for equal edges."""
        return f"seamless:{self.across}:{self.down}"

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Replace how the network's convolutions compute."""
        layers = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
        padded_before = {
            each.conv for each in network.modules() if isinstance(each, Downsample2D) and each.padding == 0
        }
        try:
            for layer in layers:
                compute = self._convolve_padded if layer in padded_before else self._convolve
                layer._conv_forward = partial(compute, layer)
            yield
        finally:
            for layer in layers:
                layer.__dict__.pop("_conv_forward", None)

    def _convolve(self, layer: nn.Conv2d, data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A convolution over data, (batch, channels, rows, columns)."""
        assert not isinstance(layer.padding, str)
        rows, columns = layer.padding
        data = pad(data, (columns, columns, 0, 0), mode="circular" if self.across else "constant")
        data = pad(data, (0, 0, rows, rows), mode="circular" if self.down else "constant")
        return conv2d(data, weight, bias, layer.stride, 0, layer.dilation, layer.groups)

    def _convolve_padded(self, layer: nn.Conv2d, data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same for an encoder's layer, which has already added a row and a column of zeros at the end."""
        if self.across:
            data = torch.cat([data[..., :-1], data[..., :1]], -1)
        if self.down:
            data = torch.cat([data[..., :-1, :], data[..., :1, :]], -2)
        return conv2d(data, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


class SeamlessEdges(Modifier):
    """Patches denoiser and autoencoder for the whole pass.

    Args:
        denoiser: Its name.
        patches: The patch.
    """

    def __init__(self, denoiser: str, patches: tuple[CircularConvolutions, ...]) -> None:
        self.patches = {denoiser: patches, "vae": patches}


def without_tiles(settings: Settings, seamless: Seamless) -> Settings:
    """The settings of a run, in which a seamless picture is not decoded in tiles: each tile would get such edges."""
    if seamless == "none" or "tiling" not in settings.memory_steps:
        return settings
    steps = tuple(step for step in settings.memory_steps if step != "tiling")
    return settings.model_copy(update={"memory_steps": steps})


def _build(context: PassContext) -> SeamlessEdges | None:
    patches = CircularConvolutions.of(context.plan.request.seamless)
    if not patches:
        return None
    if decodes_with_mask(context.loaded.vae.network):
        raise UnsupportedError(
            "An autoencoder that decodes with the mask makes no seamless pictures.",
            hint="Leave seamless at none, or give the checkpoint's own autoencoder.",
            field="seamless",
        )
    return SeamlessEdges(context.plan.family.denoiser, patches)


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register seamless pictures."""
    registry.register("seamless", ModifierFactory(Layer.NETWORK, _build))
