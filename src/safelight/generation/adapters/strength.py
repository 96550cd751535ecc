"""Strengths of adapters: a number, or points between which the strength changes from step to step."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

MAX_STRENGTH = 100.0
"""The largest strength, and the largest negative one."""
MAX_POINTS = 100
_NUMBER = r"[+-]?(?:[0-9]{1,6}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
_POINT = rf"{_NUMBER}(?:@(?:[0-9]{{1,6}}(?:\.[0-9]{{0,9}})?|\.[0-9]{{1,9}}))?"
SCHEDULE_PATTERN = rf"^{_POINT}(?:,{_POINT})*$"
_SCHEDULE = re.compile(SCHEDULE_PATTERN)

StrengthValue = float | str
"""A number, or points as text: ``0.2@0,1@0.5``."""


@dataclass(frozen=True, slots=True)
class Strength:
    """A strength at each step of a pass.

    Attributes:
        points: (position, strength), by position; one point for a strength that does not change. Between two points the
            strength changes linearly; before the first and after the last it is theirs.
        by_fraction: Whether positions are fractions of the pass's steps, and not steps: so they are if none is above 1.
    """

    points: tuple[tuple[float, float], ...]
    by_fraction: bool = True

    @property
    def is_constant(self) -> bool:
        """Whether it is the same at every step."""
        return len({strength for _, strength in self.points}) == 1

    def at(self, step: int, steps: int) -> float:
        """The strength at a step.

        Args:
            step: The step, from 0.
            steps: Steps of this pass, at least 1.
        """
        position = step / steps if self.by_fraction else float(step)
        index = bisect_right(self.points, position, key=lambda point: point[0])
        if index == 0:
            return self.points[0][1]
        if index == len(self.points):
            return self.points[-1][1]
        (start, before), (end, after) = self.points[index - 1 : index + 1]
        return before + (after - before) * (position - start) / (end - start)


def parse_strength(value: StrengthValue) -> Strength:
    """A strength from a number, or from points as text.

    A point is ``strength@position``; a point without a position is the last one, at 1.

    Raises:
        ValueError: It is neither, a strength is out of range, or two points have one position.
    """
    if not isinstance(value, str):
        return Strength(((0.0, _checked(float(value))),))
    if len(value) > MAX_POINTS * 20 or not _SCHEDULE.match(value):
        raise ValueError(f"{value[:60]!r} is no strength: give a number, or points such as 0.2@0,1@0.5")
    pairs = [point.split("@") for point in value.split(",")]
    if len(pairs) == 1 and len(pairs[0]) == 1:
        return parse_strength(float(value))
    points = sorted((float(pair[1]) if len(pair) == 2 else 1.0, _checked(float(pair[0]))) for pair in pairs)
    positions = [position for position, _ in points]
    if len(points) > MAX_POINTS or len(set(positions)) < len(positions):
        raise ValueError(f"{value[:60]!r} has two points at one position, or more than {MAX_POINTS}")
    return Strength(tuple(points), by_fraction=positions[-1] <= 1)


def format_strength(value: StrengthValue) -> str:
    """A strength as a prompt has it, with nine decimals at most."""
    return value if isinstance(value, str) else f"{value:.9f}".rstrip("0").rstrip(".")


def _checked(strength: float) -> float:
    if not -MAX_STRENGTH <= strength <= MAX_STRENGTH:
        raise ValueError(f"the strength {strength:g} is not between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}")
    return strength
