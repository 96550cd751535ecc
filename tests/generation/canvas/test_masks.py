from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import MaskError
from safelight.generation.canvas.masks import (
    Box,
    Canvas,
    blur_fill,
    fill_masked,
    inpainting_canvas,
    outpainting_canvas,
    padded_box,
)
from safelight.generation.request import Inpaint, Outpaint

SIZE = (160, 120)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))
GREEN = Image.new("RGB", (64, 64), (0, 255, 0))


def make_mask(*boxes: Box, size: tuple[int, int] = SIZE) -> Image.Image:
    mask = Image.new("L", size, 0)
    for box in boxes:
        mask.paste(255, box)
    return mask


def canvas(mask: Image.Image, picture: Image.Image = PICTURE, **options: Any) -> Canvas:
    return inpainting_canvas(picture, mask, Inpaint(**options), 7, (64, 64))


def changed_pixels(canvas: Canvas, drawn: Image.Image = GREEN) -> np.ndarray:
    """Where compositing the generated part changes the original: bool [height, width]."""
    return (np.asarray(canvas.composite(drawn)) != np.asarray(canvas.original)).any(-1)


def test_without_blur_only_the_white_part_changes() -> None:
    found = changed_pixels(canvas(make_mask((40, 30, 80, 70)), blur=0))
    assert found[30:70, 40:80].all()
    found[30:70, 40:80] = False
    assert not found.any()


@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("blur", [1, 4, 12])
def test_no_pixel_changes_where_the_soft_mask_is_black(blur: int, only_masked: bool) -> None:
    at = canvas(make_mask((70, 50, 90, 70)), blur=blur, only_masked=only_masked, padding=0)
    found = changed_pixels(at)
    assert found[55:65, 75:85].all()
    assert not found[np.asarray(at.soft_mask) == 0].any()
    reach = 4 * blur
    assert not found[: 50 - reach].any()
    assert not found[70 + reach :].any()
    assert not found[:, : 70 - reach].any()


@pytest.mark.parametrize("blur", [0, 4, 12])
def test_the_box_contains_the_soft_edge(blur: int) -> None:
    at = canvas(make_mask((70, 50, 90, 70)), blur=blur, only_masked=True, padding=0)
    left, top, right, bottom = at.box
    outside = np.asarray(at.soft_mask).copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()
    assert (right - left) * (bottom - top) < SIZE[0] * SIZE[1]


def test_padding_includes_the_surroundings() -> None:
    mask = make_mask((70, 50, 90, 70))
    near = canvas(mask, blur=0, only_masked=True, padding=0).box
    wide = canvas(mask, blur=0, only_masked=True, padding=10).box
    assert near == (70, 50, 90, 70)
    assert wide == (60, 40, 100, 80)
    assert canvas(mask, blur=0, padding=10).box == (0, 0, *SIZE)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 400),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.data(),
)
def test_a_padded_box_lies_inside_the_image_and_contains_the_mask(
    width: int, height: int, padding: int, shape: tuple[int, int], data: st.DataObject
) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    extent = (
        left,
        top,
        data.draw(st.integers(left + 1, width)),
        data.draw(st.integers(top + 1, height)),
    )
    box = padded_box(extent, padding, shape, (width, height))
    assert 0 <= box[0] <= extent[0] < extent[2] <= box[2] <= width
    assert 0 <= box[1] <= extent[1] < extent[3] <= box[3] <= height


def test_the_box_has_the_proportions_of_the_requested_size_where_they_fit() -> None:
    box = padded_box((100, 100, 120, 110), 0, (200, 100), (1000, 1000))
    assert (box[2] - box[0], box[3] - box[1]) == (20, 10)
    box = padded_box((100, 100, 120, 110), 5, (100, 100), (1000, 1000))
    assert (box[2] - box[0], box[3] - box[1]) == (30, 30)
    edge = padded_box((0, 0, 10, 40), 0, (100, 100), (1000, 1000))
    assert edge == (0, 0, 40, 40)


def test_inverting_regenerates_the_black_part() -> None:
    found = changed_pixels(canvas(make_mask((40, 30, 80, 70)), blur=0, invert=True))
    assert not found[30:70, 40:80].any()
    assert found[:30].all()


