"""Controls of transformers: networks of a part of the transformer's blocks, whose results are added to its own.

They read the control picture as the autoencoder's latents. diffusers' pipelines draw these latents from the
autoencoder's distribution; here they are its mean, so that a picture depends on its own seed only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.active_control import ActiveControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.registry import PassContext
from safelight.runtime.component import Component
from safelight.runtime.memory_plan.phases import in_memory

Residuals = Mapping[str, list[Tensor]]
"""What is added, by the name of the transformer's argument; one for each block, (rows, tokens, channels)."""


class TransformerControl(ActiveControl):
    """A control of a transformer.

    Args:
        picture: Its picture.
        network: Its network.
        context: The pass.
    """

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        super().__init__(picture, network, context)
        self._family, self._guidance_scale = context.plan.family, context.plan.guidance_scale
        with torch.no_grad():
            self._condition = self.encode()
        self._positive: tuple[int, Residuals] | None = None

    def encode(self) -> Tensor:
        """The picture as the network takes it, one row."""
        return self.latents(shift=True)

    def latents(self, *, shift: bool) -> Tensor:
        """The picture's latents, scaled as the transformer's are: (1, channels, rows, columns)."""
        vae = self.vae
        pixels = torch.from_numpy(self.picture.pixels * 2 - 1).movedim(-1, 0)[None]
        encoded = vae.network.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        offset = (vae.config.get("shift_factor") or 0.0) if shift else 0.0
        latents: Tensor = (encoded - offset) * vae.config["scaling_factor"]
        return latents.to(self.network.device, self.network.dtype)

    def condition(self, rows: int) -> Tensor:
        """The picture for each row."""
        return self._condition.repeat(rows, *[1] * (self._condition.ndim - 1))

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with what the network adds to the blocks.

        Where the two prompts have a call each, the network computes the prompt's only, as in diffusers.
        """
        if self._family.separate_calls and self._positive and Role.NEGATIVE in call.roles:
            step, residuals = self._positive
            if step == call.step:
                return self._added(call, residuals)
        residuals = {
            name: [self.masked_tokens(each) for each in blocks]
            for name, blocks in self.residuals(call).items()
        }
        if Role.NEGATIVE not in call.roles:
            self._positive = call.step, residuals
        return self._added(call, residuals)

    def residuals(self, call: DenoiserCall) -> Residuals:
        """What the network adds."""
        raise NotImplementedError

    def _added(self, call: DenoiserCall, residuals: Residuals) -> DenoiserCall:
        for name, new in residuals.items():
            before = call.arguments.get(name)
            whole = list(new)  # some transformers empty the list
            if isinstance(before, list):
                whole = self._sum(before, whole)
            call = call.add(**{name: whole})
        return call

    def _sum(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
        """The sum of what two networks add, where one may have fewer blocks than the other: each counts for several."""
        count = max(len(first), len(second))
        if len(first) != len(second):
            first, second = (
                [each[index * len(each) // count] for index in range(count)] for each in (first, second)
            )
        return [one + other for one, other in zip(first, second, strict=True)]

    def masked_tokens(self, residual: Tensor) -> Tensor:
        """What is added to the tokens of the picture, (rows, tokens, channels), where the mask is white."""
        if self.picture.mask is None:
            return residual
        height, width = self.picture.mask.shape
        side = math.sqrt(height * width / residual.shape[1])
        mask = torch.from_numpy(self.picture.mask)[None, None].to(residual.device, residual.dtype)
        size = round(height / side), round(width / side)
        weights = torch.nn.functional.interpolate(mask, size, mode="area")
        return residual * weights.reshape(1, -1, 1)

    def call_network(self, call: DenoiserCall, *names: str, **more: Any) -> Any:
        """Call the network with some of the call's arguments, and with the picture and the weight."""
        given = {name: call.arguments[name] for name in names if call.arguments.get(name) is not None}
        return self.network.network(
            **{
                "controlnet_cond": self.condition(len(call.roles)),
                "conditioning_scale": self.options.weight,
                "return_dict": False,
                **given,
                **more,
            }
        )


class SD3Control(TransformerControl):
    """A ControlNet of Stable Diffusion 3 or 3.5."""

    def encode(self) -> Tensor:
        """The latents, which the first networks were trained on without the shift."""
        return self.latents(shift=not self.network.config["force_zeros_for_pooled_projection"])

    def residuals(self, call: DenoiserCall) -> Residuals:
        """What it adds to the blocks."""
        pooled = call.arguments["pooled_projections"]
        if self.network.config["force_zeros_for_pooled_projection"]:
            pooled = torch.zeros_like(pooled)
        latents: Any = call.latents
        names = ["timestep"]
        if self.network.config["joint_attention_dim"] is not None:
            names.append("encoder_hidden_states")
        if not self.network.config["use_pos_embed"]:
            latents = in_memory(self.denoiser.network).pos_embed(latents)
        found = self.call_network(call, *names, hidden_states=latents, pooled_projections=pooled)
        return {"block_controlnet_hidden_states": list(found[0])}


