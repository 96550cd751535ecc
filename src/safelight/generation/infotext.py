"""The infotext: A1111's text format for generation parameters, which galleries and model sites read.

It holds the prompt, a line ``Negative prompt: …`` if there is one, and a last line of ``key: value`` pairs. If the
text is ambiguous (a prompt with a line that starts with "Negative prompt:"), the reproduction record is authoritative.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from safelight.errors import RecordInvalidError
from safelight.generation.control.units import format_unit
from safelight.generation.fields import FieldDescription, nest, request_fields
from safelight.generation.prompts.adapter_tags import format_adapter_tag
from safelight.generation.record import AdapterRef, CheckpointRef, ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import schedule_label

Value = str | int | float
NEGATIVE_PREFIX = "Negative prompt:"
_KNOWN_KEYS = frozenset(
    {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "Version"}
)
_MIN_KNOWN_KEYS = 3
_MAX_LINE_LENGTH = 64 * 1024  # a longer last line is a prompt
_KEY = re.compile(r'\s*(\w[^:,"\n]*):\s*')  # stripped later: \s* before the colon takes quadratic time
_VALUE_END = re.compile(r"\s*+(?:,|\Z)")
_REMOVED_FROM_NAMES = str.maketrans("", "", ',:"\n')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_WHOLE = re.compile(r"([+-]?\d+)(?:\.0+)?", re.ASCII)
_SCHEDULE_SUFFIXES = (
    "Karras",
    "Exponential",
    "Polyexponential",
    "SGM Uniform",
)  # of sampler names before A1111 1.9
_FILL_LABELS = MappingProxyType({"original": None, "blur": "fill", "noise": "latent noise"})
_NOISE_KEY, _SEAMLESS_KEY = "RNG", "Tiling"
_ON_CPU = ("Safelight", "ComfyUI", "Fooocus")
"""How the versions of programs begin that draw noise on the processor unless they say so."""
_ALL_STEPS_KEY = "Hires all steps"
REGION_KEY = re.compile(r"Region \d{1,2}")
"""The key of a region: its prompt and its weight, as JSON."""
LEFT_OUT_KEY = "Left out"
"""Key of the unsupported parts of prompts that the image was generated without, separated by spaces."""
REFERENCES_KEY = "References"
"""Key of the pictures that the model looked at: the first digits of the SHA-256 of each one's pixels."""
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Infotext:
    """A parsed infotext.

    Args:
        prompt: The prompt as written; A1111 writes it with styles and wildcards expanded.
        negative_prompt: Empty if there is none.
        parameters: The pairs of the last line in order, values as text; empty if there is no such line.
    """

    prompt: str
    negative_prompt: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def model(self) -> str | None:
        """The checkpoint's name in the program that generated the image."""
        return self.parameters.get("Model")

    @property
    def model_hash(self) -> str | None:
        """The first digits of the SHA-256 of the checkpoint's file; A1111 writes ten."""
        return self.parameters.get("Model hash")

    def to_dict(self) -> dict[str, str]:
        """Return prompts and parameters under A1111's keys."""
        return {"Prompt": self.prompt, "Negative prompt": self.negative_prompt, **self.parameters}

    def request_fields(self) -> dict[str, Any]:
        """Return fields for a ``GenerationRequest``.

        The caller has to handle checkpoints (also a refiner's and a second pass's), the mask's other fields, and a
        ``strength`` without an initial image.

        Raises:
            RecordInvalidError: A value is not a number.
        """
        fields: dict[str, Any] = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        found = nest(self._values())
        variation, hires = found.pop("variation", None), found.pop("hires", None)
        fields |= found | self._sampler() | self._size() | self._noise_source() | self._seamless()
        if variation:
            fields["variation"] = {"seed": 0, "strength": 0.0} | variation
        if hires:
            # With one strength, A1111 always writes it under the same key.
            if "strength" in fields and "strength" not in hires:
                hires["strength"] = fields.pop("strength")
            fields["hires"] = hires | ({"all_steps": True} if self._runs_all_hires_steps else {})
        return fields

    @property
    def _runs_all_hires_steps(self) -> bool:
        """Whether the hires pass runs all of its steps: always in other programs, in Safelight only if requested."""
        ours = self.parameters.get("Version", "").startswith("Safelight")
        return not ours or self.parameters.get(_ALL_STEPS_KEY) == "True"

    def _values(self) -> dict[str, Any]:
        """Values of the fields that have a key of their own, by path."""
        found: dict[str, Any] = {}
        for key, known in fields_by_key().items():
            if key in self.parameters:
                kind = known.schema["type"]
                try:
                    found[known.path] = _TYPES[kind](self.parameters[key])
                except ValueError as error:
                    number = "whole number" if kind == "integer" else "number"
                    raise RecordInvalidError(
                        f"{key}: {self.parameters[key][:40]!r} is no {number}."
                    ) from error
        return found

    def _sampler(self) -> dict[str, str]:
        sampler, label = self.parameters.get("Sampler"), self.parameters.get("Schedule type")
        if sampler is None:
            return {}
        suffix = next((each for each in _SCHEDULE_SUFFIXES if sampler.endswith(f" {each}")), None)
        if label is None and suffix is not None:
            sampler, label = sampler.removesuffix(f" {suffix}"), suffix
        named = label is not None and label.lower() != "automatic"
        return {"sampler": sampler} | ({"schedule": str(label).lower().replace(" ", "-")} if named else {})

    def _noise_source(self) -> dict[str, str]:
        """Where the noise was drawn: A1111 says so only if it was not on the GPU, and SD.Next never does."""
        named = self.parameters.get(_NOISE_KEY)
        if named is not None:
            return {"noise_source": "cpu" if named == "CPU" else "gpu"}
        if "Seed" not in self.parameters:
            return {}
        return {"noise_source": "cpu" if self.parameters.get("Version", "").startswith(_ON_CPU) else "gpu"}

    def _seamless(self) -> dict[str, str]:
        edges = self.parameters.get(_SEAMLESS_KEY, "False")
        return {} if edges == "False" else {"seamless": "both" if edges == "True" else edges}

    def _size(self) -> dict[str, int]:
        size = _SIZE.fullmatch(self.parameters.get("Size", ""))
        return {"width": int(size[1]), "height": int(size[2])} if size else {}


