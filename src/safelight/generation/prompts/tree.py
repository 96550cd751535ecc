"""The syntax tree of a parsed prompt: text, emphasis, schedules, alternations and breaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

EMPHASIS = 1.1  # round brackets multiply the weight by it, square brackets divide by it

_ESCAPED_OUTSIDE_BRACKETS = re.compile(r"[\\()\[\]]")
_ESCAPED_INSIDE_BRACKETS = re.compile(r"[\\()\[\]:|]")
_BREAK_WORD = re.compile(r"\bBREAK\b")


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, with escapes resolved.

    Attributes:
        text: The text.
        start: Start in the source text, in characters from 0; ignored in comparisons.
        end: End in the source text, exclusive; ignored in comparisons.
    """

    text: str
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Break:
    """The word BREAK: the text after it starts a new chunk of tokens."""


@dataclass(frozen=True, slots=True)
class SwitchTime:
    """The time at which a schedule switches.

    Attributes:
        value: A fraction of the steps, or a number of steps.
        is_fraction: Whether it is a fraction: numbers written with a decimal point are.
    """

    value: float
    is_fraction: bool

    def step(self, steps: int, previous_steps: int = 0) -> int:
        """Return the first step, from 0, after the switch; ``steps`` if there is none.

        Args:
            steps: Number of steps of this pass, at least 1.
            previous_steps: Number of steps of the previous pass; 0 in the first pass. Fractions from 1 to 2 refer to
                the second pass, and step numbers continue from the first.
        """
        value = (
            (self.value - bool(previous_steps)) * steps if self.is_fraction else self.value - previous_steps
        )
        return int(min(max(value, 0), steps))

    def __str__(self) -> str:
        return _format_number(self.value) if self.is_fraction else str(int(self.value))


@dataclass(frozen=True, slots=True)
class Emphasis:
    """A part with a weight; nested weights multiply.

    Attributes:
        children: The nodes of the part.
        weight: 0 to 100; 1 is neutral.
    """

    children: tuple[Node, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One part before a time and another from then on; either may be empty."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    switch: SwitchTime


@dataclass(frozen=True, slots=True)
class Alternation:
    """Parts that alternate, one step each."""

    options: tuple[tuple[Node, ...], ...]


Node = Text | Break | Emphasis | Schedule | Alternation


@dataclass(frozen=True, slots=True)
class ParseNote:
    """A warning about a part of a prompt that may have been meant differently.

    Attributes:
        position: Position in the source text, in characters from 0.
        message: How the part was interpreted.
    """

    position: int
    message: str


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """A parsed prompt.

    Attributes:
        text: The source text.
        tree: The syntax tree.
        notes: Warnings about unbalanced brackets and the like, in the order of the text.
    """

    text: str
    tree: tuple[Node, ...]
    notes: tuple[ParseNote, ...] = ()


def unparse(tree: Sequence[Node]) -> str:
    """Format a tree as prompt text: ``parse(unparse(tree)).tree == tree`` for every parsed tree."""
    return "".join(_format_node(node, _ESCAPED_OUTSIDE_BRACKETS) for node in tree)


def _format_node(node: Node, escaped: re.Pattern[str]) -> str:
    match node:
        case Text(text):
            return _BREAK_WORD.sub(r"\\BREAK", escaped.sub(r"\\\g<0>", text))
        case Break():
            return " BREAK "
        case Emphasis(children, weight):
            return _format_emphasis(_format_nodes(children), weight)
        case Schedule(before, after, when):
            start = f"{_format_nodes(before)}:" if before else ""
            return f"[{start}{_format_nodes(after)}:{when}]"
        case Alternation(options):
            return f"[{'|'.join(map(_format_nodes, options))}]"


def _format_emphasis(inside: str, weight: float) -> str:
    if weight == EMPHASIS:
        return f"({inside})"
    return f"[{inside}]" if weight == 1 / EMPHASIS else f"({inside}:{_format_number(weight)})"


def _format_nodes(nodes: Sequence[Node]) -> str:
    return "".join(_format_node(node, _ESCAPED_INSIDE_BRACKETS) for node in nodes)


def _format_number(value: float) -> str:
    """Format a number without an exponent and with a decimal point."""
    return format(Decimal(repr(value)), "f")
