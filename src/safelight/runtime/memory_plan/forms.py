"""The forms in which a network's weights are kept: whole on the device, in eight bits, or offloaded block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from safelight.runtime.mapped_pages import MappedPages
from safelight.runtime.memory_plan.blocks import BlockOffload
from safelight.runtime.memory_plan.counter import replace_tensors
from safelight.runtime.quantization.quantize import quantize_weight
from safelight.runtime.quantization.tensor import QuantizedTensor, stored_nbytes, to_precision


@dataclass(frozen=True)
class NetworkForm:
    """How a network's weights are kept.

    Args:
        int8: The weights of linear and convolution layers have eight bits.
        offload: "": all weights are on the device; "blocks": blocks lie in the host's memory; "disk": they are read
            from the memory-mapped file each time.
        nbytes: Bytes of the weights on the device, as planned; of an offloaded network, as many blocks stay there.
    """

    int8: bool = False
    offload: Literal["", "blocks", "disk"] = ""
    nbytes: int = 0

    @property
    def name(self) -> str:
        """What identifies it in a ``ComponentKey``; empty for whole networks."""
        offload = f"{self.offload} {self.nbytes}" if self.offload else ""
        return "+".join(part for part in ("int8" if self.int8 else "", offload) if part)

    def keep(self, network: nn.Module, dtype: torch.dtype, device: torch.device) -> int:
        """Bring a network that was just read, with weights that may be views of its file, into this form.

        Args:
            network: The network; its weights may have another data type.
            dtype: The data type in which it computes.
            device: Where it computes.

        Returns:
            Bytes of the weights on the device.
        """
        quantized = _quantizable(network) if self.int8 else frozenset()
        pages = MappedPages()

        place = torch.device("cpu") if self.offload else device  # one weight after the other

        def convert(tensor: Tensor) -> Tensor:
            if id(tensor) in quantized and not isinstance(tensor, QuantizedTensor):
                converted = to_precision(quantize_weight(tensor, "int8"), dtype).to(place)
            elif self.offload == "disk":
                return tensor.detach()
            elif isinstance(tensor, QuantizedTensor):
                return tensor.detach().to(place, dtype, copy=True)
            else:  # a copy: the file may be cut short while it is in use
                wanted = dtype if tensor.is_floating_point() else tensor.dtype
                converted = tensor.detach().to(place, wanted, copy=True)
            pages.release(tensor)
            return converted

        replace_tensors(network, convert)
        if self.offload:
            BlockOffload(network, device, dtype, self.nbytes, mapped=self.offload == "disk")
            return self.nbytes
        return sum(stored_nbytes(tensor) for tensor in (*network.parameters(), *network.buffers()))


WHOLE = NetworkForm()
"""All weights on the device, in the network's precision."""


def _quantizable(network: nn.Module) -> frozenset[int]:
    """The weights that eight bits are for: of linear and convolution layers."""
    layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    return frozenset(id(layer.weight) for layer in layers if layer.weight.ndim > 1)
