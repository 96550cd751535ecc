r"""Textual inversions in prompts: names that stand for vectors, as A1111 and ComfyUI write them.

    a cat, easynegative             the name of a file in embeddings/, in any case, as a whole word (A1111)
    a cat, embedding:easynegative   the same, where there has to be one of that name (ComfyUI)

A backslash before the name makes it plain text. Where a name stands is marked in the prompt by one character before the
prompt is parsed, so that brackets and colons are read as ever. Each vector takes the place of one token.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

_FIRST_MARK = 0xF0000
"""Marks are characters of a private area of Unicode, beyond those that fonts use."""
MAX_INVERSIONS = 1000
_MARKED = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + MAX_INVERSIONS - 1)}]")
_NAMED = re.compile(r"\\.|(?<!\w)embedding:(?P<name>[^\s,:()\[\]{}|<>\\]+)", re.DOTALL | re.IGNORECASE)
_SUFFIXES = r"(?:\.(?:safetensors|pt|bin))"
_SUFFIX = re.compile(rf"{_SUFFIXES}$", re.IGNORECASE)


@dataclass(frozen=True)
class Inversions:
    """The textual inversions that a prompt may name.

    Args:
        counts: How many vectors each has, by the name that stands in prompts.
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    def mark(self, prompt: str) -> str:
        """A prompt with a mark in place of each name."""
        if not self.counts:
            return prompt
        return self._pattern.sub(
            lambda match: match[0] if match["name"] is None else self._mark_of(match["name"]), prompt
        )

    def split(self, text: str) -> Iterator[str | tuple[int, ...]]:
        """The parts of marked text in order: plain text, and the ids of the vectors of an inversion."""
        start = 0
        for match in _MARKED.finditer(text) if self.counts else ():
            if (index := ord(match[0]) - _FIRST_MARK) < len(self._ids):
                yield text[start : match.start()]
                yield self._ids[index]
                start = match.end()
        yield text[start:]

    def name_of(self, vector: int) -> str:
        """How an id is shown: the inversion's name, with the number of the vector where it has several."""
        for name, ids in zip(self._names, self._ids, strict=True):
            if vector in ids:
                return name if len(ids) == 1 else f"{name} {ids.index(vector) + 1}/{len(ids)}"
        raise KeyError(vector)

    def readable(self, text: str) -> str:
        """Marked text with names in place of marks."""
        return "".join(
            part if isinstance(part, str) else self.name_of(part[0]).partition(" ")[0]
            for part in self.split(text)
        )

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(self.counts))

    @cached_property
    def _ids(self) -> tuple[tuple[int, ...], ...]:
        """The ids of each inversion's vectors: negative, since vocabularies begin at 0."""
        found, first = [], -1
        for name in self._names:
            count = self.counts[name]
            found.append(tuple(range(first, first - count, -1)))
            first -= count
        return tuple(found)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self._names, key=len, reverse=True)
        names = "|".join(map(re.escape, longest))
        return re.compile(
            rf"\\(?:embedding:)?(?:{names})|\\.|(?<!\w)(?:embedding:)?(?P<name>{names}){_SUFFIXES}?(?!\w)",
            re.DOTALL | re.IGNORECASE,
        )

    def _mark_of(self, name: str) -> str:
        folded = name.casefold()
        index = next(i for i, each in enumerate(self._names) if each.casefold() == folded)
        return chr(_FIRST_MARK + index)


NO_INVERSIONS = Inversions()


def escape_names(names: Iterable[str], prompt: str) -> str:
    """A prompt with a backslash before those of some names that occur in it, which makes them plain text."""
    known = Inversions(dict.fromkeys(names, 1))
    if not known.counts:
        return prompt
    return known._pattern.sub(lambda match: match[0] if match["name"] is None else f"\\{match[0]}", prompt)


def escape_required(prompt: str, used: Collection[str]) -> str:
    """A prompt with a backslash before each ``embedding:name`` but those of some names."""

    def escape(match: re.Match[str]) -> str:
        known = match["name"] is None or _SUFFIX.sub("", match["name"]) in used
        return match[0] if known else f"\\{match[0]}"

    return _NAMED.sub(escape, prompt)


def with_plain_names(prompt: str) -> str:
    """A prompt without ``embedding:`` before names, whose colon would be read as that of a bracket."""
    return _NAMED.sub(lambda match: match["name"] or match[0], prompt)


def required_names(prompt: str) -> list[str]:
    """The names after ``embedding:``, of which there have to be textual inversions; without suffixes."""
    found = (match["name"] for match in _NAMED.finditer(prompt))
    return list(dict.fromkeys(_SUFFIX.sub("", name) for name in found if name))


def names_in(names: Iterable[str], prompt: str) -> set[str]:
    """Those of some names that occur in a prompt."""
    known = Inversions(dict.fromkeys(names, 1))
    marked = known.mark(prompt)
    return {name for name in known.counts if known._mark_of(name) in marked}
