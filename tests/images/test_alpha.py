from __future__ import annotations

import io

import pytest
from PIL import Image

from safelight.errors import ImageError, ImageTooManyPixelsError
from safelight.images import DecodeLimits
from safelight.images.alpha import decode_alpha

LIMITS = DecodeLimits()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_opaque_pictures_have_none() -> None:
    assert decode_alpha(saved(Image.new("RGB", (4, 4))), LIMITS) is None
    assert decode_alpha(saved(Image.new("RGBA", (4, 4), (1, 2, 3, 255))), LIMITS) is None
    assert decode_alpha(saved(Image.new("L", (4, 4)), "JPEG"), LIMITS) is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_found(kind: str) -> None:
    image = Image.new("RGBA", (8, 4), (9, 9, 9, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 4))
    alpha = decode_alpha(saved(image, kind, lossless=True), LIMITS)
    assert alpha is not None
    assert (alpha.mode, alpha.size) == ("L", (8, 4))
    assert [alpha.getpixel((x, 0)) for x in (0, 7)] == [0, 255]


def test_a_palettes_transparent_colour_counts() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.putdata([0, 1])
    alpha = decode_alpha(saved(image, transparency=0), LIMITS)
    assert alpha is not None
    assert list(alpha.tobytes()) == [0, 255]


def test_it_is_rotated_with_the_image() -> None:
    image = Image.new("RGBA", (8, 4), (9, 9, 9, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = decode_alpha(saved(image, exif=exif), LIMITS)
    assert alpha is not None
    assert alpha.size == (4, 8)
    assert alpha.getpixel((1, 0)) == 0


def test_limits_and_damage() -> None:
    with pytest.raises(ImageTooManyPixelsError):
        decode_alpha(saved(Image.new("RGBA", (20, 20))), DecodeLimits(max_pixels=100))
    with pytest.raises(ImageError):
        decode_alpha(saved(Image.new("RGBA", (40, 40), (1, 2, 3, 4)))[:60], LIMITS)
