from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.generation.control.preprocessors.conftest import Pixels, Preprocess


def page_with_line(line: int, page: int = 255) -> Pixels:
    pixels = np.full((80, 80, 3), page, np.uint8)
    pixels[39:41, 10:70] = line
    return pixels


@pytest.mark.parametrize("name", ["scribble", "line_art"])
def test_a_dark_line_is_found_and_a_light_one_is_not(name: str, preprocess: Preprocess) -> None:
    found = preprocess(page_with_line(0), name)[..., 0]
    assert found[39:41, 15:65].min() > 100
    assert not found[:20].any()
    assert not found[60:].any()
    light = preprocess(page_with_line(255, page=0), name)[..., 0]
    assert not light[39:41, 15:65].any()


def test_a_scribble_has_two_colours_and_fewer_lines_at_a_higher_threshold(
    cat: Image.Image, preprocess: Preprocess
) -> None:
    shares = []
    for threshold in (16, 32, 64):
        found = preprocess(cat, "scribble", threshold=threshold)
        assert {*np.unique(found)} == {0, 255}
        shares.append((found > 0).mean())
    assert shares == sorted(shares, reverse=True)
    assert 0.01 < shares[1] < 0.2


def test_lines_of_median_strength_are_half_bright(preprocess: Preprocess) -> None:
    found = preprocess(page_with_line(0), "line_art")[..., 0]
    assert np.median(found[39:41, 15:65]) == pytest.approx(127, abs=3)


def test_faint_lines_stay_faint(preprocess: Preprocess) -> None:
    """The least strength that is brought to half brightness is 16, so that noise is not taken for lines."""
    assert 0 < preprocess(page_with_line(248), "line_art", threshold=0).max() < 127
