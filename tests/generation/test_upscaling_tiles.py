from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import example_count

from safelight.errors import RequestError
from safelight.generation.upscaling.tiles import Tiling, upscale_in_tiles


def test_the_border_of_a_tile_is_not_used() -> None:
    """A quarter of the overlap, where a convolution sees padding instead of the image."""
    picture = np.random.default_rng(0).integers(0, 256, (150, 131, 3), np.uint8)

    def enlarge(tile: np.ndarray) -> np.ndarray:
        ruined = np.full((tile.shape[0] * 2, tile.shape[1] * 2, 3), 255, np.float32)
        ruined[8:-8, 8:-8] = tile.repeat(2, 0).repeat(2, 1)[8:-8, 8:-8]
        return ruined

    result = upscale_in_tiles(picture, 2, Tiling(tile=48, overlap=16), enlarge)
    assert (result[8:-8, 8:-8] == picture.repeat(2, 0).repeat(2, 1)[8:-8, 8:-8]).all()


def test_an_unavoidable_seam_is_blended() -> None:
    """Tiles that differ as a whole fade into each other instead of meeting in an edge."""
    flat = np.zeros((40, 200, 3), np.uint8)
    made = iter(range(0, 250, 50))

    def enlarge(tile: np.ndarray) -> np.ndarray:
        return np.full((tile.shape[0] * 2, tile.shape[1] * 2, 3), next(made), np.float32)

    row = upscale_in_tiles(flat, 2, Tiling(tile=64, overlap=16), enlarge)[0, :, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 150
    assert np.diff(row).min() >= 0
    assert np.diff(row).max() <= 8


@given(
    length=st.integers(1, 700),
    tile=st.integers(1, 200),
    share=st.floats(0, 1 / 3),
    multiple=st.sampled_from([1, 2, 8, 64]),
    scale=st.integers(1, 3),
)
def test_weights_of_overlapping_tiles_sum_to_one(
    length: int, tile: int, share: float, multiple: int, scale: int
) -> None:
    overlap = int(tile * share)
    cut = Tiling(tile, overlap, multiple).split_axis(length)
    total = np.zeros(length * scale)
    for start, weights in zip(cut.starts, cut.weights(scale), strict=True):
        assert weights.min() >= 0
        total[start * scale : (start + cut.size) * scale] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert cut.starts[0] == 0
    assert cut.starts[-1] + cut.size == length
    assert cut.size <= min(length, -(-tile // multiple) * multiple)
    assert cut.size == length or cut.size % multiple == 0
    shared = [a + cut.size - b for a, b in zip(cut.starts, cut.starts[1:], strict=False)]
    assert all(each >= overlap for each in shared)


@given(height=st.integers(1, 90), width=st.integers(1, 90), overlap=st.integers(0, 8), seed=st.integers(0, 9))
@hypothesis_settings(max_examples=example_count(40))
def test_merging_tiles_loses_nothing(height: int, width: int, overlap: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    twice = picture.repeat(2, 0).repeat(2, 1)

    def enlarge(tile: np.ndarray) -> np.ndarray:
        return tile.repeat(2, 0).repeat(2, 1).astype(np.float32)

    assert (upscale_in_tiles(picture, 2, Tiling(24, overlap), enlarge) == twice).all()


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (90, 31), (64, -1)])
def test_tiles_that_would_overlap_too_much_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(RequestError, match="overlap"):
        Tiling(tile, overlap)
