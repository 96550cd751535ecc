"""Read request fields from infotexts of A1111, Forge and SD.Next, and of Safelight if there is no record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from safelight.errors import PromptError, RecordInvalidError
from safelight.generation.control.sdnext_adapters import INFOTEXT_KEY as SDNEXT_KEY
from safelight.generation.control.sdnext_adapters import parse_ip_adapters
from safelight.generation.control.units import INFOTEXT_KEY, parse_unit, unit_fields
from safelight.generation.infotext import LEFT_OUT_KEY, REFERENCES_KEY, REGION_KEY, Infotext
from safelight.generation.prompts.adapter_tags import find_adapter_tags
from safelight.generation.recall.field_builder import (
    IMAGE_NOT_IN_FILE,
    NO_SUCH_FIELD,
    FieldBuilder,
    Source,
)

_PROMPTS = frozenset({"prompt", "negative_prompt"})
_PROGRAM_KEYS = frozenset(
    {"Version", "App", "Parser", "Pipeline", "Operations", "Scheduler", "Comment", "Hashes", "Created Date"}
    | {
        "Lora hashes",
        "LoRA hashes",
        "LoRA networks",
        "Networks",
        "TI hashes",
        "TI",
        "Embeddings",
        "Batch",
        "Batch size",
        "Batch pos",
        "Index",
        "Grid",
        "Template",
        "Negative template",
        "Hires all steps",
        "VAE hash",
    }
)
"""Keys that do not affect generation."""
_POSTPROCESS_PREFIX = "Postprocess "
"""How the keys begin that say what was done with the finished picture."""
_SIGMA_KEY = "Sampler sigma"
"""SD.Next's key for the sigma schedule."""
_MAX_SCALE_DIFFERENCE = 0.01
_FILLS: Mapping[str, str] = MappingProxyType(
    {"fill": "blur", "original": "original", "latent noise": "noise"}
)
_MASK_KEYS = frozenset({"Mask mode", "Mask blur", "Inpaint area", "Masked area padding", "Masked content"})
_HIRES_KEYS = frozenset({"Hires schedule type", "Hires resize", "Hires size", "Hires checkpoint", "Refiner"})
_DISTILLED_KEY = "Distilled CFG Scale"
"""Forge's key for the embedded guidance of Flux and its kin; their ``CFG scale`` is classifier-free guidance."""
_TRUE_KEY = "CFG true"
"""SD.Next's key for classifier-free guidance of Flux, and for perturbed-attention guidance of others."""
_DERIVED_KEYS = {
    *("Model", "Model hash", "Size", "Init image size", "Init image hash", "Outpaint"),
    REFERENCES_KEY,
}
_HANDLED_KEYS = (
    _PROGRAM_KEYS
    | _MASK_KEYS
    | _HIRES_KEYS
    | _DERIVED_KEYS
    | {"Schedule type", _SIGMA_KEY, _DISTILLED_KEY, _TRUE_KEY, "RNG", "Tiling"}
)
"""Keys that are handled separately."""
_ADAPTER_HASHES = "Lora hashes"
"""A1111's key for the hashes of the adapters in the prompt: ``name: hash, name: hash``."""
_ADAPTER_NAMES = ("LoRA networks", "Networks")
"""SD.Next's keys for the names of the adapters that it used."""
_EMBEDDING_KEYS = ("TI hashes", "TI", "Embeddings")
"""Keys for the textual inversions in the prompts; with their hashes where they have some."""


def detect_program(infotext: Infotext) -> Source:
    """Return the program that wrote an infotext."""
    if infotext.parameters.get("App") == "SD.Next":
        return "sdnext"
    return "safelight" if infotext.parameters.get("Version", "").startswith("Safelight") else "a1111"


