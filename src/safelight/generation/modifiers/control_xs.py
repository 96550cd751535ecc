"""ControlNet-XS: a narrow encoder beside the U-Net's own, where each reads the other's features layer by layer.

Both are computed as one network by diffusers' code. Its layers are those of the U-Net and of the adapter themselves, so
there is no second copy of any weight, and what other patches change in the U-Net counts here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import torch
from diffusers import UNetControlNetXSModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from safelight.errors import ControlFamilyError, UnsupportedError
from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.active_control import ActiveControl
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.registry import PassContext
from safelight.runtime.component import Component
from safelight.runtime.patching import replaced_forward

_LAYERS = 2
"""Residual blocks of each level in the only U-Nets that diffusers' code is for."""
_EPSILON = 1e-6
"""What diffusers' network has in the norms of the U-Net's residual blocks, which the adapters were converted for."""
_POSITIONAL = ("sample", "timestep", "encoder_hidden_states")
_RESIDUALS = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)


@dataclass
class FusedControl:
    """A patch: the U-Net is computed together with an adapter.

    Args:
        adapter: The adapter.
        pixels: Returns the picture for a number of rows, (rows, 3, height, width), 0 to 1.
        weight: How much it counts.
        identity: Unique: the picture is this control's own.
    """

    adapter: Any
    pixels: Callable[[int], Tensor]
    weight: float
    identity: str = field(default_factory=lambda: f"controlnet-xs:{uuid4().hex}")
    _fused: tuple[Any, nn.Module] | None = field(default=None, init=False)

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Compute both within the block."""
        if self._fused is None or self._fused[0] is not network:
            self._fused = network, fuse(network, self.adapter)
        fused = self._fused[1]

        def forward(*args: Any, **kwargs: Any) -> Any:
            arguments = dict(zip(_POSITIONAL, args, strict=False)) | kwargs
            if any(arguments.pop(name, None) is not None for name in _RESIDUALS):
                raise _alone()
            pixels = self.pixels(len(arguments["sample"]))
            return fused(controlnet_cond=pixels, conditioning_scale=self.weight, **arguments)

        with replaced_forward(network, forward), _norms_of_diffusers(network):
            yield


def fuse(unet: Any, adapter: Any) -> nn.Module:
    """The network of both, with their own layers.

    Args:
        unet: The U-Net.
        adapter: diffusers' ``ControlNetXSAdapter``.
    """
    names = inspect.signature(UNetControlNetXSModel.__init__).parameters
    config = {name: unet.config[name] for name in names if name in unet.config}
    own = {name: adapter.config[name.removeprefix("ctrl_")] for name in names if name.startswith("ctrl_")}
    config |= own | {
        "num_attention_heads": unet.config["attention_head_dim"],
        "time_embedding_mix": adapter.config["time_embedding_mix"],
    }
    with torch.device("meta"):  # the structure alone
        fused: Any = UNetControlNetXSModel.from_config(config)
    for name in ("time_proj", "time_embedding", "conv_in", "conv_norm_out", "conv_act", "conv_out"):
        setattr(fused, f"base_{name}", getattr(unet, name))
    for name in ("add_time_proj", "add_embedding"):
        if getattr(unet, name, None) is not None:
            setattr(fused, f"base_{name}", getattr(unet, name))
    fused.controlnet_cond_embedding = adapter.controlnet_cond_embedding
    fused.ctrl_conv_in, fused.ctrl_time_embedding = adapter.conv_in, adapter.time_embedding
    fused.control_to_base_for_conv_in = adapter.control_to_base_for_conv_in
    for block, base, control in zip(fused.down_blocks, unet.down_blocks, adapter.down_blocks, strict=True):
        block.base_resnets, block.ctrl_resnets = base.resnets, control.resnets
        if control.attentions is not None:
            block.base_attentions, block.ctrl_attentions = base.attentions, control.attentions
        if control.downsamplers is not None:
            block.base_downsamplers, block.ctrl_downsamplers = base.downsamplers[0], control.downsamplers
        block.base_to_ctrl, block.ctrl_to_base = control.base_to_ctrl, control.ctrl_to_base
    middle = fused.mid_block
    middle.base_midblock, middle.ctrl_midblock = unet.mid_block, adapter.mid_block.midblock
    middle.base_to_ctrl, middle.ctrl_to_base = adapter.mid_block.base_to_ctrl, adapter.mid_block.ctrl_to_base
    for block, base, control in zip(fused.up_blocks, unet.up_blocks, adapter.up_connections, strict=True):
        block.resnets, block.ctrl_to_base = base.resnets, control.ctrl_to_base
        if hasattr(base, "attentions"):
            block.attentions = base.attentions
        if base.upsamplers is not None:
            block.upsamplers = base.upsamplers[0]
    return fused.eval()


@contextmanager
def _norms_of_diffusers(unet: nn.Module) -> Iterator[None]:
    """The norms of the U-Net's residual blocks as diffusers' network has them, within the block."""
    blocks: list[Any] = [module for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
    before = [norm.eps for norm in norms]
    try:
        for norm in norms:
            norm.eps = _EPSILON
        yield
    finally:
        for norm, eps in zip(norms, before, strict=True):
            norm.eps = eps


class XSControl(ActiveControl):
    """A ControlNet-XS.

    Args:
        picture: The picture.
        network: The adapter.
        context: The pass.
    """

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        super().__init__(picture, network, context)
        config, name = self.denoiser.config, picture.control.model.name
        if context.plan.family.denoiser != "unet" or config["layers_per_block"] != _LAYERS:
            raise ControlFamilyError(
                f"{name} is for U-Nets with {_LAYERS} residual blocks in each level.", field="control"
            )
        if config["in_channels"] != config["out_channels"] or config.get("time_cond_proj_dim"):
            raise UnsupportedError(
                f"{name} does not work with checkpoints for inpainting, or with guidance as an input.",
                hint="Use an ordinary checkpoint, which can inpaint as well.",
                field="control",
            )
        if self.denoiser.key.form:
            raise UnsupportedError(
                f"{name} needs the whole U-Net in memory, and there is no room for it.",
                hint="Make the picture smaller, or raise memory_budget.",
                field="control",
            )
        self._patch = FusedControl(self.network.network, self.pixels, self.options.weight)

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with a patch of the U-Net."""
        if any(isinstance(patch, FusedControl) for patch in call.patches):
            raise _alone()
        return call.patch(self._patch)


def _alone() -> UnsupportedError:
    return UnsupportedError(
        "A ControlNet-XS does not go together with another control that changes the U-Net's features.",
        hint="Leave out the other one, or use a ControlNet.",
        field="control",
    )
