"""Generate src/safelight/models/published/own_names.json: what the modules of transformers are called by their authors.

The names are those of the tiny checkpoints in their authors' layouts (tests/tiny). Which modules of diffusers each
becomes is found by converting tensors that are filled with numbers of their own as the loader of files does, so that
the layouts (safelight.models.checkpoints.layouts) stay the one place that knows it. A test checks the result.

With --check it only reports whether the file is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.tiny import TINY
from tests.tiny.original_transformers import TRANSFORMERS, hunyuan_image

from safelight.models.checkpoints.layouts import layout_of
from safelight.models.checkpoints.layouts.conversion import convert_with
from safelight.models.checkpoints.layouts.layout import NetworkLayout

TARGET = Path(__file__).parents[1] / "src" / "safelight" / "models" / "published" / "own_names.json"
Names = dict[str, list[str]]
_BLOCK = re.compile(r"((?:blocks|layers|refiner|norms)\.)(\d+)(?=\.)")


def main() -> int:
    """Write the file, or check it."""
    text = render()
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def render() -> str:
    """The file's content."""
    found = {family: own_names(family) for family in TRANSFORMERS}
    return json.dumps(found, indent=0, sort_keys=True) + "\n"


def own_names(family: str) -> Names:
    """The modules of diffusers by the authors' names, with * for the number of a block."""
    torch.manual_seed(0)
    network = TINY[family]().transformer
    layout = layout_of(family)
    assert layout is not None
    layouts = [TRANSFORMERS[family](dict(network.state_dict()))]
    if family == "hunyuan-image":
        layouts.append(hunyuan_image(dict(network.state_dict()), fused=True))
    names: Names = {}
    for tensors in layouts:
        names |= _trace(layout.denoiser, tensors)
    library = {_template(name) for name in _modules(network.state_dict())}
    assert {target for targets in names.values() for target in map(_without_mark, targets)} <= library
    # a name that means the same in both layouts says nothing
    return {name: targets for name, targets in names.items() if targets != [name]}


def _trace(layout: NetworkLayout, tensors: Mapping[str, torch.Tensor]) -> Names:
    """Convert tensors whose rows are numbered, and see where the numbers arrive."""
    numbered, source, begin = {}, {}, 0
    for name, tensor in tensors.items():
        rows = tensor.shape[0] if tensor.ndim else 1
        numbers = torch.arange(begin, begin + rows, dtype=torch.float64)
        numbered[name] = numbers.reshape(-1, *(1,) * (tensor.ndim - 1)).expand(tensor.shape).clone()
        source |= {number: (name, number - begin, rows) for number in range(begin, begin + rows)}
        begin += rows
    convert = layout.convert
    converted = convert_with(convert, numbered) if isinstance(convert, str) else convert(numbered)
    parts: dict[str, list[tuple[int, str]]] = {}
    for name, tensor in converted.items():
        if tensor is None or not name.endswith(".weight"):
            continue
        rows = tensor.reshape(tensor.shape[0], -1)[:, 0].long().tolist()
        origins = [source[row] for row in rows]
        own, first, total = origins[0]
        swapped = [row for _, row, _ in origins] == [(row + total // 2) % total for row in range(total)]
        ascending = [row for _, row, _ in origins] == list(range(first, first + len(rows)))
        assert all(each[0] == own for each in origins), name
        assert swapped or ascending, name
        mark = " swapped" if swapped and not ascending else ""
        parts.setdefault(own, []).append((first, name.removesuffix(".weight") + mark))
    names: Names = {}
    last = str(
        max((int(found[0]) for name in tensors if (found := re.search(r"(?<=blocks\.)\d+", name))), default=0)
    )
    for own, targets in parts.items():
        module = own.rpartition(".")[0]
        ordered = [target for _, target in sorted(targets)]
        templates = [_template(target) for target in ordered]
        known = names.setdefault(_template(module), templates)
        if known != templates:  # the last block differs: its modulation is that of the output
            assert _BLOCK.search(module)[2] == last, module  # type: ignore[index]
            names[_template(module, "-1")] = [_template(target, "-1") for target in ordered]
    return names


def _modules(tensors: Mapping[str, Any]) -> list[str]:
    return [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]


def _template(name: str, number: str = "*") -> str:
    return _BLOCK.sub(rf"\g<1>{number}", name)


def _without_mark(target: str) -> str:
    return _template(target.removesuffix(" swapped").replace(".-1.", ".0."))


if __name__ == "__main__":
    sys.exit(main())
