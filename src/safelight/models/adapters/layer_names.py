"""Which of a checkpoint's modules the layers of an adapter are, whatever trainer named them.

A layer's name is a prefix for the network, and the module's name by the library or by the network's authors, with dots
or with underscores. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from safelight.models.checkpoints.layouts import layout_of
from safelight.models.checkpoints.layouts.layout import Shapes
from safelight.models.checkpoints.layouts.own_names import OwnModule, own_modules
from safelight.models.checkpoints.layouts.text_encoders import core_name
from safelight.models.families import Family

_DENOISER = (
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
    "model.diffusion_model.",
    "diffusion_model.",
    "base_model.model.",
    "transformer.",
    "unet.",
)
"""Prefixes of a denoiser's layers; a layer without a prefix is one too."""
_ENCODER = re.compile(r"lora_te(\d?)_|text_encoder(?:_(\d))?\.")
_MAX_WRAPPERS = 4
"""More than any text encoder's names have."""
_ENCODER_WRAPPERS = ("text_model_", "transformer_text_model_", "language_model_", "model_")
_DOUBLE, _SINGLE = "transformer_blocks.*.", "single_transformer_blocks.*."
_XLABS: Mapping[str, tuple[str, ...]] = {
    "double_blocks.*.processor.qkv1": tuple(f"{_DOUBLE}attn.to_{part}" for part in "qkv"),
    "double_blocks.*.processor.qkv2": tuple(f"{_DOUBLE}attn.add_{part}_proj" for part in "qkv"),
    "double_blocks.*.processor.proj1": (f"{_DOUBLE}attn.to_out.0",),
    "double_blocks.*.processor.proj2": (f"{_DOUBLE}attn.to_add_out",),
    "single_blocks.*.processor.qkv": tuple(f"{_SINGLE}attn.to_{part}" for part in "qkv"),
    "single_blocks.*.processor.proj": (f"{_SINGLE}proj_out",),
}
"""The names of XLabs' Flux LoRAs, which are those of attention processors."""


@dataclass(frozen=True)
class Part:
    """A module that a layer is, or is a part of.

    Args:
        module: Its name.
        rows: The layer's row for each of its rows; None where they are the same.
    """

    module: str
    rows: tuple[int, ...] | range | None = None


@dataclass(frozen=True)
class Place:
    """Where a layer is.

    Args:
        component: The network.
        parts: Its modules.
        total: The rows of all of them; 0 where there is one, with the same rows.
    """

    component: str
    parts: tuple[Part, ...]
    total: int = 0


class LayerNames:
    """The modules of a checkpoint's networks by the names that adapters use.

    Args:
        networks: The shapes of each network's parameters, by component.
        family: The checkpoint's.
    """

    def __init__(self, networks: Mapping[str, Shapes], family: Family) -> None:
        self._family = family
        layout = layout_of(family.name)
        self._denoiser = family.denoiser
        shapes = networks.get(family.denoiser, {})
        self._library = {flat(name): name for name in _modules(shapes)}
        own = own_modules(layout.denoiser.name, _modules(shapes)) if layout else {}
        if layout and layout.denoiser.name == "flux":
            own |= _xlabs(shapes)
        self._own = {flat(name): Place(family.denoiser, *_parts(each, shapes)) for name, each in own.items()}
        self._encoders = {
            name: {flat(core_name(module)): module for module in _modules(networks[name])}
            for name in family.text_encoders
            if name in networks
        }
        self._prefixes = {
            prefix: slot.component
            for slot in (layout.slots if layout else ())
            if slot.component in self._encoders
            for prefix in slot.prefixes
        }

    def find(self, layers: Iterable[str]) -> dict[str, Place]:
        """Where layers are, by their names; those that are nowhere are left out.

        A few names mean one module to the library and another to the authors; the file's other names decide.
        """
        names = list(layers)
        bare = {name: self._bare(name) for name in names}
        own_only = sum(name in self._own and name not in self._library for name in bare.values())
        found = {}
        for name in names:
            place = self._find_encoder(name) or self._find_denoiser(bare[name], prefer_own=own_only > 0)
            if place is not None:
                found[name] = place
        return found

    def _bare(self, layer: str) -> str:
        prefix = next((each for each in _DENOISER if layer.startswith(each)), "")
        name = flat(layer.removeprefix(prefix))
        return (
            name
            if name in self._own or name in self._library
            else flat(_without_processor(layer.removeprefix(prefix)))
        )

    def _find_denoiser(self, name: str, *, prefer_own: bool) -> Place | None:
        if name in self._own and (prefer_own or name not in self._library):
            return self._own[name]
        module = self._library.get(name)
        return None if module is None else Place(self._denoiser, (Part(module),))

    def _find_encoder(self, layer: str) -> Place | None:
        component, rest = self._encoder_of(layer)
        modules = self._encoders.get(component, {})
        name = flat(rest)
        for _ in range(_MAX_WRAPPERS):
            if name in modules:
                return Place(component, (Part(modules[name]),))
            name = name.removeprefix(next((each for each in _ENCODER_WRAPPERS if name.startswith(each)), ""))
        return None

    def _encoder_of(self, layer: str) -> tuple[str, str]:
        """The text encoder that a layer's prefix names, and the layer's name in it; "" where it names none."""
        if found := _ENCODER.match(layer):
            rest = layer[found.end() :]
            if found[0].startswith("text_encoder"):
                return found[0].rstrip("."), rest
            names = self._family.text_encoders
            return names[min(int(found[1] or 1), len(names)) - 1], rest
        bare = layer.removeprefix("text_encoders.")
        for prefix, component in self._prefixes.items():
            if bare.startswith(f"{prefix}."):
                return component, bare.removeprefix(f"{prefix}.").removeprefix("transformer.")
        return "", layer


def flat(name: str) -> str:
    """A module's name as kohya's trainer writes it."""
    return name.replace(".", "_")


def _without_processor(layer: str) -> str:
    """The module that diffusers' old attention processors stand for."""
    module = layer.replace(".processor.", ".")
    return f"{module}.0" if module.endswith(".to_out") else module


def _modules(shapes: Shapes) -> list[str]:
    """The modules that have parameters."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in shapes))


def _xlabs(shapes: Shapes) -> dict[str, OwnModule]:
    """XLabs' names for the blocks that there are."""
    blocks = {tuple(name.split(".")[:2]) for name in shapes if "transformer_blocks." in name}
    found: dict[str, OwnModule] = {}
    for kind, number in blocks:
        for own, modules in _XLABS.items():
            if modules[0].startswith(f"{kind}."):
                names = tuple(name.replace("*", number) for name in modules)
                found[own.replace("*", number)] = OwnModule(names)
    return found


def _parts(own: OwnModule, shapes: Shapes) -> tuple[tuple[Part, ...], int]:
    """An authors' module in parts, and its rows."""
    sizes = [_rows(module, shapes) for module in own.modules]
    total = sum(sizes)
    if own.swapped:
        half = total // 2
        order = (*range(half, total), *range(half))
        return (Part(own.modules[0], order),), total
    if len(sizes) == 1:
        return (Part(own.modules[0]),), 0
    parts, begin = [], 0
    for module, size in zip(own.modules, sizes, strict=True):
        parts.append(Part(module, range(begin, begin + size)))
        begin += size
    return tuple(parts), total


def _rows(module: str, shapes: Shapes) -> int:
    shape = shapes.get(f"{module}.weight", ())
    return shape[0] if shape else 0
