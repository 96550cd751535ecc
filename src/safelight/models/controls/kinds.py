"""What a control picture shows, by which controls are told apart: edges, depth, a pose and so on.

A file says it by its name, or in its metadata; no tensor does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

ControlKind = Literal[
    "canny",
    "depth",
    "normal",
    "pose",
    "line_art",
    "soft_edge",
    "scribble",
    "straight_lines",
    "segmentation",
    "tile",
    "blur",
    "grey",
    "low_quality",
    "recolor",
    "shuffle",
    "inpaint",
    "instruct",
    "brightness",
    "qr_code",
    "color_grid",
    "reference",
    "ip-adapter",
]
"""``instruct`` is the initial picture of InstructPix2Pix; ``low_quality`` and ``tile`` are the picture itself.
``reference`` needs no network. The picture of an ``ip-adapter`` is no map: it counts as a part of the prompt does."""


@dataclass(frozen=True)
class KindNames:
    """What a kind is called elsewhere.

    Args:
        title: A1111's control type.
        words: Words in names of files and of other programs that mean it, in lower case.
    """

    title: str
    words: tuple[str, ...]


KINDS: Mapping[ControlKind, KindNames] = MappingProxyType(
    {
        "canny": KindNames("Canny", ("canny",)),
        "straight_lines": KindNames("MLSD", ("mlsd", "straight lines")),
        "line_art": KindNames("Lineart", ("lineart", "line art", "anyline", "mistoline", "misto line")),
        "soft_edge": KindNames("SoftEdge", ("softedge", "hed", "soft edge", "pidi", "teed")),
        "scribble": KindNames("Scribble", ("scribble", "sketch", "fake scribble")),
        "pose": KindNames("OpenPose", ("openpose", "open pose", "pose", "dwpose")),
        "depth": KindNames("Depth", ("depth", "zoe", "midas")),
        "normal": KindNames("NormalMap", ("normal", "normalbae", "normals", "normalmap")),
        "segmentation": KindNames("Segmentation", ("seg", "segmentation", "segment")),
        "low_quality": KindNames("Tile", ("lq", "low quality")),
        "tile": KindNames("Tile", ("tile", "upscaler")),
        "blur": KindNames("Blur", ("blur",)),
        "grey": KindNames("Recolor", ("gray", "grey")),
        "recolor": KindNames("Recolor", ("recolor", "recolour", "colorize")),
        "shuffle": KindNames("Shuffle", ("shuffle",)),
        "inpaint": KindNames("Inpaint", ("inpaint", "inpainting", "outpaint", "repaint")),
        "instruct": KindNames("InstructP2P", ("ip2p", "p2p", "instruct p2p", "instruct", "instructp")),
        "brightness": KindNames("T2I-Adapter", ("brightness", "illumination")),
        "qr_code": KindNames("T2I-Adapter", ("qr", "qrcode", "qrpattern", "qr code")),
        "color_grid": KindNames("T2I-Adapter", ("color", "colour", "color grid")),
        "reference": KindNames("Reference", ("reference", "reference only")),
        "ip-adapter": KindNames("IP-Adapter", ("ip adapter", "ipadapter")),
    }
)
"""Every kind; where a name has words of several, the first counts."""

XINSIR_UNION: Mapping[ControlKind, int] = MappingProxyType(
    {
        "pose": 0,
        "depth": 1,
        "soft_edge": 2,
        "scribble": 2,
        "canny": 3,
        "line_art": 3,
        "straight_lines": 3,
        "normal": 4,
        "segmentation": 5,
        "tile": 6,
        "low_quality": 6,
        "blur": 6,
        "inpaint": 7,
    }
)
"""The control types of the union ControlNets of Stable Diffusion XL; the last two are those of the promax version."""
FLUX_UNION: Mapping[ControlKind, int] = MappingProxyType(
    {"canny": 0, "tile": 1, "depth": 2, "blur": 3, "pose": 4, "grey": 5, "low_quality": 6}
)
"""The modes of the union ControlNets of Flux."""


def parse_kind(text: str) -> str:
    """The kind that a word means, in any program's spelling; the word itself where it means none."""
    word = _words(text)
    for kind, names in KINDS.items():
        if word in (kind.replace("_", " "), *names.words):
            return kind
    titles: dict[str, str] = {_words(names.title): kind for kind, names in KINDS.items()}
    return titles.get(word, text)


@cache
def kinds_in(name: str) -> tuple[ControlKind, ...]:
    """The kinds that a file's name says, the likeliest first; most names say one or none."""
    words = f" {_words(name)} "
    return tuple(
        kind
        for kind, names in KINDS.items()
        if any(f" {word} " in words for word in (kind.replace("_", " "), *names.words))
    )


def _words(text: str) -> str:
    """A text in lower case with single spaces between its words, which digits and capital letters part too."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()
    return " ".join(re.findall(r"p2p|ip2p|[a-z]+", apart))
