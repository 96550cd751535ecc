"""Composed prompts, as A1111 writes them: ``a cat AND a dog :0.5``, parts with a weight each (Liu et al., 2022).

The denoiser predicts each part by itself, and what each adds to the negative prompt's prediction is added up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from safelight.errors import PromptError

MAX_PARTS = 16
MAX_WEIGHT = 100.0
_AND = re.compile(r"\\.|(?P<and>\bAND\b)", re.DOTALL)
_WEIGHT = re.compile(r"(?<!\\):\s*([+-]?(?:[0-9]{1,9}\.?[0-9]{0,18}|\.[0-9]{1,18}))\s*$")
_MAX_WEIGHT_LENGTH = 64
"""Number of characters at the end of a part that are searched for its weight."""


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A part of a composed prompt, or a whole prompt.

    Attributes:
        text: Its text.
        weight: How much it counts: -100 to 100.
    """

    text: str
    weight: float = 1.0


def prompt_parts(text: str) -> tuple[PromptPart, ...]:
    """The parts between the ANDs of a prompt with their weights; the whole prompt, unchanged, if it has none.

    AND separates parts wherever it is, as in A1111: within brackets too. A backslash before it makes it a word.

    Raises:
        PromptError: There are too many parts, or a weight is too large.
    """
    cuts = [found.span() for found in _AND.finditer(text) if found["and"]]
    if not cuts:
        return (PromptPart(text),)
    if len(cuts) >= MAX_PARTS:
        raise PromptError(
            f"The prompt has {len(cuts) + 1} parts between its ANDs; {MAX_PARTS} are allowed.",
            context={"maximum": MAX_PARTS},
        )
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return tuple(_part(text[start:end]) for start, end in zip(starts, ends, strict=True))


def split_weight(text: str) -> tuple[str, str | None]:
    """A part without the weight at its end, and that weight as it is written; None without one."""
    tail = max(0, len(text) - _MAX_WEIGHT_LENGTH)
    found = _WEIGHT.search(text, tail)
    return (text, None) if found is None else (text[: found.start()], found[1])


def _part(text: str) -> PromptPart:
    words, written = split_weight(text)
    weight = 1.0 if written is None else float(written)
    if abs(weight) > MAX_WEIGHT:
        raise PromptError(
            f"The part {text.strip()[:80]!r} of the prompt has the weight {written}: "
            f"-{MAX_WEIGHT:g} to {MAX_WEIGHT:g} are allowed.",
            context={"maximum": MAX_WEIGHT},
        )
    return PromptPart(words.strip(), weight)