def test_luminance_decides_in_every_image_mode() -> None:
    mask = make_mask((40, 30, 80, 70))
    for mode in ("RGB", "1", "LA", "P"):
        assert np.array_equal(
            changed_pixels(canvas(mask.convert(mode), blur=0)), changed_pixels(canvas(mask, blur=0))
        )


def test_invalid_masks_are_refused() -> None:
    with pytest.raises(MaskError, match="mask is 64 x 64 pixels, its picture 160 x 120"):
        canvas(Image.new("L", (64, 64), 255))
    with pytest.raises(MaskError, match="marks nothing"):
        canvas(Image.new("L", SIZE, 0))
    with pytest.raises(MaskError, match="marks nothing"):
        canvas(Image.new("L", SIZE, 127))
    with pytest.raises(MaskError, match="marks nothing"):
        canvas(Image.new("L", SIZE, 255), invert=True)
    assert canvas(make_mask((0, 0, 1, 1))).box == (0, 0, *SIZE)


def test_filling_changes_only_the_masked_part() -> None:
    mask = make_mask((40, 30, 80, 70))
    before = np.asarray(PICTURE)
    for how in ("blur", "noise"):
        after = np.asarray(canvas(mask, fill=how).init_image)
        outside = np.asarray(mask) == 0
        assert np.array_equal(after[outside], before[outside])
        assert (after[~outside] != before[~outside]).mean() > 0.9
    assert canvas(mask, fill="original").init_image is PICTURE


