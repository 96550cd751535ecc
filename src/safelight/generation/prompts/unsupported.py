r"""Parts of a prompt that mean something to other programs and nothing here yet: one place that knows them all.

    <lora:name:1> <lyco:…> <hypernet:…> <anything:…>   networks to load (A1111, Forge, SD.Next)
    embedding:name                                     a textual inversion (ComfyUI)
    a cat AND a dog :0.5                               composed prompts with their weights (A1111)

What is to be read as plain words gets a backslash before it: ``\<lora:name:1>``, ``\AND``. A textual inversion that
A1111 would know by its bare name is a word like any other and cannot be told from one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from safelight.errors import PromptUnsupportedError

_PARTS = re.compile(
    r"\\."
    r"|(?P<network><(?P<kind>\w+):[^<>]+>)"
    r"|(?P<embedding>(?<!\w)embedding:[^\s,:()\[\]{}|<>\\]+)"
    r"|(?P<composition>\bAND\b)",
    re.DOTALL,
)
_WEIGHT = re.compile(r":\s*[+-]?(?:[0-9]{1,9}\.?[0-9]{0,18}|\.[0-9]{1,18})\s*$")
_LONGEST_WEIGHT = 64
"""Characters at the end of a composed prompt among which its weight is looked for."""
_NETWORKS = {"lora": "a LoRA", "lyco": "a LyCORIS", "hypernet": "a hypernetwork"}
_SHOWN = 80

Kind = Literal["network", "embedding", "composition"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a prompt that nothing is done with.

    Attributes:
        kind: What it asks for.
        text: As it is written.
        at: Where it begins, in characters from 0.
    """

    kind: Kind
    text: str
    at: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.at + len(self.text)

    @property
    def asks_for(self) -> str:
        """What it asks for, in words, and that this is not done."""
        if self.kind == "composition":
            return "prompts that are composed, which is not done here"
        if self.kind == "embedding":
            return "a textual inversion, and none is loaded here"
        name = self.text[1:].partition(":")[0].casefold()
        return f"{_NETWORKS.get(name, 'a network')}, and none is loaded here"


def find_unsupported(text: str) -> list[Part]:
    """The unsupported parts of a prompt, in their order; what a backslash stands before is none."""
    return [
        Part(kind, match[kind], match.start())
        for match in _PARTS.finditer(text)
        for kind in ("network", "embedding", "composition")
        if match[kind]
    ]


def refuse_unsupported(text: str, where: str) -> None:
    """See that a prompt has no unsupported part.

    Args:
        text: The prompt.
        where: What it is called in the message: "prompt", "negative prompt".

    Raises:
        PromptUnsupportedError: It has one; the message names it and its place, and the others.
    """
    found = find_unsupported(text)
    if not found:
        return
    first, shown = found[0], _cut(found[0].text)
    others = [_cut(text) for text in distinct(found) if text != first.text]
    also = f" Likewise: {', '.join(others[:5])}{' …' if others[5:] else ''}." if others else ""
    small = "small letters (and) or " if first.kind == "composition" else ""
    raise PromptUnsupportedError(
        f"The {where} has {shown} at character {first.at}, which asks for {first.asks_for}.{also}",
        hint="Leave it out, or set ignore_unsupported and it is left out for you. "
        f"Where the words themselves are meant, write {small}a backslash before it: \\{shown}",
    )


def without_unsupported(text: str) -> str:
    """A prompt without its unsupported parts, so that finding them again finds nothing.

    Networks and embeddings are cut out, as A1111 does where it has none of the name. Composed prompts become one,
    with commas between them and without their weights.
    """
    prompts, start = [""], 0
    for part in find_unsupported(text):
        prompts[-1] += text[start : part.at]
        start = part.end
        if part.kind == "composition":
            prompts.append("")
    prompts[-1] += text[start:]
    if len(prompts) > 1:
        prompts = [prompt for prompt in map(_without_weight, prompts) if prompt]
    return as_words(", ".join(prompts))  # cutting can put together what was none: <lo<x:1>ra:y:1>


def as_words(text: str) -> str:
    """The prompt with a backslash before each unsupported part: so its characters are words and nothing else."""
    found = find_unsupported(text)
    ends = [*(part.at for part in found), len(text)]
    return "\\".join(text[start:end] for start, end in zip([0, *ends], ends, strict=False))


def distinct(parts: Iterable[Part]) -> tuple[str, ...]:
    """The parts as they are written, each once, in their order."""
    return tuple(dict.fromkeys(part.text for part in parts))


def left_out_notes(texts: Iterable[str]) -> tuple[str, ...]:
    """What a picture's notes say of parts that it was drawn without, as ``distinct`` gives them."""
    parts = [part for text in texts for part in find_unsupported(text)[:1]]
    return tuple(f"{_cut(part.text)} was left out: it asks for {part.asks_for}." for part in parts)


def _without_weight(prompt: str) -> str:
    """A composed prompt without the weight at its end, and without a comma there."""
    tail = max(0, len(prompt) - _LONGEST_WEIGHT)
    return (prompt[:tail] + _WEIGHT.sub("", prompt[tail:])).strip().removesuffix(",").rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
