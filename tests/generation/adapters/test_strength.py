from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.generation.adapters.strength import format_strength, parse_strength


@pytest.mark.parametrize(
    ("value", "steps", "strengths"),
    [
        (0.8, 3, [0.8, 0.8, 0.8]),
        ("0.8", 2, [0.8, 0.8]),
        ("-1@0", 2, [-1, -1]),
        ("0.2@0,1@0.5", 4, [0.2, 0.6, 1, 1]),
        ("1@0.5,0@0", 4, [0, 0.5, 1, 1]),
        ("0@0,1", 4, [0, 0.25, 0.5, 0.75]),
        ("0@2,1@4", 6, [0, 0, 0, 0.5, 1, 1]),
        ("0@0,2@1.5", 3, [0, 4 / 3, 2]),
    ],
)
def test_strengths_by_step(value: float | str, steps: int, strengths: list[float]) -> None:
    strength = parse_strength(value)
    assert [strength.at(step, steps) for step in range(steps)] == pytest.approx(strengths)
    assert strength.is_constant == (len(set(strengths)) == 1)


@pytest.mark.parametrize(
    "value",
    ["", "x", "1@", "@1", "1@-1", "1,,2", "1@0,2@0", 101.0, "101", float("nan"), ",".join(["1@1"] * 2000)],
)
def test_what_is_no_strength(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"strength|points"):
        parse_strength(value)


@given(
    st.lists(
        st.tuples(st.floats(0, 1).map(lambda x: round(x, 3)), st.floats(-2, 2).map(lambda x: round(x, 3))),
        min_size=1,
        max_size=5,
        unique_by=lambda point: point[0],
    ),
    st.integers(1, 30),
)
def test_points_are_interpolated_as_numpy_does(points: list[tuple[float, float]], steps: int) -> None:
    written = ",".join(f"{strength:.3f}@{position:.3f}" for position, strength in points)
    ours = [parse_strength(written).at(step, steps) for step in range(steps)]
    positions, strengths = zip(*sorted(points), strict=True)
    assert ours == pytest.approx(list(np.interp(np.arange(steps) / steps, positions, strengths)), abs=1e-9)


@given(st.floats(-100, 100))
def test_a_formatted_number_has_nine_decimals(value: float) -> None:
    ((_, strength),) = parse_strength(format_strength(value)).points
    assert strength == pytest.approx(value, abs=1e-9)