def test_noise_depends_on_the_seed() -> None:
    mask = make_mask((0, 0, *SIZE))
    first, again, other = (np.asarray(fill_masked(PICTURE, mask, "noise", seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_blur_fills_from_the_surroundings() -> None:
    picture = Image.new("RGB", SIZE, (10, 200, 30))
    picture.paste((255, 0, 255), (60, 40, 100, 80))  # under the mask: must have no influence
    flat = np.asarray(blur_fill(picture, make_mask((60, 40, 100, 80))))
    assert np.abs(flat.astype(int) - (10, 200, 30)).max() <= 1
    halves = Image.new("RGB", SIZE, (0, 0, 0))
    halves.paste((255, 255, 255), (80, 0, *SIZE))
    found = np.asarray(blur_fill(halves, make_mask((60, 40, 100, 80))))[60]
    assert found[62].mean() < 60
    assert found[97].mean() > 195
    assert blur_fill(picture, make_mask((0, 0, *SIZE))).size == SIZE  # nothing is known at all


def test_outpainting_keeps_the_image_but_for_the_seam() -> None:
    options = Inpaint(blur=4)
    at = outpainting_canvas(PICTURE, Outpaint(left=40, bottom=24), options, 7)
    assert at.original.size == (200, 144)
    found = changed_pixels(at, GREEN.resize((200, 144)))
    assert found[:, :40].all()
    assert found[120:].all()
    seam = 2 * 4 + 3 * 4
    assert not found[: 120 - seam, 40 + seam :].any()
    kept = np.asarray(at.composite(GREEN))[: 120 - seam, 40 + seam : 200]
    assert np.array_equal(kept, np.asarray(PICTURE)[: 120 - seam, seam:])


def test_outpainting_without_blur_keeps_every_pixel() -> None:
    at = outpainting_canvas(PICTURE, Outpaint(right=16, top=8), Inpaint(blur=0), 7)
    done = np.asarray(at.composite(GREEN))
    assert np.array_equal(done[8:, :160], np.asarray(PICTURE))
    assert (done[:8] == (0, 255, 0)).all()


@pytest.mark.parametrize("fill", ["original", "blur", "noise"])
def test_new_areas_start_from_the_edges(fill: str) -> None:
    at = outpainting_canvas(PICTURE, Outpaint(right=32), Inpaint(blur=0, fill=fill), 7)
    start = np.asarray(at.init_image)
    assert np.array_equal(start[:, :160], np.asarray(PICTURE))
    assert start[:, 160:].std() > (50 if fill == "noise" else 0)


def test_outpainting_an_image_smaller_than_its_seam() -> None:
    small = PICTURE.resize((8, 8))
    at = outpainting_canvas(small, Outpaint(left=16, right=16, top=16, bottom=16), Inpaint(blur=8), 7)
    assert np.asarray(at.soft_mask).min() > 128


def test_outpainting_by_nothing_is_refused() -> None:
    with pytest.raises(MaskError, match="by no pixels"):
        outpainting_canvas(PICTURE, Outpaint(), Inpaint(), 7)


@given(
    left=st.integers(0, 159),
    top=st.integers(0, 119),
    width=st.integers(1, 30),
    height=st.integers(1, 30),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda sides: (sides[0] * 8, sides[1] * 8)),
)
def test_every_marked_latent_is_regenerated(
    left: int, top: int, width: int, height: int, shape: tuple[int, int]
) -> None:
    """A dot or a line is regenerated too, however thin and soft: pipelines sample one pixel of each latent."""
    mask = make_mask((left, top, min(160, left + width), min(120, top + height)))
    found = np.asarray(canvas(mask, blur=8).latent_mask(shape, 8))
    assert found.shape == shape[::-1]
    cells = found.reshape(shape[1] // 8, 8, shape[0] // 8, 8)
    assert (cells == cells[:, :1, :, :1]).all()  # whole latents
    assert set(np.unique(found)) <= {0, 255}
    rows, columns = np.nonzero(np.asarray(mask))
    for part in (0, 0.999):  # both ends of the area that each pixel is in
        at = ((rows + part) * shape[1] / 120).astype(int), ((columns + part) * shape[0] / 160).astype(int)
        assert (found[at] == 255).all()
    most = (width * shape[0] / 160 + 16) * (height * shape[1] / 120 + 16)
    assert (found == 255).sum() <= most


def test_a_mask_on_whole_latents_is_unchanged() -> None:
    mask = make_mask((16, 24, 80, 64))
    assert canvas(mask, blur=0).latent_mask(SIZE, 8) == mask
    odd = make_mask((17, 25, 80, 63))
    assert canvas(odd, blur=0).latent_mask(SIZE, 1) == odd
    beyond = outpainting_canvas(PICTURE, Outpaint(right=40), Inpaint(blur=0), 7)
    assert np.asarray(beyond.latent_mask((200, 120), 8))[:, 160:].min() == 255


def test_a_dot_in_a_huge_image_is_regenerated_too() -> None:
    mask = Image.new("L", (8000, 8000), 0)
    mask.putpixel((4500, 4500), 255)
    huge = Image.new("RGB", mask.size)
    found = np.asarray(canvas(mask, huge, blur=0).latent_mask((64, 64), 8))
    assert (found == 255).sum() == 64


def test_a_soft_mask_has_the_mean_of_each_latent_and_marks_every_touched_one() -> None:
    mask = make_mask((0, 0, 8, 4), (16, 0, 17, 1))
    mask.paste(100, (8, 0, 16, 8))
    found = np.asarray(canvas(mask, blur=0, soft=True).latent_mask(SIZE, 8))
    assert found[:8:7, ::8][0].tolist()[:4] == [128, 100, 4, 0]
    faint = Image.new("L", SIZE)
    faint.putpixel((3, 3), 1)
    assert np.asarray(canvas(faint, blur=0, soft=True).latent_mask(SIZE, 8)).max() == 1


def test_a_soft_result_is_opaque_from_the_strength_of_one_step_on() -> None:
    mask = Image.fromarray(np.tile(np.arange(160, dtype=np.uint8), (120, 1)))
    at = canvas(mask, PICTURE, blur=0, soft=True)
    done = np.asarray(at.composite(GREEN, steps=5))
    assert np.array_equal(done[:, 0], np.asarray(PICTURE)[:, 0])
    assert (done[:, 51:] == (0, 255, 0)).all()
    assert not (done[:, 1:50] == (0, 255, 0)).all(-1).any()


def test_any_grey_marks_something_for_soft_inpainting() -> None:
    assert canvas(Image.new("L", SIZE, 1), soft=True).is_soft
    with pytest.raises(MaskError, match="marks nothing"):
        canvas(Image.new("L", SIZE, 0), soft=True)
