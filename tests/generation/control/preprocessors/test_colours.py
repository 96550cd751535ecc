from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.generation.control.preprocessors.conftest import Preprocess

COLORS = np.array(
    [[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]], np.uint8
)


def test_inverted_twice_a_picture_is_itself(cat: Image.Image, preprocess: Preprocess) -> None:
    once = preprocess(cat, "invert")
    assert np.array_equal(once.astype(int) + np.asarray(cat), np.full_like(once, 255, int))
    assert np.array_equal(preprocess(once, "invert"), np.asarray(cat))


def test_grey_is_pillows(cat: Image.Image, preprocess: Preprocess) -> None:
    found = preprocess(cat, "grey")
    assert np.abs(found[..., 0].astype(int) - np.asarray(cat.convert("L"))).max() <= 1
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("level", [0, 127, 254, 255])
def test_a_threshold_leaves_black_and_white(level: int, cat: Image.Image, preprocess: Preprocess) -> None:
    found = preprocess(cat, "threshold", threshold=level)
    white = (np.asarray(cat) > level).all(axis=2)
    assert np.array_equal(found == 255, np.repeat(white[..., None], 3, axis=2))
    assert {*np.unique(found)} <= {0, 255}


def test_lightness_is_that_of_cielab(preprocess: Preprocess) -> None:
    """L* of white, black, the primaries and middle grey, as tables of CIELAB have them."""
    lightness = preprocess(COLORS, "recolor_luminance")[0, :, 0] / 2.55
    assert lightness == pytest.approx([100, 0, 53.24, 87.73, 32.30, 53.59], abs=0.3)


def test_intensity_is_the_brightest_channel(preprocess: Preprocess) -> None:
    assert preprocess(COLORS, "recolor_intensity")[0, :, 0].tolist() == [255, 0, 255, 255, 255, 128]


@pytest.mark.parametrize("name", ["recolor_luminance", "recolor_intensity"])
def test_gamma_is_an_exponent(name: str, cat: Image.Image, preprocess: Preprocess) -> None:
    plain = preprocess(cat, name) / 255
    assert np.abs(preprocess(cat, name, gamma=2) / 255 - plain**2).max() < 0.006
    assert preprocess(cat, name, gamma=0.5).mean() > preprocess(cat, name).mean()
