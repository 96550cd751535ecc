"""A control in one pass: when it counts, where, and what its network reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from safelight.generation.control.pictures import ControlPicture
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Predict
from safelight.generation.modifiers.registry import PassContext
from safelight.runtime.component import Component


class ActiveControl(ABC):
    """A control in one pass.

    Args:
        picture: Its picture.
        network: Its network; None for one without.
        context: The pass.
    """

    def __init__(self, picture: ControlPicture, network: Component | None, context: PassContext) -> None:
        self.picture, self.options = picture, picture.control.options
        self._network = network
        self._pixels: dict[int, Tensor] = {}
        self.denoiser, self.vae = context.loaded.denoiser, context.loaded.vae

    def is_active(self, call: DenoiserCall) -> bool:
        """Whether the step of a call lies in the control's part of the steps."""
        first, last = call.step / call.steps, (call.step + 1) / call.steps
        return self.options.start <= first and last <= self.options.end

    @property
    def network(self) -> Component:
        """Its network."""
        assert self._network is not None
        return self._network

    def change(self, call: DenoiserCall, compute: Predict) -> DenoiserCall:  # noqa: ARG002  some compute the denoiser
        """The call with what the control adds to it.

        Args:
            call: The call.
            compute: Computes a call of the denoiser.
        """
        return self.apply(call)

    @abstractmethod
    def apply(self, call: DenoiserCall) -> DenoiserCall:
        """The call with what the control adds to it."""

    def pixels(self, rows: int) -> Tensor:
        """The picture for each row: (rows, 3, height, width), 0 to 1, as the network takes it; made once."""
        if rows not in self._pixels:
            pixels = torch.from_numpy(self.picture.pixels).movedim(-1, 0)[None]
            self._pixels[rows] = pixels.to(self.network.device, self.network.dtype).repeat(rows, 1, 1, 1)
        return self._pixels[rows]

    def masked(self, residual: Tensor) -> Tensor:
        """What is added, (rows, channels, height, width), where the mask is white."""
        if self.picture.mask is None:
            return residual
        mask = torch.from_numpy(self.picture.mask)[None, None].to(residual.device, residual.dtype)
        return residual * torch.nn.functional.interpolate(mask, residual.shape[-2:], mode="area")


def spread(residual: Tensor, rows: Sequence[int], count: int) -> Tensor:
    """What is added to some rows of a call, with zeros for the others: (rows, ...) to (count, ...)."""
    if len(rows) == count:
        return residual
    whole = residual.new_zeros(count, *residual.shape[1:])
    whole[list(rows)] = residual
    return whole