def _parse_whole(text: str) -> int:
    """Parse a whole number, which SD.Next may write with decimals: ``2.0``.

    Raises:
        ValueError: The text is no whole number.
    """
    if (found := _WHOLE.fullmatch(text)) is None:
        raise ValueError
    return int(found[1])


_TYPES: Mapping[str, Callable[[str], Value]] = MappingProxyType(
    {"integer": _parse_whole, "number": float, "string": str, "boolean": lambda text: text.lower() == "true"}
)
"""What reads a value, by the type of its field in JSON."""


@cache
def fields_by_key() -> Mapping[str, FieldDescription]:
    """The fields that have a key of their own in infotexts, under each key that is read as theirs."""
    return MappingProxyType(
        {
            key: field
            for field in request_fields(GenerationRequest)
            for key in (*field.options.infotext_aliases, field.options.infotext)
            if key
        }
    )


def format_infotext(prompt: str, negative_prompt: str, parameters: Mapping[str, Value | None]) -> str:
    """Format an infotext: None and empty values are left out, and ambiguous values are quoted as JSON.

    U+0000 becomes U+FFFD, since no image format can store it in text.

    Args:
        prompt: The expanded prompt.
        negative_prompt: May be empty; A1111 then writes no line for it.
        parameters: The pairs of the last line, in order.
    """
    pairs = [f"{key}: {_quote(value)}" for key, value in parameters.items() if value not in (None, "")]
    lines = [prompt] if prompt else []
    lines += [f"{NEGATIVE_PREFIX} {negative_prompt}"] if negative_prompt else []
    return "\n".join([*lines, ", ".join(pairs)]).replace("\0", "\ufffd")


