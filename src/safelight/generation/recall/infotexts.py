"""Read request fields from infotexts of A1111, Forge and SD.Next, and of Safelight if there is no record."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from safelight.errors import RecordInvalidError
from safelight.generation.infotext import LEFT_OUT, Infotext
from safelight.generation.recall.filling import ADAPTERS, NO_FIELD, NOT_HELD, Filling, Source

_PROMPTS = frozenset({"prompt", "negative_prompt"})
_ABOUT_THE_PROGRAM = frozenset(
    {"Version", "App", "Parser", "Pipeline", "Operations", "Scheduler", "Comment", "Hashes", "Created Date"}
    | {
        "Batch",
        "Batch size",
        "Batch pos",
        "Index",
        "Grid",
        "Template",
        "Negative template",
        "Hires all steps",
    }
)
"""Keys that do not affect generation."""
_SIGMA = "Sampler sigma"
"""SD.Next's key for the sigma schedule."""
_ALIKE = 0.01
_FILLS: Mapping[str, str] = MappingProxyType(
    {"fill": "blur", "original": "original", "latent noise": "noise"}
)
_MASK = frozenset({"Mask mode", "Mask blur", "Inpaint area", "Masked area padding", "Masked content"})
_OURS: Mapping[str, str] = MappingProxyType({"CFG start": "guidance_start", "CFG method": "guidance_method"})
_SECOND_PASS = frozenset(
    {"Hires schedule type", "Hires resize", "Hires size", "Hires CFG Scale", "Hires CFG scale"}
)
_OTHERWISE = {"Model", "Model hash", "Size", "Init image size", "Init image hash", "Outpaint"}
_HANDLED = _ABOUT_THE_PROGRAM | _MASK | _SECOND_PASS | _OURS.keys() | _OTHERWISE | {"Schedule type", _SIGMA}
"""Keys that are handled separately."""
_ADAPTERS = frozenset({"Lora hashes", "TI hashes", "TI", "Networks", "Embeddings"})


def source_of(text: Infotext) -> Source:
    """Return the program that wrote an infotext."""
    if text.parameters.get("App") == "SD.Next":
        return "sdnext"
    return "safelight" if text.parameters.get("Version", "").startswith("Safelight") else "a1111"


def fill_from_infotext(filling: Filling, text: Infotext) -> None:
    """Set the fields of an infotext whose values can be read."""
    given = dict(text.parameters)
    broken = {key for key, value in given.items() if not _is_sound(key, value, filling)}
    sound = {key: value for key, value in given.items() if key not in broken}
    fields = Infotext(text.prompt, text.negative_prompt, sound).request_fields()
    filling.put_prompts(fields.pop("prompt"), fields.pop("negative_prompt"))
    if text.model or text.model_hash:
        filling.put_checkpoint(text.model, text.model_hash)
    filling.put_sampler(fields.pop("sampler", None), _schedule(sound, fields.pop("schedule", None)))
    if hires := _hires(filling, sound, fields.pop("hires", {}), fields):
        filling.put_hires(hires)
    if variation := fields.pop("variation", None):
        filling.put_part("variation", variation)
    for name, value in fields.items():
        filling.put(name, value)
    _put_start(filling, sound, fields)
    _put_ours(filling, sound)
    _leave_others(filling, sound, fields)


def _is_sound(key: str, value: str, filling: Filling) -> bool:
    """Whether a parameter's value can be read if it should be a number; if it cannot, that is recorded."""
    try:
        Infotext("", "", {key: value}).request_fields()
    except RecordInvalidError as error:
        filling.leave(key, value, error.message)
        return False
    return True


def _schedule(given: Mapping[str, str], named: str | None) -> str | None:
    """Return the sigma schedule; None for the sampler's default."""
    other = given.get(_SIGMA, "")
    return named or (None if other.lower() in ("", "automatic", "default") else other)


def _hires(
    filling: Filling, given: Mapping[str, str], hires: Mapping[str, Any], first: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the hires pass, with A1111's parameters converted to Safelight's; empty if there is none."""
    if not hires:
        return {}
    found = dict(hires)
    size = given.get("Hires resize") or given.get("Hires size", "")
    if "scale" not in found:
        found["scale"] = _scale(size, first)
    if found["scale"] is None:
        filling.leave("hires.scale", size, "It is no multiple of the first pass's size.")
        return {}
    if found.get("steps") == 0:  # as many as the first pass
        del found["steps"]
    if schedule := given.get("Hires schedule type"):
        named = schedule.lower() not in ("automatic", "use same scheduler")
        found["sampler"] = " ".join([found.get("sampler") or given.get("Sampler", ""), schedule][: 1 + named])
    return found


def _scale(size: str, first: Mapping[str, Any]) -> float | None:
    """Return a size as a multiple of the first pass's size; None if the factors of its sides differ or are unknown."""
    sides = [int(side) for side in size.split("x") if side.isascii() and side.isdecimal() and len(side) < 7]
    own = [first.get("width"), first.get("height")]
    scales = [new / old for new, old in zip(sides, own, strict=False) if new and old]
    return round(scales[0], 4) if scales and abs(scales[0] - scales[-1]) < _ALIKE else None


def _put_start(filling: Filling, given: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    """Record that initial image and mask are not in the file, and set the inpainting options."""
    masked = _MASK & given.keys()
    if masked or "strength" in fields or "Init image hash" in given:
        filling.leave("init_image", given.get("Init image hash", ""), NOT_HELD)
    if masked:
        filling.leave("mask", "", "The mask is not in the file: add it again.")
        _put_inpaint(filling, given)


def _put_inpaint(filling: Filling, given: Mapping[str, str]) -> None:
    inpaint: dict[str, Any] = {}
    for key, name in (("Mask blur", "blur"), ("Masked area padding", "padding")):
        if key in given:
            inpaint[name] = given[key]
    if "Inpaint area" in given:
        inpaint["only_masked"] = given["Inpaint area"].lower() == "only masked"
    if "Mask mode" in given:
        inpaint["invert"] = given["Mask mode"].lower() == "inpaint not masked"
    if (content := given.get("Masked content")) is not None:
        if content.lower() in _FILLS:
            inpaint["fill"] = _FILLS[content.lower()]
        else:
            filling.leave("Masked content", content, "There is fill, original and latent noise.")
    filling.put_part("inpaint", inpaint)


def _put_ours(filling: Filling, given: Mapping[str, str]) -> None:
    """Set the fields for which only Safelight's infotexts have keys."""
    for key, name in _OURS.items():
        if key in given:
            filling.put(name, given[key])
    if words := given.get("Outpaint", "").split():
        if len(words) % 2:
            filling.leave("Outpaint", given["Outpaint"], "It is no list of sides and pixels.")
        else:
            filling.put_part("outpaint", dict(zip(words[::2], words[1::2], strict=True)))


def _leave_others(filling: Filling, given: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    if "Size" in given and "width" not in fields:
        filling.leave("Size", given["Size"], "It is no width and height.")
    for key in ("Hires CFG Scale", "Hires CFG scale"):
        if given.get(key) not in (None, given.get("CFG scale")):
            filling.leave(key, given[key], "Both passes have one guidance scale.")
    for key, value in given.items():
        if key in _ADAPTERS:
            filling.leave(key, value, ADAPTERS)
        elif key == LEFT_OUT:
            filling.leave(key, value, "The picture was generated without it.")
        elif key not in _HANDLED and Infotext("", "", {key: value}).request_fields().keys() == _PROMPTS:
            filling.leave(key, value, NO_FIELD)
