"""Controls of U-Nets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from safelight.errors import UnsupportedError
from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.active_control import ActiveControl, spread
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.registry import PassContext
from safelight.models.controls.lllite import LLLite, LLLiteModule
from safelight.runtime.component import Component


class UNetControl(ActiveControl):
    """A ControlNet of a U-Net: a copy of its encoder, whose results are added to the U-Net's."""

    scales_itself = False
    """Whether the weight has to be told to the network; else compiled forms do not depend on it."""

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with the residuals of the encoder's layers and of the middle."""
        rows = list(range(len(call.roles)))
        if self.options.mode == "guess":
            rows = [row for row in rows if call.roles[row] is Role.POSITIVE]
            if not rows:
                return call
        down, middle = self._residuals(call if len(rows) == len(call.roles) else call.take(rows))
        new = [spread(self.masked(each), rows, len(call.roles)) for each in (*down, middle)]
        before = call.arguments.get("down_block_additional_residuals")
        if isinstance(before, list | tuple):
            old = [*before, call.arguments["mid_block_additional_residual"]]
            new = [first + second for first, second in zip(old, new, strict=True)]
        return call.add(down_block_additional_residuals=new[:-1], mid_block_additional_residual=new[-1])

    def _residuals(self, call: DenoiserCall) -> tuple[Sequence[Tensor], Tensor]:
        channels = self.network.config["in_channels"]
        fades = self.options.mode != "balanced"
        inside = self.scales_itself or fades or self.network.config.get("global_pool_conditions")
        down, middle = self.network.network(
            call.latents[:, :channels],  # inpainting models take the mask and the masked picture as well
            call.arguments["timestep"],
            conditioning_scale=self.options.weight if inside else 1.0,
            guess_mode=fades,
            return_dict=False,
            **self.inputs(len(call.roles)),
            **{
                name: call.arguments[name]
                for name in ("encoder_hidden_states", "timestep_cond", "added_cond_kwargs")
                if name in call.arguments
            },
        )
        if inside or self.options.weight == 1:
            return down, middle
        return [each * self.options.weight for each in down], middle * self.options.weight

    def inputs(self, rows: int) -> Mapping[str, object]:
        """The picture, as the network's arguments."""
        return {"controlnet_cond": self.pixels(rows)}


class UNetUnionControl(UNetControl):
    """One of the kinds of a ControlNet for several kinds."""

    scales_itself = True

    def inputs(self, rows: int) -> Mapping[str, object]:
        """The picture, and its kind."""
        number = self.picture.control.mode_number
        assert number is not None
        kinds = torch.zeros(rows, self.network.config["num_control_type"], dtype=self.network.dtype)
        kinds[:, number] = 1
        return {
            "controlnet_cond": [self.pixels(rows)],
            "control_type": kinds.to(self.network.device),
            "control_type_idx": [number],
        }


class AdapterControl(ActiveControl):
    """A T2I-Adapter: features of the picture, computed once, which are added to those of the U-Net's encoder."""

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        super().__init__(picture, network, context)
        pixels = self.pixels(1)
        if self.network.config["in_channels"] == 1:  # edges and sketches
            pixels = pixels.mean(1, keepdim=True)
        with torch.no_grad():
            self._features = [
                self.masked(each) * self.options.weight for each in self.network.network(pixels)
            ]

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with the features."""
        rows = list(range(len(call.roles)))
        if self.options.mode == "guess":
            rows = [row for row in rows if call.roles[row] is Role.POSITIVE]
        new = [spread(each.repeat(len(rows), 1, 1, 1), rows, len(call.roles)) for each in self._features]
        before = call.arguments.get("down_intrablock_additional_residuals")
        if isinstance(before, list):
            new = [first + second for first, second in zip(before, new, strict=True)]
        return call.add(down_intrablock_additional_residuals=new)


@dataclass
class ChangedInputs:
    """A patch: the inputs of some layers are changed by a Control-LLLite.

    Args:
        network: Its modules.
        conditions: What each has read of the picture, (1, tokens, width).
        weight: How much it counts.
        rows: The rows of the call that it counts for.
        identity: Unique: the picture is this control's own.
    """

    network: LLLite
    conditions: Sequence[Tensor]
    weight: float
    rows: Sequence[int]
    identity: str = field(default_factory=lambda: f"lllite:{uuid4().hex}")

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Change the inputs within the block.

        Raises:
            UnsupportedError: The network lacks one of the layers.
        """
        with ExitStack() as stack:
            changes = zip(self.network.layers, self.network.modules_by_layer, self.conditions, strict=True)
            for name, module, condition in changes:
                try:
                    layer = network.get_submodule(name)
                except AttributeError as error:
                    raise UnsupportedError(
                        f"The checkpoint's denoiser has no layer {name} for the control.", field="control"
                    ) from error
                hook = partial(self._change, module, condition)
                stack.callback(layer.register_forward_pre_hook(hook).remove)
            yield

    def _change(
        self, module: LLLiteModule, condition: Tensor, _: Any, arguments: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        inputs = arguments[0]
        if condition.shape[1] != inputs.shape[1]:
            return arguments  # text: kohya's networks change the inputs of the picture's layers only
        changed = inputs.clone()
        changed[list(self.rows)] = module(inputs[list(self.rows)], condition, self.weight)
        return (changed, *arguments[1:])


class LLLiteControl(ActiveControl):
    """A Control-LLLite, which reads the picture once."""

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        super().__init__(picture, network, context)
        if picture.mask is not None:
            raise UnsupportedError(
                "A Control-LLLite counts everywhere.", hint="Leave out its mask.", field="control"
            )
        pixels = self.pixels(1) * 2 - 1
        with torch.no_grad():
            self._conditions = [module.condition(pixels) for module in self.network.network.modules_by_layer]

    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with a patch of the U-Net."""
        rows = list(range(len(call.roles)))
        if self.options.mode == "guess":
            rows = [row for row in rows if call.roles[row] is Role.POSITIVE]
        return call.patch(ChangedInputs(self.network.network, self._conditions, self.options.weight, rows))
