"""What a denoiser's modules are called by its authors, and which modules of the library each is.

Adapters name modules, one at a time, in either way. For transformers the names are in ``published/own_names.json``,
which scripts/render_own_names.py derives from the layouts; U-Nets are numbered by arithmetic, as in the original Stable
Diffusion code. Nothing here imports torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from safelight.models import BUNDLED

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_SWAPPED = " swapped"


@dataclass(frozen=True)
class OwnModule:
    """What a module of the authors is in the library.

    Args:
        modules: The modules whose rows, one after the other, are its rows.
        swapped: The halves of its rows are exchanged: the authors have shift and scale, diffusers scale and shift.
    """

    modules: tuple[str, ...]
    swapped: bool = False


def own_modules(layout: str, modules: Collection[str]) -> dict[str, OwnModule]:
    """A denoiser's modules by the authors' names, as far as these differ from the library's.

    Args:
        layout: The name of its layout.
        modules: The names of its modules in the library.
    """
    if any(name.startswith("down_blocks.") for name in modules):
        return {own: OwnModule((name,)) for own, name in _unet_names(modules)}
    table = _tables().get(layout, {})
    return dict(_numbered(table, modules)) if table else {}


def _unet_names(modules: Collection[str]) -> Iterator[tuple[str, str]]:
    """The original code's names; all its blocks are in one list, with the samplers among them."""
    layers = len({name.split(".")[3] for name in modules if name.startswith("down_blocks.0.resnets.")})
    attending = {
        found[2]
        for name in modules
        if (found := _BLOCK.match(name)) and found[1] == "up" and found[3] == "attentions"
    }
    for name in modules:
        if found := _BLOCK.match(name):
            side, block, kind, number, rest = found.groups()
            begin = int(block) * (layers + 1) + (side == "down")
            whole = "input_blocks" if side == "down" else "output_blocks"
            if kind in ("resnets", "attentions"):
                yield f"{whole}.{begin + int(number)}.{_unet_inner(kind, rest)}", name
            elif kind == "downsamplers":
                yield f"{whole}.{begin + layers}.0.op", name
            else:
                yield f"{whole}.{begin + layers}.{2 if block in attending else 1}.conv", name
        elif found := _MIDDLE.match(name):
            kind, number, rest = found.groups()
            place = 1 if kind == "attentions" else 2 * int(number)
            yield f"middle_block.{place}.{_unet_inner(kind, rest).partition('.')[2]}", name
        elif name in _UNET:
            yield _UNET[name], name


def _unet_inner(kind: str, rest: str) -> str:
    return f"0.{_RESNET.get(rest, rest)}" if kind == "resnets" else f"1.{rest}"


def _numbered(table: Mapping[str, list[str]], modules: Collection[str]) -> Iterator[tuple[str, OwnModule]]:
    """The entries of a table for each block that the network has; -1 stands for the last."""
    blocks: dict[str, list[int]] = {}
    for name in modules:
        parts = name.split(".")
        for place, part in enumerate(parts):
            if part.isdecimal():
                template = ".".join([*parts[:place], "*", *parts[place + 1 :]])
                blocks.setdefault(template, []).append(int(part))
    for own, targets in table.items():
        swapped = targets[0].endswith(_SWAPPED)
        plain = [target.removesuffix(_SWAPPED) for target in targets]
        if "*" not in own and ".-1." not in own:
            yield own, OwnModule(tuple(plain), swapped)
        elif ".-1." in own:
            last = max(blocks.get(plain[0].replace("-1", "*"), []), default=0)
            names = tuple(name.replace("-1", str(last)) for name in plain)
            yield own.replace("-1", str(last)), OwnModule(names, swapped)
        else:
            for number in blocks.get(plain[0], []):
                names = tuple(name.replace("*", str(number)) for name in plain)
                yield own.replace("*", str(number)), OwnModule(names, swapped)


@cache
def _tables() -> Mapping[str, Mapping[str, list[str]]]:
    found: Mapping[str, Mapping[str, list[str]]] = json.loads(
        (BUNDLED / "published" / "own_names.json").read_text(encoding="utf-8")
    )
    return found