class FluxControl(TransformerControl):
    """A ControlNet of Flux; one of XLabs reads pixels and is repeated over the blocks."""

    @property
    def _reads_pixels(self) -> bool:
        return self.network.config["conditioning_embedding_channels"] is not None

    def encode(self) -> Tensor:
        """The packed latents: (1, tokens, channels); or the pixels."""
        if self._reads_pixels:
            pixels = torch.from_numpy(self.picture.pixels * 2 - 1).movedim(-1, 0)[None]
            return pixels.to(self.network.device, self.network.dtype)
        return packed(self.latents(shift=True))

    def residuals(self, call: DenoiserCall) -> Residuals:
        """What it adds to the double and the single blocks."""
        more: dict[str, Any] = {
            "hidden_states": call.latents[..., : self.network.config["in_channels"]],
            "guidance": self._guidance(call),
        }
        if (number := self.picture.control.mode_number) is not None:
            mode = torch.full((len(call.roles), 1), number, dtype=torch.long)
            more["controlnet_mode"] = mode.to(self.network.device)
        names = ("timestep", "pooled_projections", "encoder_hidden_states", "txt_ids", "img_ids")
        double, single = self.call_network(call, *names, **more)
        found = {"controlnet_block_samples": double, "controlnet_single_block_samples": single}
        return {name: list(blocks) for name, blocks in found.items() if blocks is not None}

    def _guidance(self, call: DenoiserCall) -> Tensor | None:
        """The guidance scale, for networks that take it, whether or not the transformer does."""
        if not self.network.config["guidance_embeds"]:
            return None
        given = call.arguments.get("guidance")
        if isinstance(given, Tensor):
            return given
        scale = torch.full((len(call.roles),), self._guidance_scale, dtype=torch.float32)
        return scale.to(self.network.device)

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with what it adds, and how."""
        call = super().apply(call)
        return call.add(controlnet_blocks_repeat=True) if self._reads_pixels else call


class QwenControl(TransformerControl):
    """A ControlNet of Qwen-Image."""

    def encode(self) -> Tensor:
        """The packed latents, normalised: (1, tokens, channels)."""
        vae = self.vae
        pixels = torch.from_numpy(self.picture.pixels * 2 - 1).movedim(-1, 0)[None, :, None]
        encoded = vae.network.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        mean, deviation = (
            torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1).to(encoded.device, encoded.dtype)
            for name in ("latents_mean", "latents_std")
        )
        latents = (encoded - mean) * (1.0 / deviation)
        return packed(latents[:, :, 0]).to(self.network.device, self.network.dtype)

    def residuals(self, call: DenoiserCall) -> Residuals:
        """What it adds to the blocks."""
        names = ("timestep", "encoder_hidden_states", "encoder_hidden_states_mask", "img_shapes")
        found = self.call_network(call, *names, hidden_states=call.latents)
        return {"controlnet_block_samples": list(found)}


class HunyuanControl(TransformerControl):
    """A ControlNet of Hunyuan-DiT."""

    def residuals(self, call: DenoiserCall) -> Residuals:
        """What it adds to the blocks of the second half."""
        names = (
            *("timestep", "encoder_hidden_states", "text_embedding_mask", "encoder_hidden_states_t5"),
            *("text_embedding_mask_t5", "image_meta_size", "style", "image_rotary_emb"),
        )
        found = self.call_network(call, *names, hidden_states=call.latents)
        return {"controlnet_block_samples": list(found[0])}


class ZImageControl(TransformerControl):
    """A ControlNet of Z-Image, which shares the transformer's first layers."""

    def encode(self) -> Tensor:
        """The latents with one frame: (1, channels, 1, rows, columns)."""
        latents = self.latents(shift=True)[:, :, None]
        missing = self.network.config["control_in_dim"] - latents.shape[1]
        if missing > 0:  # the second version takes a mask and a masked picture as well
            latents = torch.cat([latents, latents.new_zeros(1, missing, *latents.shape[2:])], dim=1)
        return latents

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with what it adds to the layers, by their numbers."""
        network = self.network.network
        with _lent(network, in_memory(self.denoiser.network)):
            found = network(
                list(call.latents.unbind()),
                call.arguments["t"],
                call.arguments["cap_feats"],
                list(self.condition(len(call.roles)).unbind()),
                conditioning_scale=self.options.weight,
            )
        before: Any = call.arguments.get("controlnet_block_samples") or {}
        added = {layer: before[layer] + each if layer in before else each for layer, each in found.items()}
        return call.add(controlnet_block_samples={**before, **added})


_LENT = (
    *("t_scale", "t_embedder", "all_x_embedder", "cap_embedder", "rope_embedder"),
    *("noise_refiner", "context_refiner", "x_pad_token", "cap_pad_token"),
)


@contextmanager
def _lent(network: Any, transformer: Any) -> Iterator[None]:
    """Lend the network the transformer's layers; it keeps none of them, since either may leave the memory first."""
    type(network).from_transformer(network, transformer)
    try:
        yield
    finally:
        for name in _LENT:
            delattr(network, name)
            setattr(network, name, None)


def packed(latents: Tensor) -> Tensor:
    """Latents as tokens of two by two: (1, channels, rows, columns) to (1, rows / 2 * columns / 2, 4 * channels)."""
    rows, channels, height, width = latents.shape
    blocks = latents.view(rows, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(rows, height // 2 * (width // 2), channels * 4)
