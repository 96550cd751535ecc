from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from safelight.moderation.tiles import MAX_TILES, tile_boxes, tiles_cover_image

sides = st.integers(1, 5000)


def test_a_panorama() -> None:
    assert tile_boxes(400, 100) == [
        (0, 0, 100, 100),
        (100, 0, 200, 100),
        (200, 0, 300, 100),
        (300, 0, 400, 100),
    ]


def test_tiles_overlap_evenly_where_they_do_not_fit_exactly() -> None:
    assert tile_boxes(100, 250) == [(0, 0, 100, 100), (0, 75, 100, 175), (0, 150, 100, 250)]


def test_a_nearly_square_image_has_none() -> None:
    assert tile_boxes(100, 100) == tile_boxes(109, 100) == tile_boxes(100, 109) == []
    assert len(tile_boxes(110, 100)) == len(tile_boxes(100, 110)) == 2


def test_the_number_of_tiles_is_limited() -> None:
    assert len(tile_boxes(3200, 100)) == len(tile_boxes(100_000, 100)) == MAX_TILES == 32
    assert tiles_cover_image(3200, 100)
    assert not tiles_cover_image(3201, 100)
    assert not tiles_cover_image(100, 3201)


@given(width=sides, height=sides)
def test_tiles_are_squares_flush_with_both_ends(width: int, height: int) -> None:
    short, long = sorted((width, height))
    boxes = tile_boxes(width, height)
    if not boxes:
        assert long / short < 1.1
        return
    for left, top, right, bottom in boxes:
        assert right - left == bottom - top == short
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    assert boxes[0][:2] == (0, 0)
    assert boxes[-1][2:] == (width, height)


@given(width=sides, height=sides)
def test_tiles_cover_every_column_and_row_up_to_the_limit(width: int, height: int) -> None:
    along = 0 if width >= height else 1
    boxes = tile_boxes(width, height)
    gaps = any(after[along] > before[along + 2] for before, after in itertools.pairwise(boxes))
    assert gaps is not tiles_cover_image(width, height) or not boxes


@given(width=sides, height=sides)
def test_rotating_an_image_rotates_its_tiles(width: int, height: int) -> None:
    if width != height:
        turned = [(top, left, bottom, right) for left, top, right, bottom in tile_boxes(width, height)]
        assert turned == tile_boxes(height, width)
