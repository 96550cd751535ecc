r"""Adapters in prompts: ``<lora:name:0.8>``, as A1111, Forge and SD.Next write them.

    <lora:name>                       strength 1
    <lora:name:0.8>                   for text encoders and denoiser
    <lora:name:0.5:0.8>               0.5 for the text encoders, 0.8 for the denoiser
    <lora:name:te=0.5:unet=0.8>       the same by name
    <lora:name:0.2@0,1@0.5>           by steps: from 0.2 to 1 during the first half
    <lora:name:in=0:mid=1:out=0.5>    the denoiser's by its blocks
    <lyco:name:…>                     the same

A tag may stand anywhere in a prompt, and is in force for all of its picture; the text encoders do not read it. A
backslash before it makes it plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from safelight.errors import PromptError
from safelight.generation.adapters.strength import StrengthValue, format_strength, parse_strength

ADAPTER_TAGS = frozenset({"lora", "lyco"})
"""Kinds of tags that name an adapter, in small letters."""
_TAG = re.compile(r"\\.|<(?P<kind>\w+):(?P<content>[^<>]+)>", re.DOTALL)
_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "te": "strength",
        "unet": "denoiser",
        "in": "input_blocks",
        "mid": "middle_block",
        "out": "output_blocks",
    }
)
"""The fields of an adapter by their names in tags. What has no strength of its own has the text encoders'."""
_POSITIONAL = ("te", "unet")
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class AdapterTag:
    """An adapter in a prompt.

    Attributes:
        text: The tag as written.
        start: Its start, in characters from 0.
        fields: The fields of the request's ``Adapter``.
    """

    text: str
    start: int
    fields: Mapping[str, StrengthValue] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """End, exclusive, in characters from 0."""
        return self.start + len(self.text)


def find_adapter_tags(text: str) -> list[AdapterTag]:
    """The adapters of a prompt in order.

    Raises:
        PromptError: A tag has a strength that is none, or a part that does not exist here.
    """
    return [
        AdapterTag(match[0], match.start(), _tag_fields(match[0], match["content"]))
        for match in _TAG.finditer(text)
        if match["kind"] and match["kind"].lower() in ADAPTER_TAGS
    ]


def remove_adapter_tags(text: str) -> str:
    """A prompt without its adapters, and without the spaces that were around them; the result contains none.

    Raises:
        PromptError: As in ``find_adapter_tags``.
    """
    tags = find_adapter_tags(text)
    for tag in reversed(tags):
        text = without_gap(text[: tag.start], text[tag.end :])
    return _escape_tags(text) if tags else text


def without_gap(before: str, after: str) -> str:
    """A prompt of two parts, between which something was taken out, without the spaces that were around it."""
    if not before or before[-1].isspace():
        after = after.lstrip(" ")
    return (before.rstrip(" ") if after[:1] in ("", ",") else before) + after


def format_adapter_tag(fields: Mapping[str, StrengthValue | None]) -> str:
    """The tag of an adapter, from the fields of the request's ``Adapter``."""
    given = {name: value for name, value in fields.items() if value is not None}
    name, strength = str(given["name"]), given.get("strength", 1.0)
    text_encoder = given.get("text_encoder", strength)
    denoiser = given.get("denoiser", strength)
    parts = [format_strength(text_encoder)]
    if denoiser != text_encoder:
        parts = [f"te={parts[0]}", f"unet={format_strength(denoiser)}"]
    for key in ("in", "mid", "out"):
        if (own := given.get(_FIELDS[key])) is not None:
            parts.append(f"{key}={format_strength(own)}")
    return f"<lora:{':'.join([name, *parts])}>"


def _escape_tags(text: str) -> str:
    """A prompt whose tags are plain text: removing one can form another, as in <lo<lora:x>ra:y>."""
    return _TAG.sub(
        lambda match: f"\\{match[0]}" if (match["kind"] or "").lower() in ADAPTER_TAGS else match[0], text
    )


def adapter_fields(content: str) -> dict[str, StrengthValue]:
    """The fields of the request's ``Adapter`` from what a tag has after its kind: ``name:0.8``.

    Raises:
        PromptError: It has no name, a strength that is none, or a part that does not exist here.
    """
    text = f"<lora:{content}>"
    name, *arguments = content.split(":")
    if not name.strip():
        raise _problem(text, "it has no name")
    found: dict[str, StrengthValue] = {"name": name.strip()}
    positional = list(_POSITIONAL)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            if not positional:
                raise _problem(text, f"{argument!r} has no meaning here")
            key, value = positional.pop(0), argument
        key = key.strip().lower()
        if key not in _FIELDS:
            raise _problem(text, f"{key!r} is none of {', '.join(_FIELDS)}")
        found[_FIELDS[key]] = _strength(text, value)
    return found


def _tag_fields(text: str, content: str) -> dict[str, StrengthValue]:
    found = adapter_fields(content)
    if str(found["name"]).startswith(("/", "~")):  # prompts come from everywhere, and files are not for all
        raise _problem(text, "in a prompt it has a name, and no path")
    return found


def _strength(text: str, written: str) -> StrengthValue:
    value = "".join(written.split()).replace(";", ",").replace("~", "@")
    try:
        parse_strength(value)
    except ValueError as error:
        raise _problem(text, str(error)) from error
    return value if "@" in value or "," in value else float(value)


def _problem(text: str, reason: str) -> PromptError:
    shown = text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
    return PromptError(
        f"The adapter {shown} cannot be read: {reason}.",
        hint="Write <lora:name:0.8>, <lora:name:te=0.5:unet=0.8> or <lora:name:0.2@0,1@0.5>.",
    )