def infotext_from_record(record: ReproductionRecord) -> str:
    """Return the infotext of a record: A1111's keys in A1111's order, then Safelight's own keys, then the version."""
    placed = _main_parameters(record) | _inpainting_parameters(record)
    placed |= _refiner_parameters(record) | _hires_parameters(record)
    others = {key: value for key, value in _field_parameters(record).items() if key not in placed}
    return format_infotext(
        _prompt_with_adapters(record),
        record.expanded_negative_prompt,
        placed
        | others
        | _control_parameters(record)
        | _region_parameters(record)
        | _safelight_parameters(record),
    )


def parse_infotext(text: str) -> Infotext:
    """Parse an infotext written by A1111, Forge, SD.Next or Safelight.

    Any text gives a result: if the last line is no list of parameters, the whole text is the prompt.
    """
    lines = text.rstrip().split("\n")
    parameters = dict(_parse_pairs(lines[-1])) if len(lines[-1]) <= _MAX_LINE_LENGTH else {}
    if len(_KNOWN_KEYS & parameters.keys()) < _MIN_KNOWN_KEYS:
        return Infotext(*_split_prompts(text.split("\n")))
    lines.pop()
    if parameters.get("App") == "SD.Next":
        lines, templates = _split_templates(lines)
        parameters |= templates
    return Infotext(*_split_prompts(lines), MappingProxyType(parameters))


def _prompt_with_adapters(record: ReproductionRecord) -> str:
    """The prompt with its adapters at the end, where A1111's readers look for them."""
    return _with_tags(record.expanded_prompt, record.adapters)


def _with_tags(prompt: str, adapters: Iterable[AdapterRef]) -> str:
    tags = [format_adapter_tag(each.adapter.model_dump()) for each in adapters]
    return " ".join([*([prompt] if prompt else []), *tags])


def _named_checkpoint(checkpoint: CheckpointRef) -> str:
    """A checkpoint's name and the beginning of its digest, as A1111 writes those of later passes."""
    return f"{checkpoint.name.translate(_REMOVED_FROM_NAMES)} [{checkpoint.digest[:10]}]"


def _main_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    strength = (
        record.strength if record.hires is None or record.strength is not None else record.hires.strength
    )
    given = _field_parameters(record)
    return {
        **_taken(given, "Steps"),
        "Sampler": record.sampler,
        "Schedule type": record.schedule and schedule_label(record.schedule),
        **_taken(given, "CFG scale", "Seed"),
        "Size": f"{record.width}x{record.height}",
        "Model hash": record.checkpoint.digest[:10],
        "Model": record.checkpoint.name.translate(
            _REMOVED_FROM_NAMES
        ),  # as A1111 does: simple parsers split at commas
        **_taken(given, "Variation seed", "Variation seed strength"),
        "Denoising strength": strength,
        **_taken(given, "Clip skip", "Eta"),
    }


def _field_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    """Values of the fields that have a key of their own; None where a value is the field's default."""
    named = (field for field in request_fields(GenerationRequest) if field.options.infotext)
    return {
        field.options.infotext: None if (value := field.value_in(record)) == field.default else value
        for field in named
    }


def _taken(values: Mapping[str, Value | None], *keys: str) -> dict[str, Value | None]:
    return {key: values[key] for key in keys}


def _inpainting_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    inpaint = record.inpaint
    if record.mode != "inpainting" or inpaint is None:
        return {}
    return {
        "Mask mode": "Inpaint not masked" if inpaint.invert else None,
        "Mask blur": inpaint.blur,
        "Inpaint area": "Only masked" if inpaint.only_masked else None,
        "Masked area padding": inpaint.padding if inpaint.only_masked else None,
        "Masked content": _FILL_LABELS[inpaint.fill],
    }


def _hires_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    """The second pass, defaults included."""
    hires = record.hires
    if hires is None:
        return {}
    own = None if hires.prompt is None else _with_tags(hires.prompt, record.hires_adapters)
    return {
        "Hires prompt": own,
        "Hires checkpoint": None
        if record.hires_checkpoint is None
        else _named_checkpoint(record.hires_checkpoint),
        "Hires sampler": hires.sampler,
        "Hires upscale": hires.scale,
        "Hires steps": hires.steps,
        _ALL_STEPS_KEY: "True" if hires.all_steps else None,
        "Hires upscaler": hires.upscaler,
        "Hires strength": None if record.strength is None else hires.strength,
    }


