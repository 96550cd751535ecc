"""Find the weighted parts of a prompt's source text, for highlighting in an editor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from safelight.generation.prompts.tree import Alternation, Emphasis, Node, ParsedPrompt, Schedule, Text

LAST_BMP_CHARACTER = "\uffff"
"""The last character that is one code unit in UTF-16; characters after it are two."""


@dataclass(frozen=True, slots=True)
class WeightedSpan:
    """A range of text with one weight, without the brackets and numbers around it.

    Attributes:
        start: Start, in UTF-16 code units from 0, as JavaScript counts.
        end: End, exclusive, in the same units.
        weight: 0 to 100, and not 1.
    """

    start: int
    end: int
    weight: float


def weighted_spans(parsed: ParsedPrompt) -> list[WeightedSpan]:
    """Return the weighted ranges of the text, in order; they do not overlap.

    All branches of schedules and alternations are included, whatever the step.
    """
    units = [0, *accumulate(1 + (character > LAST_BMP_CHARACTER) for character in parsed.text)]
    return [
        WeightedSpan(units[text.start], units[text.end], round(weight, 6))
        for text, weight in _weighted_texts(parsed.tree, 1.0)
        if not math.isclose(weight, 1.0)
    ]


def _weighted_texts(nodes: Sequence[Node], weight: float) -> Iterator[tuple[Text, float]]:
    for node in nodes:
        match node:
            case Text():
                yield node, weight
            case Emphasis(children, factor):
                yield from _weighted_texts(children, weight * factor)
            case Schedule(before, after):
                yield from _weighted_texts((*before, *after), weight)
            case Alternation(options):
                for option in options:
                    yield from _weighted_texts(option, weight)
            case _:
                pass
