"""The names of an adapter's tensors: which layer each belongs to, and what it is to that layer.

A name is a layer's followed by the tensor's part in it. Trainers write both in several styles; the parts are one list
here, the styles of the layers' names are those of ``layer_names``. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

LayerKind = Literal["LoRA", "LoHa", "LoKr", "OFT", "BOFT", "IA3", "GLoRA", "full", "norm"]
"""How a layer is changed; a convolution's LoRA is a LoCon, and each of the first three may be a DoRA."""

_ENDINGS: Mapping[str, str] = {
    # LoRA and LoCon: kohya and LyCORIS; peft; diffusers before it used peft
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_up.bias": "up bias",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_B.bias": "up bias",
    "lora_A": "down",
    "lora_B": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "alpha": "alpha",
    # DoRA
    "dora_scale": "magnitude",
    "lora_magnitude_vector.weight": "row magnitude",
    "lora_magnitude_vector": "row magnitude",
    # LyCORIS' other kinds, under the same names in peft
    **{f"hada_{part}": part for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f"lokr_{part}": f"kron {part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")},
    "oft_blocks": "blocks",
    "oft_diag": "rotations",
    "rescale": "rescale",
    "oft_R.weight": "skew",
    "boft_R": "butterfly",
    "boft_s": "butterfly scale",
    "on_input": "on input",
    "ia3_l": "factors",
    **{f"{part}.weight": part for part in ("a1", "a2", "b1", "b2", "bm")},
    "diff": "diff",
    "diff_b": "bias diff",
    "w_norm": "norm diff",
    "b_norm": "norm bias diff",
}  # fmt: skip
"""Parts by the endings of names, after the layer's name and a dot."""

_OLD_PROCESSOR = re.compile(r"^(.*)\.processor\.(\w+?)_lora(\d?)\.(down|up)\.weight$")
"""diffusers' attention processors, and XLabs' of Flux: the layer's name is within that of a processor."""
_OLD_LINEAR = re.compile(r"^(.*?)_lora\.(down|up)\.weight$")
_ADAPTER_NAME = re.compile(
    r"\.(lora_A|lora_B|lora_magnitude_vector)\.(?!weight$|bias$)[^.]+(\.weight|\.bias|)$"
)
"""peft puts the name of the adapter among them, which diffusers leaves out."""

_KIND_BY_PART: Mapping[str, LayerKind] = {
    "down": "LoRA",
    "up": "LoRA",
    "w1_a": "LoHa",
    "kron w1": "LoKr",
    "kron w1_a": "LoKr",
    "kron w2": "LoKr",
    "kron w2_a": "LoKr",
    "blocks": "OFT",
    "rotations": "OFT",
    "skew": "OFT",
    "butterfly": "BOFT",
    "on input": "IA3",
    "factors": "IA3",
    "a1": "GLoRA",
    "diff": "full",
    "bias diff": "full",
    "norm diff": "norm",
    "norm bias diff": "norm",
}


_DECIDING = tuple(f".{ending}" for ending, part in _ENDINGS.items() if part in _KIND_BY_PART)


@dataclass(frozen=True)
class LayerKeys:
    """The tensors that change one layer.

    Args:
        name: The layer's name, as the file has it.
        parts: The tensors' names by their part.
    """

    name: str
    parts: Mapping[str, str]

    @property
    def kind(self) -> LayerKind | None:
        """How the layer is changed; None if its tensors do not say."""
        found = next((kind for part, kind in _KIND_BY_PART.items() if part in self.parts), None)
        if found == "GLoRA" and "b1" not in self.parts:
            return None  # one short name is nothing to go by
        return found

    @property
    def is_decomposed(self) -> bool:
        """Whether it is a DoRA."""
        return "magnitude" in self.parts or "row magnitude" in self.parts


def may_change_layers(keys: Iterable[str]) -> bool:
    """Whether some of a file's tensors may be an adapter's; quicker than ``group_keys``, for files of any kind."""
    text = "\n".join(keys)
    return "_lora" in text or any(ending in text for ending in _DECIDING)


def split_key(key: str) -> tuple[str, str] | None:
    """A tensor's layer and its part in it; None for a name that is no adapter's."""
    key = _ADAPTER_NAME.sub(r".\1\2", key)
    if found := _OLD_PROCESSOR.match(key):
        before, layer, number, part = found.groups()
        return f"{before}.{_processor_layer(layer, number)}", part
    for dots in (3, 2, 1):
        pieces = key.rsplit(".", dots)
        ending = ".".join(pieces[1:])
        if len(pieces) == dots + 1 and pieces[0] and ending in _ENDINGS:
            return pieces[0], _ENDINGS[ending]
    if found := _OLD_LINEAR.match(key):
        return found[1], found[2]
    return None


def _processor_layer(layer: str, number: str) -> str:
    """The layer that a processor's LoRA changes: XLabs number the streams of picture and text."""
    if layer in ("qkv", "proj"):
        return f"processor.{layer}{number}"
    return "to_out.0" if layer == "to_out" else layer


def group_keys(keys: Iterable[str]) -> tuple[dict[str, LayerKeys], tuple[str, ...]]:
    """The layers of an adapter by name, and the names of tensors that belong to none.

    A plain ``weight`` belongs to an IA3 layer, which nothing but its neighbour tells.
    """
    layers: dict[str, dict[str, str]] = {}
    others = []
    for key in keys:
        found = split_key(key)
        if found is None:
            others.append(key)
        else:
            layers.setdefault(found[0], {})[found[1]] = key
    loose = []
    for key in others:
        layer = key.removesuffix(".weight")
        if layer != key and "on input" in layers.get(layer, {}):
            layers[layer]["factors"] = key
        else:
            loose.append(key)
    return {name: LayerKeys(name, parts) for name, parts in layers.items()}, tuple(loose)
