from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from PIL import Image
from tests.hypothesis_profiles import example_count

from safelight.moderation.classifiers.resampling import resize_part

sides = st.integers(1, 300)
FILTERS = list(Image.Resampling)


def picture(width: int, height: int, hard: bool) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray((pixels > 127).astype(np.uint8) * 255 if hard else pixels)


def assert_equals_pillow(
    source: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], filter_: Image.Resampling
) -> None:
    expected = np.asarray(source.resize(size, filter_).crop(part))
    np.testing.assert_array_equal(np.asarray(resize_part(source, size, part, filter_)), expected)


@pytest.mark.parametrize("filter_", FILTERS, ids=lambda filter_: filter_.name)
@given(width=sides, height=sides, size=st.tuples(sides, sides), hard=st.booleans(), data=st.data())
@budget(max_examples=example_count(60))
def test_a_part_equals_pillows_resize_of_the_whole(
    filter_: Image.Resampling, width: int, height: int, size: tuple[int, int], hard: bool, data: st.DataObject
) -> None:
    left, top = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    right, bottom = data.draw(st.integers(left + 1, size[0])), data.draw(st.integers(top + 1, size[1]))
    assert_equals_pillow(picture(width, height, hard), size, (left, top, right, bottom), filter_)


@pytest.mark.parametrize("filter_", FILTERS, ids=lambda filter_: filter_.name)
@given(width=st.integers(1, 12), height=st.integers(300, 2000), hard=st.booleans())
@example(2, 201, False)  # Pillow shrinks images taller than a hundred widths in height first
@example(2, 200, False)
@budget(max_examples=example_count(20))
def test_strips_in_both_orientations(filter_: Image.Resampling, width: int, height: int, hard: bool) -> None:
    upright = picture(width, height, hard)
    assert_equals_pillow(upright, (40, 150), (1, 60, 39, 100), filter_)
    assert_equals_pillow(upright, (40, 3000), (0, 1480, 40, 1520), filter_)
    assert_equals_pillow(upright.transpose(Image.Transpose.ROTATE_90), (150, 40), (60, 1, 100, 39), filter_)


@pytest.mark.parametrize(
    "filter_", [f for f in FILTERS if f != Image.Resampling.NEAREST], ids=lambda filter_: filter_.name
)
def test_a_photograph_in_a_long_strip(filter_: Image.Resampling) -> None:
    """At the lengths of real files: a screenshot of a whole conversation."""
    assert_equals_pillow(picture(360, 20_000, hard=False), (224, 12_444), (0, 6110, 224, 6334), filter_)