def set_fields_from_infotext(builder: FieldBuilder, infotext: Infotext) -> None:
    """Set the fields of an infotext whose values can be read."""
    given = dict(infotext.parameters)
    broken = {key for key, value in given.items() if not _is_readable(key, value, builder)}
    sound = {key: value for key, value in given.items() if key not in broken}
    fields = Infotext(infotext.prompt, infotext.negative_prompt, sound).request_fields()
    hashes = _named_hashes(sound.get(_ADAPTER_HASHES, ""))
    builder.set_prompts(fields.pop("prompt"), fields.pop("negative_prompt"), hashes=hashes)
    for key in _EMBEDDING_KEYS:
        for name in filter(None, (part.partition(":")[0].strip() for part in sound.get(key, "").split(","))):
            builder.check_embedding(name, _named_hashes(sound[key]).get(name))
    _add_unused_adapters(builder, infotext.prompt, {**dict.fromkeys(_named_adapters(sound)), **hashes})
    if infotext.model or infotext.model_hash:
        builder.set_checkpoint(infotext.model, infotext.model_hash)
    builder.set_sampler(fields.pop("sampler", None), _schedule(sound, fields.pop("schedule", None)))
    builder.set_vae(fields.pop("vae", None))
    if hires := _convert_hires(builder, sound, fields.pop("hires", {}), fields):
        builder.set_hires(hires, hashes=hashes, checkpoint=_named_checkpoint(sound.get("Hires checkpoint")))
    refiner = fields.pop("refiner", {})
    if (named := _named_checkpoint(sound.get("Refiner"))) is not None:
        builder.set_refiner(refiner, named)
    if variation := fields.pop("variation", None):
        builder.set_nested("variation", variation)
    inpaint = fields.pop("inpaint", {})
    fields |= _guidance(sound, fields)
    for name, value in fields.items():
        builder.set_field(name, value)
    _set_image_options(builder, sound, fields, inpaint)
    _set_outpaint(builder, sound)
    _add_controls(builder, sound)
    _add_references(builder, sound)
    _add_regions(builder, sound)
    _add_other_unfilled(builder, sound, fields)


def _named_hashes(text: str) -> dict[str, str]:
    """Hashes by name, from ``name: hash, name: hash``."""
    pairs = (pair.rpartition(":") for pair in text.split(","))
    return {name.strip(): digits.strip() for name, colon, digits in pairs if colon}


def _named_adapters(given: Mapping[str, str]) -> list[str]:
    """The names of adapters that SD.Next used."""
    return [name.strip() for key in _ADAPTER_NAMES for name in given.get(key, "").split(",") if name.strip()]


def _add_unused_adapters(builder: FieldBuilder, prompt: str, names: Iterable[str]) -> None:
    """Record the adapters that were used and are not in the prompt, which would have their strengths."""
    try:
        tagged = {str(tag.fields["name"]).casefold() for tag in find_adapter_tags(prompt)}
    except PromptError:  # which is recorded already
        return
    for name in names:
        if name.casefold() not in tagged:
            builder.add_unfilled("adapter", name, "It is not in the prompt, so its strength is not known.")


def _is_readable(key: str, value: str, builder: FieldBuilder) -> bool:
    """Whether a parameter's value can be read if it should be a number; if it cannot, that is recorded."""
    try:
        Infotext("", "", {key: value}).request_fields()
    except RecordInvalidError as error:
        builder.add_unfilled(key, value, error.message)
        return False
    return True


def _schedule(given: Mapping[str, str], named: str | None) -> str | None:
    """Return the sigma schedule; None for the sampler's default."""
    other = given.get(_SIGMA_KEY, "")
    return named or (None if other.lower() in ("", "automatic", "default") else other)


