"""Modes, depths, alpha and colour profiles."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms
from tests.hypothesis_profiles import example_count

from safelight.errors import ImageArrayError, ImageFormatError
from safelight.images import DecodeLimits, decode
from safelight.images.icc import is_srgb

COLOURS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))
WIDE = hnp.arrays(np.uint16, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(4)))
quick = settings(max_examples=example_count(40))
RED = DecodeLimits(background=(200, 10, 30))


def round_to_8_bits(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples / 257).astype(np.uint8)


@given(pixels=COLOURS)
@quick
def test_sixteen_bits_of_an_eight_bit_image_give_that_image(make, pixels):
    wide = pixels.astype(np.uint16) * 257
    for source in (wide, wide.astype(">u2"), make.png16(wide, 2)):
        frame = decode(source)
        assert np.array_equal(frame.pixels, pixels)
        assert frame.notes == ("16 bit scaled to 8",)


@given(samples=WIDE)
@quick
def test_sixteen_bits_are_rounded_and_not_truncated(make, samples):
    rgb = samples[:, :, :3]
    grey = samples[:, :, :1]
    assert np.array_equal(decode(make.png16(rgb, 2)).pixels, round_to_8_bits(rgb))
    assert np.array_equal(decode(rgb).pixels, round_to_8_bits(rgb))
    for source in (grey, grey[:, :, 0], make.png16(grey, 0), Image.fromarray(grey[:, :, 0])):
        assert np.array_equal(decode(source).pixels, np.repeat(round_to_8_bits(grey), 3, axis=2))
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 65535, np.uint16)])
    assert np.array_equal(decode(make.png16(opaque, 6)).pixels, round_to_8_bits(rgb))
    assert np.array_equal(decode(make.png16(samples, 6)).pixels, decode(samples).pixels)
    assert np.array_equal(
        decode(make.png16(samples[:, :, [0, 3]], 4)).pixels, decode(samples[:, :, [0, 0, 0, 3]]).pixels
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
def test_sixteen_bit_tiff_is_rounded(make, order, compression):
    samples = np.arange(5 * 7 * 3, dtype=np.uint16).reshape(5, 7, 3) * 617
    raw = samples.astype(f"{order}u2").tobytes()
    raw = zlib.compress(raw) if compression == 8 else raw
    entries = [(256, 3, 1, 7), (257, 3, 1, 5), (258, 3, 1, 16), (259, 3, 1, compression), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 5), (279, 4, 1, len(raw))]
    packed = []
    for tag, kind, count, value in entries:
        values = struct.pack(
            f"{order}HH" if kind == 3 else f"{order}I", *([value, 0] if kind == 3 else [value])
        )
        packed.append(struct.pack(f"{order}HHI", tag, kind, count) + values)
    raw += b"\0" * (len(raw) % 2)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", 8 + len(raw))
    data = head + raw + struct.pack(f"{order}H", len(entries)) + b"".join(packed) + bytes(4)
    frame = decode(data)
    assert np.array_equal(frame.pixels, round_to_8_bits(samples))
    assert frame.notes == ("16 bit scaled to 8",)


def test_twelve_bit_and_inverted_grey_tiff(make):
    twelve = make.grey_tiff(2, 1, b"\xff\xf8\x00", bits=12)
    assert decode(twelve).pixels[0, :, 0].tolist() == [255, 128]
    inverted = make.grey_tiff(2, 1, struct.pack("<2H", 0, 65535), bits=16, photometric=0)
    assert decode(inverted).pixels[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(("bits", "sample_format"), [(32, 1), (32, 3), (16, 2)])
def test_tiff_of_floats_without_a_range_is_refused(make, bits, sample_format):
    data = make.grey_tiff(1, 1, bytes(4), bits=bits, sample_format=sample_format)
    with pytest.raises(ImageFormatError):
        decode(data)


@given(pixels=COLOURS)
@quick
def test_opaque_alpha_changes_nothing(make, pixels):
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    for source in (opaque, Image.fromarray(opaque), make.lossless(Image.fromarray(opaque))):
        frame = decode(source, limits=RED)
        assert np.array_equal(frame.pixels, pixels)
        assert frame.notes == ()


@given(pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 16), st.integers(1, 16), st.just(4))))
@quick
def test_alpha_is_composited_on_the_background(make, pixels):
    alpha = pixels[:, :, 3:] / 255
    expected = pixels[:, :, :3] * alpha + np.array(RED.background) * (1 - alpha)
    for source in (
        pixels,
        make.lossless(Image.fromarray(pixels)),
        make.lossless(Image.fromarray(pixels), "TIFF"),
    ):
        assert np.abs(decode(source, limits=RED).pixels - expected).max() <= 0.51


def test_alpha_note_names_the_background(make):
    clear = np.zeros((2, 2, 4), np.uint8)
    assert decode(clear).notes == ("alpha composited on white",)
    assert decode(clear, limits=RED).notes == ("alpha composited on #c80a1e",)


def test_palette_is_expanded_to_its_colours(make):
    image = make.image().quantize(16)
    expected = np.asarray(image.convert("RGB"))
    for name in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode(make.encode(image, name)).pixels, expected)
    assert np.array_equal(decode(image).pixels, expected)


def test_transparent_palette_entries(make):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for transparency in (1, b"\xff\x00"):
        for name in ("PNG", "GIF")[: 2 if transparency == 1 else 1]:
            data = make.encode(image, name, transparency=transparency)
            assert decode(data, limits=RED).pixels[0].tolist() == [[10, 20, 30], [200, 10, 30]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth_with_a_transparent_value(make, bits):
    top = 2**bits - 1
    row = (
        struct.pack(">2H", 0, top)
        if bits == 16
        else bytes([0, top])
        if bits == 8
        else bytes([top << 8 - 2 * bits])
    )
    data = make.png(2, 1, bits, 0, b"\0" + row, make.chunk(b"tRNS", struct.pack(">H", top)))
    assert decode(data, limits=RED).pixels[0].tolist() == [[0, 0, 0], [200, 10, 30]]
    assert decode(make.png(2, 1, bits, 0, b"\0" + row)).pixels[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_transparent_colour_of_rgb_png(make):
    samples = np.array([[[1, 2, 3], [4, 5, 6]]])
    key = make.chunk(b"tRNS", struct.pack(">3H", 4, 5, 6))
    eight = make.png(2, 1, 8, 2, b"\0" + samples.astype(np.uint8).tobytes(), key)
    assert decode(eight, limits=RED).pixels[0].tolist() == [[1, 2, 3], [200, 10, 30]]
    assert decode(make.png16(samples, 2, key), limits=RED).pixels[0].tolist() == [[0, 0, 0], [200, 10, 30]]


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"]
)
def test_pil_images_of_every_mode(make, mode):
    if mode == "LAB":
        image = Image.new("LAB", (3, 2), (255, 128, 128))  # white
        assert decode(image).pixels.min() >= 250
        return
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    image = (make.image().convert(through) if through else make.image()).convert(mode)
    grey = mode in ("L", "LA", "La", "I", "F")
    expected = np.asarray(make.image().convert("L" if grey else "RGB").convert("RGB"))
    if mode in ("1", "P", "PA"):
        expected = np.asarray(image.convert("RGB"))
    assert np.abs(decode(image).pixels.astype(int) - expected).max() <= (6 if mode in ("HSV", "YCbCr") else 0)


def test_pil_images_of_integers_and_floats(make):
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(decode(Image.fromarray(ramp)).pixels, decode(ramp).pixels)
    wide = (ramp * 65535).astype(np.int32)
    assert np.array_equal(decode(Image.fromarray(wide)).pixels[:, :, 0], round_to_8_bits(wide))
    for bad in (ramp - 1, ramp * 1e6, ramp * np.nan, wide * 2):
        with pytest.raises(ImageArrayError):
            decode(Image.fromarray(bad))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_and_bools(make, dtype):
    pixels = make.pixels()
    assert np.array_equal(decode((pixels / 255).astype(dtype)).pixels, pixels)
    mask = pixels[:, :, 0] > 90
    assert np.array_equal(decode(mask).pixels[:, :, 1], mask * np.uint8(255))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), np.complex64),
        np.zeros((4, 4), object),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), 1.01),
        np.full((4, 4, 3), -0.01),
    ],
)
def test_invalid_arrays(array):
    with pytest.raises(ImageArrayError):
        decode(array)


def test_pixels_are_read_only_and_strided_arrays_are_made_contiguous(make):
    pixels = make.pixels()[::-1, ::2]
    frame = decode(pixels)
    assert np.array_equal(frame.pixels, pixels)
    assert frame.pixels.flags.c_contiguous
    assert not frame.pixels.flags.writeable
    assert make.pixels().flags.writeable


def test_cmyk_jpeg_is_not_inverted(make):
    cmyk = make.image().convert("CMYK")
    expected = np.asarray(cmyk.convert("RGB")).astype(int)
    found = decode(make.encode(cmyk, "JPEG", quality=98)).pixels
    assert np.abs(found - expected).mean() < 3
    assert np.array_equal(decode(make.encode(cmyk, "TIFF")).pixels, expected)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_other_profiles_are_converted(make, name):
    options = {"quality": 95} if name in ("JPEG", "AVIF") else {}
    frame = decode(make.lossless(make.image(), name, icc_profile=make.profile("GRB"), **options))
    expected = decode(make.lossless(Image.fromarray(make.pixels()[:, :, [1, 0, 2]]), name, **options)).pixels
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 4
    assert frame.notes == ("ICC profile 'sRGB built-in' converted to sRGB",)


def test_srgb_profile_is_recognised_by_its_values_and_skipped(make):
    assert is_srgb(make.profile("RGB"))
    assert not is_srgb(make.profile("GRB"))
    assert not is_srgb(b"")
    frame = decode(make.encode(make.image(), "PNG", icc_profile=make.profile("RGB")))
    assert frame.notes == ()
    assert np.array_equal(frame.pixels, make.pixels())


def test_profile_with_another_tone_curve_is_not_srgb(make):
    blob = make.profile("RGB").replace(struct.pack(">i", round(2.4 * 65536)), struct.pack(">i", 65536))
    assert blob != make.profile("RGB")
    assert not is_srgb(blob)


@pytest.mark.parametrize("damage", [b"not a profile", b"\0" * 200])
def test_damaged_profile_is_noted_and_ignored(make, damage):
    frame = decode(make.encode(make.image(), "PNG", icc_profile=damage))
    assert frame.notes == ("damaged ICC profile ignored",)
    assert np.array_equal(frame.pixels, make.pixels())


def test_profile_of_another_colour_space_is_ignored(make):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    frame = decode(make.encode(make.image(), "PNG", icc_profile=lab))
    assert frame.notes == ("ICC profile for Lab ignored in a picture of mode RGB",)


def test_profile_alpha_and_orientation_together(make):
    pixels = np.dstack([make.pixels(), np.full((48, 64), 128, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    data = make.encode(Image.fromarray(pixels), "PNG", icc_profile=make.profile("BGR"), exif=exif)
    frame, reference = decode(data), decode(pixels[:, :, [2, 1, 0, 3]]).pixels
    assert np.abs(frame.pixels.astype(int) - np.rot90(reference, -1)).max() <= 3
    assert [note.split()[0] for note in frame.notes] == ["ICC", "alpha", "orientation"]
    assert np.array_equal(decode(Image.open(io.BytesIO(data))).pixels, frame.pixels)


@pytest.mark.parametrize("key", [b"transparency", b"icc_profile", b"sample_bits", b"exif", b"srgb"])
def test_text_chunks_cannot_be_mistaken_for_others(make, key):
    text = make.chunk(b"tEXt", key + b"\0a text")
    frame = decode(make.png(2, 1, 8, 2, b"\0" + bytes(range(6)), text))
    assert frame.pixels[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert frame.notes == ()