def _refiner_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    if record.refiner is None or record.refiner_checkpoint is None:
        return {}
    return {
        "Refiner": _named_checkpoint(record.refiner_checkpoint),
        "Refiner switch at": record.refiner.switch_at,
    }


def _control_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    """The controls, as units of A1111's extension."""
    return {f"ControlNet {number}": format_unit(each) for number, each in enumerate(record.control)}


def _region_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    """The regions, as JSON; their masks are not in the file."""
    return {
        f"Region {number}": json.dumps(
            {"prompt": each.expanded_prompt, "weight": each.weight}, ensure_ascii=False
        )
        for number, each in enumerate(record.regions)
    }


def _safelight_parameters(record: ReproductionRecord) -> dict[str, Value | None]:
    sides = " ".join(f"{side} {pixels}" for side, pixels in record.outpaint or () if pixels)
    adapters = ", ".join(f"{each.name}: {each.hash or each.digest[:12]}" for each in record.adapters)
    vae = next((part.digest[:10] for part in record.checkpoint.parts if part.component == "vae"), "")
    return {
        _SEAMLESS_KEY: {"none": None, "both": "True"}.get(record.seamless, record.seamless),
        _NOISE_KEY: "NV" if record.noise_source == "gpu" else None,
        "VAE hash": vae,
        "Outpaint": sides,
        "Lora hashes": adapters,
        "TI hashes": ", ".join(f"{each.name}: {each.digest[:12]}" for each in record.embeddings),
        REFERENCES_KEY: ", ".join(each.image[:12] for each in record.references),
        LEFT_OUT_KEY: " ".join(record.left_out),
        "Version": f"Safelight {record.versions.safelight}",
    }


def _quote(value: Value) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    text = str(value)
    ambiguous = any(mark in text for mark in ",:\n") or text.startswith('"') or text != text.strip()
    return json.dumps(text, ensure_ascii=False) if ambiguous else text


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    """Split lines into prompt and negative prompt, at the first line that starts with "Negative prompt:"."""
    cut = next((number for number, line in enumerate(lines) if line.startswith(NEGATIVE_PREFIX)), None)
    if cut is None:
        return "\n".join(lines), ""
    negative = "\n".join(lines[cut:]).removeprefix(NEGATIVE_PREFIX).removeprefix(" ")
    return "\n".join(lines[:cut]), negative


def _split_templates(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    """Split off SD.Next's prompts before styles, which it writes between the prompts and the parameters."""
    templates: dict[str, str] = {}
    for key in ("Negative template", "Template"):
        cut = next((n for n, line in reversed(list(enumerate(lines))) if line.startswith(f"{key}:")), None)
        if cut is not None:
            templates[key] = "\n".join(lines[cut:]).removeprefix(f"{key}:").strip()
            lines = lines[:cut]
    return lines, templates


def _parse_pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield each ``key: value`` of a line of parameters; parts without a colon are skipped."""
    position = 0
    while position < len(line):
        key = _KEY.match(line, position)
        if key is None:
            position = _next_comma(line, position) + 1
            continue
        value, position = _parse_value(line, key.end())
        yield key[1].rstrip(), value


def _parse_value(line: str, start: int) -> tuple[str, int]:
    """Return the value at a position and the start of the next pair; a quoted or bracketed value is JSON."""
    if line[start : start + 1] in ('"', "{", "["):
        try:
            value, end = _DECODER.raw_decode(line, start)
        except (ValueError, RecursionError):
            end = start
        if end > start and _VALUE_END.match(line, end):
            text = value if isinstance(value, str) else line[start:end]
            return text, _next_comma(line, end) + 1
    end = _next_comma(line, start)
    return line[start:end].strip(), end + 1


def _next_comma(line: str, start: int) -> int:
    found = line.find(",", start)
    return len(line) if found < 0 else found
