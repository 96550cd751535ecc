"""Canny's edges beside OpenCV 5.0.0's, which made the digests and the picture here."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.generation.control.preprocessors.conftest import Pixels, Preprocess


def noisy_blocks(seed: int) -> Pixels:
    """A picture of 120 x 124 pixels that is the same everywhere: numpy promises it of ``RandomState``."""
    random = np.random.RandomState(seed)
    colors = random.randint(0, 256, (24, 31, 3)).astype(np.uint8)
    blocks = np.kron(colors, np.ones((5, 4, 1), np.uint8))
    noisy = blocks.astype(int) + random.randint(-9, 10, blocks.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("seed", "low", "high", "digest"),
    [
        (0, 100, 200, "c08e3246c685a467"),
        (1, 40, 300, "138376e9d3568d94"),
        (2, 300, 90, "22309a9b06ec7041"),
        (3, 600, 600, "d67930e0be7e51c0"),
    ],
)
def test_every_pixel_is_opencvs(seed: int, low: int, high: int, digest: str, preprocess: Preprocess) -> None:
    edges = preprocess(noisy_blocks(seed), "canny", low=low, high=high)[..., 0]
    assert 0 < (edges > 0).mean() < 0.5
    assert sha256(edges.tobytes()).hexdigest()[:16] == digest


def test_a_photograph_has_opencvs_edges(cat: Image.Image, preprocess: Preprocess) -> None:
    with Image.open(Path(__file__).with_name("cat-canny-opencv.png")) as reference:
        expected = np.asarray(reference.convert("L"))
    edges = preprocess(cat, "canny")[..., 0]
    assert (edges != expected).mean() < 0.005  # equal where JPEGs are decoded as when it was made


def test_edges_of_a_square_go_around_it(preprocess: Preprocess) -> None:
    square = np.zeros((40, 40, 3), np.uint8)
    square[10:30, 10:30] = 255
    edges = preprocess(square, "canny")[..., 0] > 0
    rows, columns = np.nonzero(edges)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) in ((9, 29, 9, 29), (10, 30, 10, 30))
    assert not edges[13:27, 13:27].any()
    assert not preprocess(np.full((40, 40, 3), 90, np.uint8), "canny").any()


def test_weak_edges_count_where_they_continue_strong_ones(preprocess: Preprocess) -> None:
    step = np.zeros((40, 40, 3), np.uint8)
    step[:20, 20:] = 60  # the gradient is 240
    step[20:, 20:] = 35  # the gradient is 140
    alone = step.copy()
    alone[:20, 20:] = 35
    assert (preprocess(step, "canny")[25:35] > 0).any()
    assert not (preprocess(alone, "canny")[25:35] > 0).any()