def _guidance(given: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The scales of guidance where a program has two of them."""
    if _DISTILLED_KEY in given:
        true = fields.get("guidance_scale", 1.0)
        return {"guidance_scale": given[_DISTILLED_KEY]} | ({} if true == 1 else {"true_cfg_scale": true})
    if _TRUE_KEY in given:
        ours = "true_cfg_scale" if given.get("Pipeline", "").startswith("Flux") else "pag_scale"
        return {ours: given[_TRUE_KEY]}
    return {}


def _named_checkpoint(text: str | None) -> tuple[str, str | None] | None:
    """The name and the hash of a later pass's checkpoint; None without one of its own."""
    if text is None or text.lower() in ("", "none", "use same checkpoint"):
        return None
    name, bracket, digits = text.removesuffix("]").rpartition(" [")
    return (name, digits) if bracket and text.endswith("]") else (text, None)


def _convert_hires(
    builder: FieldBuilder, given: Mapping[str, str], hires: Mapping[str, Any], first: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the hires pass, with A1111's parameters converted to Safelight's; empty if there is none."""
    if not hires:
        return {}
    found = dict(hires)
    if found.get("guidance_scale") == first.get("guidance_scale"):
        found.pop("guidance_scale", None)
    size = given.get("Hires resize") or given.get("Hires size", "")
    if "scale" not in found:
        found["scale"] = _scale(size, first)
    if found["scale"] is None:
        builder.add_unfilled("hires.scale", size, "It is no multiple of the first pass's size.")
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
    return round(scales[0], 4) if scales and abs(scales[0] - scales[-1]) < _MAX_SCALE_DIFFERENCE else None


def _set_image_options(
    builder: FieldBuilder,
    given: Mapping[str, str],
    fields: Mapping[str, Any],
    inpaint: Mapping[str, Any],
) -> None:
    """Record that initial image and mask are not in the file, and set the inpainting options."""
    masked = _MASK_KEYS & given.keys()
    if masked or "strength" in fields or "Init image hash" in given:
        builder.add_unfilled("init_image", given.get("Init image hash", ""), IMAGE_NOT_IN_FILE)
    if masked:
        builder.add_unfilled("mask", "", "The mask is not in the file: add it again.")
        _set_inpaint(builder, given, inpaint)


def _set_inpaint(builder: FieldBuilder, given: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    """Set the fields that have a key of their own, and those that are converted."""
    inpaint: dict[str, Any] = {**fields}
    if "Inpaint area" in given:
        inpaint["only_masked"] = given["Inpaint area"].lower() == "only masked"
    if "Mask mode" in given:
        inpaint["invert"] = given["Mask mode"].lower() == "inpaint not masked"
    if (content := given.get("Masked content")) is not None:
        if content.lower() in _FILLS:
            inpaint["fill"] = _FILLS[content.lower()]
        else:
            builder.add_unfilled("Masked content", content, "There is fill, original and latent noise.")
    builder.set_nested("inpaint", inpaint)


def _set_outpaint(builder: FieldBuilder, given: Mapping[str, str]) -> None:
    """Set how far the image was extended, which only Safelight's infotexts say."""
    if words := given.get("Outpaint", "").split():
        if len(words) % 2:
            builder.add_unfilled("Outpaint", given["Outpaint"], "It is no list of sides and pixels.")
        else:
            builder.set_nested("outpaint", dict(zip(words[::2], words[1::2], strict=True)))


def _add_controls(builder: FieldBuilder, given: Mapping[str, str]) -> None:
    """Add ControlNet units of A1111's extension, of Forge and of Safelight, and IP-Adapters of SD.Next."""
    for key, value in given.items():
        if (found := INFOTEXT_KEY.fullmatch(key)) is not None:
            number = int(found[1] or 0)
            fields, unread = unit_fields(parse_unit(value))
            for name, each, reason in unread:
                builder.add_unfilled(f"{key}: {name}", each, reason)
            builder.add_control(number, fields | {"image": "not in the file"})
    if text := given.get(SDNEXT_KEY):
        adapters = parse_ip_adapters(text)
        if adapters is None:
            builder.add_unfilled(SDNEXT_KEY, text, "It is no list of names and weights.")
        for number, fields in enumerate(adapters or (), len(builder.fields.get("control", ()))):
            builder.add_control(number, fields | {"image": "not in the file"})


def _add_references(builder: FieldBuilder, given: Mapping[str, str]) -> None:
    """Record the pictures that the model looked at, which only Safelight's infotexts name."""
    digests = filter(None, (part.strip() for part in given.get(REFERENCES_KEY, "").split(",")))
    for number, digest in enumerate(digests):
        name = f"references[{number}].image"
        builder.add_unfilled(name, f"sha256 of its pixels {digest}…", IMAGE_NOT_IN_FILE)


def _add_regions(builder: FieldBuilder, given: Mapping[str, str]) -> None:
    """Add the regions of Safelight's infotexts."""
    for number, key in enumerate(filter(REGION_KEY.fullmatch, given)):
        try:
            fields = json.loads(given[key])
        except ValueError:
            fields = None
        builder.add_region(number, fields if isinstance(fields, dict) else given[key])


def _add_other_unfilled(builder: FieldBuilder, given: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    if "Size" in given and "width" not in fields:
        builder.add_unfilled("Size", given["Size"], "It is no width and height.")
    for key, value in given.items():
        if key.startswith(_POSTPROCESS_PREFIX):
            builder.add_unfilled(
                key, value, "The picture was enlarged after it was generated: enlarge it again."
            )
        elif key == LEFT_OUT_KEY:
            builder.add_unfilled(key, value, "The picture was generated without it.")
        elif INFOTEXT_KEY.fullmatch(key) or REGION_KEY.fullmatch(key) or key == SDNEXT_KEY:
            continue
        elif key not in _HANDLED_KEYS and Infotext("", "", {key: value}).request_fields().keys() == _PROMPTS:
            builder.add_unfilled(key, value, NO_SUCH_FIELD)
