"""The always-on script "Soft inpainting", which is part of A1111 and Forge: its switch has a counterpart here.

Its sliders shape a blend of predictions that Safelight does not compute: there, each pixel's grey is its strength.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from safelight.server.api.a1111.schemas import GenerationParameters, Img2ImgBody

SCRIPT = "soft inpainting"
SWITCH = "Soft inpainting"
SLIDERS: Mapping[str, float] = MappingProxyType(
    {
        "Schedule bias": 1,
        "Preservation strength": 0.5,
        "Transition contrast boost": 4,
        "Mask influence": 0,
        "Difference threshold": 0.5,
        "Difference contrast": 2,
    }
)
"""The script's other arguments in their order, by the names that it takes in an object, with their defaults."""


def is_soft(body: GenerationParameters) -> bool:
    """Whether a body's mask is soft: the script is on, and there is a mask."""
    return isinstance(body, Img2ImgBody) and body.mask is not None and bool(_switch(body))


def ignored_sliders(body: GenerationParameters) -> list[str]:
    """Names of the script's arguments without effect: sliders away from their defaults, the switch without a mask."""
    if not _switch(body):
        return []
    values = _values(body)
    moved = [name for name, usual in SLIDERS.items() if values.get(name, usual) not in (None, usual)]
    return [f"alwayson_scripts.{SCRIPT}.{name}" for name in (*(() if is_soft(body) else (SWITCH,)), *moved)]


def _switch(body: GenerationParameters) -> object:
    return _values(body).get(SWITCH)


def _values(body: GenerationParameters) -> Mapping[str, object]:
    """The script's arguments by name; they are given as a list, or as a list with one object."""
    for name, script in body.alwayson_scripts.items():
        if name.casefold() == SCRIPT:
            given = script.get("args") if isinstance(script, Mapping) else script
            if isinstance(given, Sequence) and given and isinstance(given[0], Mapping):
                given = given[0]
            if isinstance(given, Mapping):
                return given
            if isinstance(given, Sequence) and not isinstance(given, str):
                return dict(zip((SWITCH, *SLIDERS), given, strict=False))
    return {}
