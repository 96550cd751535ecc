"""Written images: every pixel where that is promised, the same bytes each time, metadata where other programs look."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageArrayError, OutputError, SafelightError, UsageError
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata, read_metadata

KINDS = ("png", "jpeg", "webp")
BOTH = Metadata("a cat\nSteps: 3, Seed: 4", '{"a": "é<&>\'\\""}')


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (37, 53, 3), np.uint8))


@pytest.mark.parametrize("options", [{"file_format": "png"}, {"file_format": "webp", "lossless": True}])
def test_lossless_formats_keep_every_pixel(noise, options):
    assert np.array_equal(opened(encode_image(noise, metadata=BOTH, **options)), noise)


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_is_deterministic(noise, kind):
    first = encode_image(noise, kind, BOTH)
    assert encode_image(noise.copy(), kind, BOTH) == first
    assert opened(first).format == kind.upper()
    assert encode_image(noise, kind, Metadata("another")) != first


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_changes_no_pixel(noise, kind):
    assert np.array_equal(opened(encode_image(noise, kind)), opened(encode_image(noise, kind, BOTH)))


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_the_image_object_is_not_written(noise, kind, make):
    plain = encode_image(noise, kind)
    noise.info = {
        "icc_profile": make.profile(),
        "comment": b"private",
        "dpi": (300, 300),
        "exif": b"Exif\0\0MM",
    }
    assert encode_image(noise, kind) == plain
    assert noise.info["comment"] == b"private"


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_higher_quality_needs_more_bytes(make, kind):
    image = make.image(200, 150)
    sizes = [len(encode_image(image, kind, quality=quality)) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))


def test_jpeg_keeps_colour_at_full_resolution_from_90_on(make):
    layers = [opened(encode_image(make.image(), "jpeg", quality=q)).layer for q in (89, 90)]
    assert [layer[0][1:3] for layer in layers] == [(2, 2), (1, 1)]


def test_png_texts_are_latin_1_where_possible(noise):
    assert b"tEXtparameters\0caf\xe9" in encode_image(noise, "png", Metadata("café"))
    assert b"iTXtparameters\0\0\0\0\0" + "猫".encode() in encode_image(noise, "png", Metadata("猫"))
    assert b"iTXtsafelight\0\0\0\0\0{}" in encode_image(noise, "png", Metadata(record="{}"))


def test_jpeg_and_webp_have_the_infotext_where_a1111_writes_it(noise):
    comment = b"UNICODE\0" + "猫, x".encode("utf-16-be")
    for kind in ("jpeg", "webp"):
        exif = opened(encode_image(noise, kind, Metadata("猫, x"))).getexif()
        assert exif.get_ifd(0x8769) == {0x9286: comment}


def test_other_texts_are_png_only(noise):
    others = Metadata(other_texts={"Title": "the sea"})
    assert read_metadata(encode_image(noise, "png", others)).other_texts == {"Title": "the sea"}
    with pytest.raises(OutputError, match=r"no place for the text.s. Title"):
        encode_image(noise, "jpeg", others)


@pytest.mark.parametrize(
    ("kind", "metadata", "complaint"),
    [
        ("jpeg", Metadata("x" * 32_750), "infotext takes .* bytes, and jpeg holds 65533"),
        ("jpeg", Metadata(record="x" * 65_300), "record takes .* bytes, and jpeg holds 65504"),
        ("webp", Metadata("x" * 2_200_000), "infotext takes"),
        ("png", Metadata("x" * 4_200_000), "a text has more than"),
        ("png", Metadata("a\0b"), "U.0000"),
        ("webp", Metadata(record="a\0b"), "U.0000"),
        ("jpeg", Metadata("half \ud83d"), "surrogate"),
        ("png", Metadata("half \ud83d"), "surrogate"),
        ("png", Metadata(other_texts={"parameters": "x"}), "cannot be the key"),
        ("png", Metadata(other_texts={"k" * 80: "x"}), "cannot be the key"),
        ("png", Metadata(other_texts={"键": "x"}), "latin-1"),
    ],
)
def test_metadata_that_a_format_cannot_hold_is_reported(noise, kind, metadata, complaint):
    with pytest.raises(OutputError, match=complaint):
        encode_image(noise, kind, metadata)


@pytest.mark.parametrize("kind", KINDS)
def test_very_long_texts_that_fit_round_trip(noise, kind):
    long = Metadata("very long, " * 2900, '{"a":"' + "b" * 64_000 + '"}')
    assert read_metadata(encode_image(noise, kind, long)) == long


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"file_format": "gif"}, UsageError),
        ({"quality": 0}, UsageError),
        ({"quality": 101}, UsageError),
        ({"file_format": "jpeg", "lossless": True}, UsageError),
        ({"image": Image.new("RGBA", (4, 4))}, ImageArrayError),
        ({"image": Image.new("RGB", (16_384, 1)), "file_format": "webp"}, OutputError),
        ({"image": Image.new("RGB", (1, 65_501)), "file_format": "jpeg"}, OutputError),
    ],
)
def test_invalid_arguments(change: dict[str, object], error: type[SafelightError]):
    arguments = {"image": Image.new("RGB", (4, 4)), "file_format": "png"} | change
    with pytest.raises(error):
        encode_image(**arguments)


@pytest.mark.parametrize(("kind", "size"), [("webp", (16_383, 1)), ("jpeg", (1, 65_500))])
def test_the_largest_sizes_are_written(kind, size):
    assert opened(encode_image(Image.new("RGB", size), kind)).size == size
