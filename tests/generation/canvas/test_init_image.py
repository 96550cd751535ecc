from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight.errors import MaskError
from safelight.generation.canvas.init_image import InitImage, check_inputs, make_init_image
from safelight.generation.request import GenerationRequest

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8))
MASK = Image.new("L", PICTURE.size, 0)
MASK.paste(255, (80, 30, 120, 60))


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.parse(**({"prompt": "", "init_image": PICTURE} | fields))


def test_text_to_image_has_no_initial_image() -> None:
    asked = GenerationRequest.parse(prompt="")
    assert make_init_image(asked, None, None, 7, (64, 64), 8) == InitImage()
    assert asked.canvas_size(None) is None
    assert InitImage().finished(PICTURE) is PICTURE


def test_an_initial_image_is_cropped_without_distortion() -> None:
    start = make_init_image(request(), PICTURE, None, 7, (64, 64), 8)
    middle = PICTURE.crop((55, 0, 145, 90)).resize((64, 64), Image.Resampling.LANCZOS)
    assert start.image is not None
    inner = (slice(None), slice(8, -8))  # at its edges the filter sees what a crop has not
    assert np.abs(np.asarray(start.image).astype(int) - np.asarray(middle))[inner].max() <= 2
    assert start.mask is None
    assert start.finished(PICTURE) is PICTURE


def test_a_mask_and_its_image_reach_the_network() -> None:
    start = make_init_image(request(mask=MASK), PICTURE, MASK, 7, (200, 88), 8)
    assert start.image is not None
    assert start.mask is not None
    assert start.image.size == start.mask.size == (200, 88)
    assert start.finished(Image.new("RGB", (200, 88))).size == PICTURE.size


def test_a_masked_area_alone_is_scaled_to_the_requests_size() -> None:
    fields = {"mask": MASK, "inpaint": {"only_masked": True, "padding": 5, "blur": 0}}
    start = make_init_image(request(**fields), PICTURE, MASK, 7, (80, 80), 8)
    assert start.canvas is not None
    assert start.canvas.box == (75, 20, 125, 70)
    assert start.image == PICTURE.crop((75, 20, 125, 70)).resize((80, 80), Image.Resampling.LANCZOS)
    done = np.asarray(start.finished(Image.new("RGB", (80, 80), (255, 0, 0))))
    assert (done[30:60, 80:120] == (255, 0, 0)).all()
    untouched = np.asarray(MASK) == 0
    assert np.array_equal(done[untouched], np.asarray(PICTURE)[untouched])


def test_outpainting_uses_the_larger_canvas() -> None:
    asked = request(outpaint={"left": 10, "top": 6})
    assert asked.canvas_size(PICTURE.size) == (210, 96)
    start = make_init_image(asked, PICTURE, None, 7, (208, 96), 8)
    assert start.image is not None
    assert start.image.size == (208, 96)
    assert start.finished(Image.new("RGB", (208, 96))).size == (210, 96)
    assert request().canvas_size(PICTURE.size) == (200, 90)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(MaskError):
        make_init_image(request(mask=MASK), PICTURE, MASK.resize((64, 64)), 7, (64, 64), 8)


def test_impossible_combinations_are_found_beforehand() -> None:
    check_inputs(request(mask=MASK), PICTURE, MASK)
    check_inputs(request(outpaint={"left": 1}), PICTURE, None)
    check_inputs(GenerationRequest.parse(prompt=""), None, None)
    for asked, mask in (
        (request(mask=MASK), MASK.resize((64, 64))),
        (request(mask=MASK, inpaint={"invert": True}), Image.new("L", PICTURE.size, 255)),
        (request(outpaint={}), None),
    ):
        with pytest.raises(MaskError):
            check_inputs(asked, PICTURE, mask)
