from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageError, UnsupportedFieldError
from safelight.images import DecodeLimits
from safelight.server.api.a1111.init_image import prepare_images
from safelight.server.api.image_resizing import CROP, PAD, STRETCH

LIMITS = DecodeLimits()


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def open_base64(data: bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(data))


def two_colour_image(size: tuple[int, int] = (64, 32)) -> Image.Image:
    """An image that is red on the left and blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    data = png(two_colour_image())
    assert prepare_images(data, None, LIMITS, size=(64, 32)).init is data
    assert prepare_images(data, None, LIMITS).init is data


def test_resizing_keeps_all_of_the_picture() -> None:
    image = open_base64(
        prepare_images(png(two_colour_image()), None, LIMITS, mode=STRETCH, size=(32, 32)).init
    )
    assert image.size == (32, 32)
    assert image.getpixel((2, 16)) == (255, 0, 0)
    assert image.getpixel((29, 16)) == (0, 0, 255)


def test_cropping_cuts_the_sides_off() -> None:
    wide = Image.new("RGB", (96, 32), "green")
    wide.paste("red", (32, 0, 64, 32))
    image = open_base64(prepare_images(png(wide), None, LIMITS, mode=CROP, size=(32, 32)).init)
    assert image.getpixel((16, 16)) == (255, 0, 0)
    assert {image.getpixel((x, 16)) for x in range(2, 30)} == {(255, 0, 0)}


def test_filling_extends_the_edges() -> None:
    image = open_base64(prepare_images(png(two_colour_image()), None, LIMITS, mode=PAD, size=(64, 64)).init)
    assert image.size == (64, 64)
    assert image.getpixel((2, 2)) == image.getpixel((2, 60)) == (255, 0, 0)
    assert image.getpixel((61, 2)) == (0, 0, 255)


def test_latent_resizing_is_refused() -> None:
    with pytest.raises(UnsupportedFieldError, match="resize_mode"):
        prepare_images(png(two_colour_image()), None, LIMITS, mode=3)


@pytest.mark.parametrize("hard", [True, False])
def test_a_grey_mask_keeps_its_greys(hard: bool) -> None:
    grey = Image.new("L", (4, 1))
    grey.putdata([0, 100, 200, 255])
    mask = open_base64(
        prepare_images(png(two_colour_image((4, 1))), png(grey), LIMITS, binary_mask=hard).mask
    )
    assert list(mask.tobytes()) == [0, 100, 200, 255]


@pytest.mark.parametrize(("hard", "values"), [(True, [0, 0, 255, 255]), (False, [0, 128, 129, 255])])
def test_alpha_is_thresholded(hard: bool, values: list[int]) -> None:
    alpha = Image.new("L", (4, 1))
    alpha.putdata([0, 128, 129, 255])
    picture = Image.new("RGBA", (4, 1))
    picture.putalpha(alpha)
    mask = open_base64(
        prepare_images(png(two_colour_image((4, 1))), png(picture), LIMITS, binary_mask=hard).mask
    )
    assert list(mask.tobytes()) == values


def test_an_rgba_mask_uses_its_alpha() -> None:
    mask = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    mask.paste((0, 0, 0, 255), (0, 0, 4, 8))
    found = np.asarray(open_base64(prepare_images(png(two_colour_image((8, 8))), png(mask), LIMITS).mask))
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == 0).all()


def test_picture_and_mask_are_resized_alike_unless_only_the_masked_area_is_generated() -> None:
    mask = png(Image.new("L", (64, 32), 255))
    both = prepare_images(png(two_colour_image()), mask, LIMITS, mode=CROP, size=(16, 16))
    assert open_base64(both.init).size == open_base64(both.mask).size == (16, 16)
    alone = prepare_images(png(two_colour_image()), mask, LIMITS, mode=CROP, size=(16, 16), resize_init=False)
    assert open_base64(alone.init).size == open_base64(alone.mask).size == (64, 32)


def test_a_mask_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError):
        prepare_images(png(two_colour_image()), b"nothing", LIMITS)
