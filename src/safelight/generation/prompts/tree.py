"""What a prompt is once it has been read: a tree of text, emphasis, schedules, alternations and breaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

EMPHASIS = 1.1  # what one pair of round brackets multiplies by, and one pair of square brackets divides by

_SPECIAL_OUTSIDE = re.compile(r"[\\()\[\]]")
_SPECIAL_INSIDE = re.compile(r"[\\()\[\]:|]")
_BREAK_WORD = re.compile(r"\bBREAK\b")


@dataclass(frozen=True, slots=True)
class Text:
    """Words, with their escapes already resolved.

    Attributes:
        text: The words.
        start: Where they begin in what was written, in characters from 0; no part of what they mean.
        end: Where they end there.
    """

    text: str
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Break:
    """The word BREAK: what follows begins a new chunk of tokens."""


@dataclass(frozen=True, slots=True)
class When:
    """The moment of a schedule.

    Attributes:
        value: A share of the steps, or a number of steps.
        share: Which of the two: numbers written with a decimal point are shares.
    """

    value: float
    share: bool

    def step(self, steps: int, earlier: int = 0) -> int:
        """The first step, counted from 0, at which the moment has come; ``steps`` if it never does.

        Args:
            steps: How many steps this pass has, at least 1.
            earlier: How many steps the pass before it had; 0 in the first pass. In a second pass shares
                from 1 to 2 speak of it, and step numbers count on from the first.
        """
        value = (self.value - bool(earlier)) * steps if self.share else self.value - earlier
        return int(min(max(value, 0), steps))

    def __str__(self) -> str:
        return _number(self.value) if self.share else str(int(self.value))


@dataclass(frozen=True, slots=True)
class Emphasis:
    """A part whose words weigh more or less; nested weights multiply.

    Attributes:
        children: The part.
        weight: 0 to 100; 1 changes nothing.
    """

    children: tuple[Node, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One part until a moment, another one from then on; either may be empty."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    when: When


@dataclass(frozen=True, slots=True)
class Alternation:
    """Parts that take turns, one step each."""

    options: tuple[tuple[Node, ...], ...]


Node = Text | Break | Emphasis | Schedule | Alternation


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a prompt that was read otherwise than it may have been meant.

    Attributes:
        at: Where in the text, in characters from 0.
        message: What was done with it.
    """

    at: int
    message: str


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """A prompt that was read.

    Attributes:
        text: As it was written.
        tree: What it means.
        notes: Stray brackets and the like, in the order of the text.
    """

    text: str
    tree: tuple[Node, ...]
    notes: tuple[Note, ...] = ()


def unparse(tree: Sequence[Node]) -> str:
    """The shortest plain way to write a tree: ``parse(unparse(tree)).tree == tree`` for every parsed tree."""
    return "".join(_write(node, _SPECIAL_OUTSIDE) for node in tree)


def _write(node: Node, special: re.Pattern[str]) -> str:
    match node:
        case Text(text):
            return _BREAK_WORD.sub(r"\\BREAK", special.sub(r"\\\g<0>", text))
        case Break():
            return " BREAK "
        case Emphasis(children, weight):
            return _write_emphasis(_inside(children), weight)
        case Schedule(before, after, when):
            start = f"{_inside(before)}:" if before else ""
            return f"[{start}{_inside(after)}:{when}]"
        case Alternation(options):
            return f"[{'|'.join(map(_inside, options))}]"


def _write_emphasis(inside: str, weight: float) -> str:
    if weight == EMPHASIS:
        return f"({inside})"
    return f"[{inside}]" if weight == 1 / EMPHASIS else f"({inside}:{_number(weight)})"


def _inside(nodes: Sequence[Node]) -> str:
    return "".join(_write(node, _SPECIAL_INSIDE) for node in nodes)


def _number(value: float) -> str:
    """Without an exponent and always with a decimal point."""
    return format(Decimal(repr(value)), "f")
