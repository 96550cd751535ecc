from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.generation.control.preprocessors.conftest import Preprocess


def test_a_tile_without_downsampling_is_the_picture(cat: Image.Image, preprocess: Preprocess) -> None:
    assert np.array_equal(preprocess(cat, "tile"), np.asarray(cat))


def test_a_tile_loses_the_detail_of_smaller_pixels(preprocess: Preprocess) -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = preprocess(np.repeat(board[..., None], 3, axis=2), "tile", downsampling=4)
    assert {*np.unique(found)} <= {127, 128}  # the mean of black and white
    steps = np.repeat(np.arange(0, 256, 16, dtype=np.uint8), 16)
    wide = np.broadcast_to(steps[None, :, None], (64, 256, 3)).copy()
    assert np.abs(preprocess(wide, "tile", downsampling=2).astype(int) - wide).mean() < 2


def test_a_blurred_point_is_a_gaussian(preprocess: Preprocess) -> None:
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    found = preprocess(point, "blur", sigma=2)[..., 0]
    across = np.arange(65) - 32
    bell = np.exp(-(across**2) / (2 * 2.0**2))
    expected = 255 * np.outer(bell, bell) / bell.sum() ** 2
    assert np.abs(found - expected).max() <= 1


def test_a_blur_keeps_plain_pictures_and_mirrors_at_the_edges(preprocess: Preprocess) -> None:
    plain = np.full((30, 50, 3), (200, 10, 99), np.uint8)
    assert np.array_equal(preprocess(plain, "blur"), plain)


@pytest.mark.parametrize("cell", [16, 50])
def test_a_colour_grid_has_the_mean_of_each_cell(cell: int, cat: Image.Image, preprocess: Preprocess) -> None:
    pixels = np.asarray(cat)[: 2 * cell, : 3 * cell]
    found = preprocess(pixels, "color_grid", cell=cell)
    for row in range(2):
        for column in range(3):
            part = np.s_[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            assert np.ptp(found[part], axis=(0, 1)).max() == 0
            assert np.abs(found[part][0, 0] - pixels[part].mean(axis=(0, 1))).max() <= 1


def test_a_shuffle_moves_colours_and_adds_none(cat: Image.Image, preprocess: Preprocess) -> None:
    pixels = np.asarray(cat)
    first = preprocess(cat, "shuffle", seed=7)
    assert np.array_equal(first, preprocess(cat, "shuffle", seed=7))
    assert (first != preprocess(cat, "shuffle", seed=8)).mean() > 0.5
    assert (first != pixels).mean() > 0.5
    for channel in range(3):
        assert pixels[..., channel].min() <= first[..., channel].min()
        assert first[..., channel].max() <= pixels[..., channel].max()
    coded = np.zeros((300, 400, 3), np.uint8)
    coded[:150, :, 0] = coded[:, 200:, 1] = 255
    found = preprocess(coded, "shuffle", seed=3)
    assert {tuple(color) for color in np.unique(found.reshape(-1, 3), axis=0) if set(color) <= {0, 255}} == {
        (0, 0, 0),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
    }


def test_a_shuffle_reaches_from_edge_to_edge(preprocess: Preprocess) -> None:
    """Its smallest and its largest displacement name the first and the last row and column."""
    ramp = np.zeros((256, 256, 3), np.uint8)
    ramp[..., 0] = np.arange(256)[None, :]
    ramp[..., 1] = np.arange(256)[:, None]
    found = preprocess(ramp, "shuffle")
    assert [found[..., each].min() for each in (0, 1)] == [0, 0]
    assert [found[..., each].max() for each in (0, 1)] == [255, 255]
