from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.generation.comparison import MAX_DIFFERING_FRACTION, MAX_LEVEL_DIFFERENCE, within_tolerance

GREY = np.full((50, 20, 3), 128, np.uint8)
MOST = int(MAX_DIFFERING_FRACTION * GREY.size)


@given(st.integers(0, 10), st.integers(-3, 3))
def test_a_few_small_differences_are_near(count: int, by: int) -> None:
    other = GREY.copy()
    other.reshape(-1)[:count] = 128 + by
    expected = count == 0 or by == 0 or (count <= MOST and abs(by) <= MAX_LEVEL_DIFFERENCE)
    assert within_tolerance(GREY, other) == expected
    assert within_tolerance(other, GREY) == expected


def test_black_is_not_near_white() -> None:
    black, white = np.zeros_like(GREY), np.full_like(GREY, 255)
    assert not within_tolerance(black, white)


@pytest.mark.parametrize("shape", [(20, 50, 3), (50, 20), (50, 20, 4)])
def test_another_size_is_never_near(shape: tuple[int, ...]) -> None:
    assert not within_tolerance(GREY, np.full(shape, 128, np.uint8))
