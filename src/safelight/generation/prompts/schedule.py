"""Evaluate a parsed prompt for each step: its text and weights, with schedules and alternations resolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from safelight.errors import RequestError
from safelight.generation.prompts.tree import Alternation, Break, Emphasis, Node, ParsedPrompt, Schedule, Text


@dataclass(frozen=True, slots=True)
class Segment:
    """Text with one weight.

    Attributes:
        text: The text, never empty.
        weight: 0 to 100; 1 is neutral.
    """

    text: str
    weight: float = 1.0


Segments = tuple[Segment | Break, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive steps with the same text.

    Attributes:
        first_step: The first step, from 0; the phase lasts until the next one.
        segments: The text of these steps.
    """

    first_step: int
    segments: Segments


@dataclass(frozen=True, slots=True)
class _StepPosition:
    step: int
    steps: int
    previous_steps: int


def segments_at(parsed: ParsedPrompt, step: int, steps: int, *, previous_steps: int = 0) -> Segments:
    """Return the text of one step with weights; adjacent texts of the same weight are one segment.

    Args:
        parsed: A parsed prompt.
        step: The step, from 0.
        steps: Number of steps of this pass, at least 1.
        previous_steps: Number of steps of the previous pass, 0 in the first. A second pass (hires, for example)
            continues where the first one ended, as in A1111: fractions from 1 to 2 refer to it.

    Raises:
        RequestError: step or earlier is negative, or steps is not positive.
    """
    if step < 0 or steps < 1 or previous_steps < 0:
        raise RequestError(
            f"There is no step {step} of {steps} after {previous_steps}: steps are counted from 0."
        )
    return tuple(_merge(_flatten(parsed.tree, 1.0, _StepPosition(step, steps, previous_steps))))


def prompt_phases(parsed: ParsedPrompt, steps: int, *, previous_steps: int = 0) -> list[Phase]:
    """Return the phases of a whole pass, as few as possible; the first starts at step 0.

    Raises:
        RequestError: steps is not positive or earlier is negative.
    """
    found = [Phase(0, segments_at(parsed, 0, steps, previous_steps=previous_steps))]
    for step in change_steps(parsed, steps, previous_steps=previous_steps)[1:]:
        segments = segments_at(parsed, step, steps, previous_steps=previous_steps)
        if segments != found[-1].segments:
            found.append(Phase(step, segments))
    return found


def change_steps(parsed: ParsedPrompt, steps: int, *, previous_steps: int = 0) -> list[int]:
    """Return the steps at which the text can change, in order: step 0, and wherever a phase can start.

    Args:
        parsed: A parsed prompt.
        steps: Number of steps of this pass, at least 1.
        previous_steps: Number of steps of the previous pass.
    """
    found = {0}
    for node in walk(parsed.tree):
        if isinstance(node, Alternation):
            return list(range(steps))
        if isinstance(node, Schedule):
            found.add(node.switch.step(steps, previous_steps))
    return sorted(found - {steps})


def is_scheduled(parsed: ParsedPrompt) -> bool:
    """Whether the prompt contains a schedule or an alternation."""
    return any(isinstance(node, Schedule | Alternation) for node in walk(parsed.tree))


def plain_text(parsed: ParsedPrompt, step: int, steps: int, *, previous_steps: int = 0) -> str:
    """Return the text of one step without weights, for text encoders that do not support them; a break is a space.

    Raises:
        RequestError: As for ``segments_at``.
    """
    segments = segments_at(parsed, step, steps, previous_steps=previous_steps)
    return "".join(" " if isinstance(part, Break) else part.text for part in segments)


def is_weighted(segments: Segments) -> bool:
    """Whether any segment has a weight other than 1."""
    return any(isinstance(part, Segment) and part.weight != 1 for part in segments)


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield nodes and all their descendants."""
    for node in nodes:
        yield node
        match node:
            case Emphasis(children):
                yield from walk(children)
            case Schedule(before, after):
                yield from walk((*before, *after))
            case Alternation(options):
                yield from walk([child for option in options for child in option])


def _flatten(nodes: Sequence[Node], weight: float, position: _StepPosition) -> Iterator[Segment | Break]:
    for node in nodes:
        match node:
            case Text(text):
                yield Segment(text, weight)
            case Break():
                yield node
            case Emphasis(children, factor):
                yield from _flatten(children, weight * factor, position)
            case Schedule(before, after, when):
                come = position.step >= when.step(position.steps, position.previous_steps)
                yield from _flatten(after if come else before, weight, position)
            case Alternation(options):
                yield from _flatten(options[position.step % len(options)], weight, position)


def _merge(parts: Iterator[Segment | Break]) -> Iterator[Segment | Break]:
    for weight, run in groupby(parts, key=lambda part: part.weight if isinstance(part, Segment) else None):
        if weight is None:
            yield from run
        else:
            yield Segment("".join(part.text for part in run if isinstance(part, Segment)), weight)
