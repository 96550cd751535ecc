from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from safelight.errors import AboveMaximumError, BelowMinimumError
from safelight.generation.control.preprocessors.resolution import (
    MAX_PIXELS,
    at_resolution,
    pixel_perfect_resolution,
    working_size,
)


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((300, 200), None, (300, 200)),
        ((300, 200), 100, (150, 100)),
        ((200, 300), 400, (400, 600)),
        ((1, 1), None, (1, 1)),
        ((8192, 4096), None, (4096, 2048)),
    ],
)
def test_the_shorter_side_is_the_resolution(
    size: tuple[int, int], resolution: int | None, expected: tuple[int, int]
) -> None:
    assert working_size(size, resolution) == expected


def test_large_pictures_are_reduced_or_refused() -> None:
    width, height = working_size((60000, 1000), None)
    assert width * height <= MAX_PIXELS * 1.01
    with pytest.raises(AboveMaximumError) as caught:
        working_size((60000, 1000), 512)
    assert caught.value.field == "resolution"
    largest = caught.value.context["maximum"]
    assert working_size((60000, 1000), largest)[1] == largest


@pytest.mark.parametrize(("resolution", "error"), [(63, BelowMinimumError), (2049, AboveMaximumError)])
def test_resolutions_have_a_range(resolution: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        working_size((512, 512), resolution)


def test_a_smaller_picture_is_the_mean_of_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    small = np.asarray(at_resolution(Image.fromarray(pixels), 64))
    expected = pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 1


@pytest.mark.parametrize(
    ("size", "target", "fit", "expected"),
    [
        ((1000, 500), (512, 512), False, 512),  # covers the square: twice as wide
        ((1000, 500), (512, 512), True, 256),  # lies within it
        ((512, 768), (512, 768), False, 512),
        ((100, 100), (10000, 10000), False, 2048),
        ((1000, 1000), (16, 16), False, 64),
    ],
)
def test_pixel_perfect(size: tuple[int, int], target: tuple[int, int], fit: bool, expected: int) -> None:
    assert pixel_perfect_resolution(size, target, fit=fit) == expected
