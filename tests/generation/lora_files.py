"""LoRA files with known changes, and the same changes merged into a network by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RANK, ALPHA = 2, 1.0


@dataclass(frozen=True)
class Factors:
    """The factors of one layer."""

    down: Tensor
    up: Tensor

    def delta(self, strength: float) -> Tensor:
        """What is to be added to the layer's weight."""
        return (self.up @ self.down) * (strength * (ALPHA / RANK))


@dataclass(frozen=True)
class LoRAFile:
    """A LoRA: its factors by component and layer."""

    path: Path
    layers: Mapping[str, Mapping[str, Factors]]

    def deltas(
        self, component: str, strength: float, only: Callable[[str], bool] = lambda _: True
    ) -> dict[str, Tensor]:
        """What is to be added to the parameters of a component."""
        own = self.layers.get(component, {})
        return {f"{name}.weight": each.delta(strength) for name, each in own.items() if only(name)}


def attention_layers(network: nn.Module, limit: int = 8) -> list[str]:
    """Some linear layers of attention, spread over the network; of other linear layers where it has none."""
    linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
    named = [name for name in linear if "attn" in name or "attention" in name] or linear
    return named[:: max(1, len(named) // limit)]


def write_lora(
    path: Path,
    networks: Mapping[str, nn.Module],
    *,
    seed: int = 0,
    size: float = 0.3,
    style: str = "kohya",
    alpha: bool = True,
) -> LoRAFile:
    """Write a LoRA for some layers of networks, with kohya's names or those of diffusers.

    Without ``alpha`` it is that of the rank, and the file does not have it.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    layers: dict[str, dict[str, Factors]] = {}
    for component, network in networks.items():
        for name in attention_layers(network):
            rows, columns = network.get_submodule(name).weight.shape
            factors = Factors(
                size * torch.randn(RANK, columns, generator=generator),
                size * torch.randn(rows, RANK, generator=generator),
            )
            layers.setdefault(component, {})[name] = factors
            if style == "kohya":
                base = f"{_PREFIXES[component]}_{_kohya_name(name).replace('.', '_')}"
                names = (f"{base}.lora_down.weight", f"{base}.lora_up.weight")
            else:
                base = f"{component}.{name}"
                names = (f"{base}.lora_A.weight", f"{base}.lora_B.weight")
            tensors |= dict(zip(names, (factors.down, factors.up), strict=True))
            if alpha:
                tensors[f"{base}.alpha"] = torch.tensor(ALPHA)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return LoRAFile(path, layers)


_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def _kohya_name(name: str) -> str:
    return f"text_model.{name}" if name.startswith("encoder.layers") else name


@contextmanager
def merged(network: Any, *deltas: Mapping[str, Tensor]) -> Iterator[None]:
    """Change a network's weights by hand within the block."""
    originals: dict[str, Tensor] = {}
    for changes in deltas:
        for name, delta in changes.items():
            weight = network.get_parameter(name)
            originals.setdefault(name, weight.data)
            weight.data = (weight.data.float() + delta).to(weight.dtype)
    try:
        yield
    finally:
        for name, original in originals.items():
            network.get_parameter(name).data = original


def component_networks(loaded: Any, names: Sequence[str]) -> dict[str, nn.Module]:
    """Networks of a loaded checkpoint by name."""
    return {name: loaded.networks[name].network for name in names if name in loaded.networks}
