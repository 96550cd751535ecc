"""Reference-only: a U-Net's self-attention also sees the features of another picture; no network is needed.

The U-Net computes the picture with as much noise as the latents have, and what enters its self-attention layers is
kept; in the call itself these layers attend to it beside their own input (as in Zhang's ControlNet extension).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import diffusers
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from safelight.errors import UnsupportedError
from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.active_control import ActiveControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Predict
from safelight.generation.modifiers.registry import PassContext
from safelight.runtime.component import Component

_NEGATIVE_SHARES = {"prompt": 1.0, "balanced": 0.5, "guess": 0.0}
"""How much of the reference the rows of the negative prompt see, by mode: one less A1111's style fidelity."""


def _unique(prefix: str) -> str:
    return f"{prefix}:{uuid4().hex}"


def _self_attention(network: Any) -> list[nn.Module]:
    return [each.attn1 for each in network.modules() if isinstance(each, BasicTransformerBlock)]


@dataclass
class KeepFeatures:
    """A patch: what enters the self-attention layers is kept.

    Attributes:
        features: The inputs in the order of the layers, (rows, tokens, channels).
    """

    identity: str = field(default_factory=lambda: _unique("reference-keep"))
    features: list[Tensor] = field(default_factory=list)

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Keep them within the block."""
        self.features.clear()
        layers = _self_attention(network)
        found: dict[int, Tensor] = {}

        def keep(number: int) -> Any:
            def hook(_: nn.Module, arguments: tuple[Any, ...], __: dict[str, Any]) -> None:
                found[number] = arguments[0]

            return hook

        with ExitStack() as stack:
            for number, layer in enumerate(layers):
                handle = layer.register_forward_pre_hook(keep(number), with_kwargs=True)
                stack.callback(handle.remove)
            yield
        self.features.extend(found[number] for number in range(len(layers)))


@dataclass
class SeeFeatures:
    """A patch: the self-attention layers also attend to the features of the reference.

    Args:
        features: Those of each layer, with the rows of the call.
        shares: How much of the result with the reference each row takes, 0 to 1.
        identity: Unique: the features are this control's own.
    """

    features: Sequence[Tensor]
    shares: Sequence[float]
    identity: str = field(default_factory=lambda: _unique("reference-see"))

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Replace the layers' processors within the block."""
        layers: list[Any] = _self_attention(network)
        processors = [layer.processor for layer in layers]
        try:
            for layer, features in zip(layers, self.features, strict=True):
                layer.processor = _SeeingProcessor(layer.processor, features, self.shares)
            yield
        finally:
            for layer, processor in zip(layers, processors, strict=True):
                layer.processor = processor


class _SeeingProcessor:
    def __init__(self, processor: Any, features: Tensor, shares: Sequence[float]) -> None:
        self._processor, self._features, self._shares = processor, features, shares

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        wider = torch.cat([hidden_states, self._features.to(hidden_states.dtype)], dim=1)
        kwargs.pop("encoder_hidden_states", None)
        seen: Tensor = self._processor(attn, hidden_states, *args, encoder_hidden_states=wider, **kwargs)
        if all(share == 1 for share in self._shares):
            return seen
        plain: Tensor = self._processor(attn, hidden_states, *args, **kwargs)
        shares = torch.tensor(self._shares, device=seen.device, dtype=seen.dtype)
        return torch.lerp(plain, seen, shares.view(-1, 1, 1))


class ReferenceControl(ActiveControl):
    """A picture that the U-Net looks at.

    Args:
        picture: The picture.
        network: None: there is no network.
        context: The pass.
    """

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        super().__init__(picture, network, context)
        scheduler = context.loaded.scheduler_config
        if picture.mask is not None or not hasattr(self.denoiser.network, "down_blocks"):
            raise UnsupportedError(
                "A reference is for U-Nets, and counts everywhere.",
                hint="Leave it out, or its mask.",
                field="control",
            )
        if "sigma_data" in scheduler:
            raise UnsupportedError(
                "A reference needs a checkpoint with a usual noise schedule.", field="control"
            )
        vae = self.vae
        with torch.no_grad():
            pixels = torch.from_numpy(picture.pixels * 2 - 1).movedim(-1, 0)[None]
            encoded = vae.network.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        self._latents = (encoded * vae.config["scaling_factor"]).to(self.denoiser.device, self.denoiser.dtype)
        generator = torch.Generator().manual_seed(context.plan.seed_of(context.index))
        self._noise = torch.randn(self._latents.shape, generator=generator).to(self._latents)
        self._alphas: Tensor = diffusers.DDPMScheduler.from_config(dict(scheduler)).alphas_cumprod
        self._patch: SeeFeatures | None = None

    def change(self, call: DenoiserCall, compute: Predict) -> DenoiserCall:
        """The call with layers that see the features of the reference with as much noise as the latents have."""
        keep = KeepFeatures()
        noisy = self._noisy(call.timestep.flatten()[0])
        rows = call.latents.clone()
        rows[:, : noisy.shape[1]] = noisy
        first = next(iter(call.arguments))
        compute(call.add(**{first: rows}).patch(keep))
        negative = _NEGATIVE_SHARES[self.options.mode]
        shares = [(negative if role is Role.NEGATIVE else 1.0) * self.options.weight for role in call.roles]
        self._patch = SeeFeatures(list(keep.features), [min(share, 1.0) for share in shares])
        return self.apply(call)

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with layers that see the features that were computed last."""
        return call if self._patch is None else call.patch(self._patch)

    def _noisy(self, timestep: Tensor) -> Tensor:
        """The reference with the noise of a timestep, which may lie between two: (1, channels, rows, columns)."""
        place = float(timestep)
        before = min(max(int(place), 0), len(self._alphas) - 1)
        after = min(before + 1, len(self._alphas) - 1)
        alpha = torch.lerp(self._alphas[before], self._alphas[after], place - before).clamp(0, 1)
        return self._latents * alpha.sqrt().to(self._latents) + self._noise * (1 - alpha).sqrt().to(
            self._latents
        )
