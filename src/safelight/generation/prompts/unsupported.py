r"""Find and remove parts of a prompt that other programs support and Safelight does not.

    <hypernet:…> <anything:…>   networks to load (A1111, Forge, SD.Next); <lora:…> and <lyco:…> in a negative prompt
    a cat AND a dog :0.5        composed prompts with their weights (A1111), where the checkpoint has no guidance by a
                                negative prompt, in negative prompts and in those of regions

A backslash before such a part makes it plain text: ``\<lora:name:1>``, ``\AND``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from safelight.errors import PromptUnsupportedError
from safelight.generation.prompts.adapter_tags import ADAPTER_TAGS
from safelight.generation.prompts.composition import split_weight

_UNSUPPORTED = re.compile(
    r"\\."
    r"|(?P<network><(?P<kind>\w+):[^<>]+>)"
    r"|(?P<composition>\bAND\b)",
    re.DOTALL,
)
_MAX_SHOWN = 80

UnsupportedKind = Literal["network", "composition"]


@dataclass(frozen=True, slots=True)
class UnsupportedPart:
    """An unsupported part of a prompt.

    Attributes:
        kind: The kind of feature.
        text: The part as written.
        start: Start, in characters from 0.
    """

    kind: UnsupportedKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """End, exclusive, in characters from 0."""
        return self.start + len(self.text)

    @property
    def reason(self) -> str:
        """A phrase for messages: what the part asks for, and that it is not supported."""
        if self.kind == "composition":
            return "composed prompts, which only the prompt of a checkpoint with classifier-free guidance has"
        name = self.text[1:].partition(":")[0].casefold()
        if name in ADAPTER_TAGS:
            return "an adapter, which is written into the prompt and changes both"
        return f"{'a hypernetwork' if name == 'hypernet' else 'a network'}, and none is loaded here"


def find_unsupported(
    text: str, *, negative: bool = False, composes: bool | None = None
) -> list[UnsupportedPart]:
    """Return the unsupported parts of a prompt in order; parts after a backslash are plain text.

    Args:
        text: The prompt.
        negative: Whether it is a negative prompt, in which adapters and AND are not supported either.
        composes: Whether AND composes it; by default in all but negative prompts.
    """
    composes = not negative if composes is None else composes
    return [
        UnsupportedPart(kind, match[kind], match.start())
        for match in _UNSUPPORTED.finditer(text)
        for kind in ("network", "composition")
        if match[kind] and (negative or (match["kind"] or "").lower() not in ADAPTER_TAGS)
        if kind == "network" or not composes
    ]


def check_supported(
    text: str,
    prompt_name: str,
    field: str = "prompt",
    *,
    negative: bool = False,
    composes: bool | None = None,
) -> None:
    """Check that a prompt has no unsupported part.

    Args:
        text: The prompt.
        prompt_name: The prompt's name in the message: "prompt", "negative prompt".
        field: The request's field that it comes from.
        negative: Whether it is a negative prompt.
        composes: As in ``find_unsupported``.

    Raises:
        PromptUnsupportedError: There is one; the message names it, its position, and the others.
    """
    found = find_unsupported(text, negative=negative, composes=composes)
    if not found:
        return
    first, shown = found[0], _truncate(found[0].text)
    others = [_truncate(text) for text in distinct_texts(found) if text != first.text]
    also = f" Likewise: {', '.join(others[:5])}{' …' if others[5:] else ''}." if others else ""
    small = "small letters (and) or " if first.kind == "composition" else ""
    raise PromptUnsupportedError(
        f"The {prompt_name} has {shown} at character {first.start}, which asks for {first.reason}.{also}",
        hint="Leave it out, or set ignore_unsupported and it is left out for you. "
        f"Where the words themselves are meant, write {small}a backslash before it: \\{shown}",
        field=field,
        context={"part": shown, "start": first.start},
    )


def remove_unsupported(text: str, *, negative: bool = False, composes: bool | None = None) -> str:
    """Return a prompt without its unsupported parts; the result contains none.

    Networks are removed, as A1111 does with unknown ones. Composed prompts, where they are not supported, are joined
    with commas, without their weights.
    """
    prompts, start = [""], 0
    for part in find_unsupported(text, negative=negative, composes=composes):
        prompts[-1] += text[start : part.start]
        start = part.end
        if part.kind == "composition":
            prompts.append("")
    prompts[-1] += text[start:]
    if len(prompts) > 1:
        prompts = [prompt for prompt in map(_remove_weight, prompts) if prompt]
    return escape_unsupported(
        ", ".join(prompts), negative=negative, composes=composes
    )  # removing a part can form a new one: <lo<x:1>ra:y:1>


def escape_unsupported(text: str, *, negative: bool = True, composes: bool | None = None) -> str:
    """Return the prompt with a backslash before each unsupported part, which makes it plain text.

    Args:
        text: The prompt.
        negative: Whether adapters are plain text too.
        composes: Whether AND is left as it is; by default where adapters are.
    """
    found = find_unsupported(text, negative=negative, composes=composes)
    ends = [*(part.start for part in found), len(text)]
    return "\\".join(text[start:end] for start, end in zip([0, *ends], ends, strict=False))


def distinct_texts(parts: Iterable[UnsupportedPart]) -> tuple[str, ...]:
    """Return the texts of the parts, without duplicates, in order."""
    return tuple(dict.fromkeys(part.text for part in parts))


def left_out_notes(texts: Iterable[str]) -> tuple[str, ...]:
    """Return an image's notes about the parts that were left out, given as ``distinct_texts`` returns them."""
    parts = [part for text in texts for part in find_unsupported(text, negative=True)[:1]]
    return tuple(f"{_truncate(part.text)} was left out: it asks for {part.reason}." for part in parts)


def _remove_weight(prompt: str) -> str:
    """Remove the weight and a comma from the end of a composed prompt."""
    return split_weight(prompt)[0].strip().removesuffix(",").rstrip()


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
