"""Where in a prompt the words are that weigh more or less than others, as somebody wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from safelight.generation.prompts.tree import Alternation, Emphasis, Node, ParsedPrompt, Schedule, Text

LAST_OF_ONE_UNIT = "\uffff"
"""Characters beyond it are two units in UTF-16."""


@dataclass(frozen=True, slots=True)
class Span:
    """Words of one weight; brackets and numbers around them are no part of it.

    Attributes:
        start: Where they begin, in UTF-16 code units from 0, as JavaScript counts.
        end: Where they end.
        weight: 0 to 100, and not 1.
    """

    start: int
    end: int
    weight: float


def weighted_spans(parsed: ParsedPrompt) -> list[Span]:
    """The words that are weighed, in the order of the text; no two of them overlap.

    Of schedules and alternations all parts are looked at, whenever their turn is.
    """
    units = [0, *accumulate(1 + (character > LAST_OF_ONE_UNIT) for character in parsed.text)]
    return [
        Span(units[text.start], units[text.end], round(weight, 6))
        for text, weight in _weighed(parsed.tree, 1.0)
        if not math.isclose(weight, 1.0)
    ]


def _weighed(nodes: Sequence[Node], weight: float) -> Iterator[tuple[Text, float]]:
    for node in nodes:
        match node:
            case Text():
                yield node, weight
            case Emphasis(children, factor):
                yield from _weighed(children, weight * factor)
            case Schedule(before, after):
                yield from _weighed((*before, *after), weight)
            case Alternation(options):
                for option in options:
                    yield from _weighed(option, weight)
            case _:
                pass
