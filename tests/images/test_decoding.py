"""Every source and every format gives the same image."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps
from tests.hypothesis_profiles import example_count

from safelight.errors import (
    FileMissingError,
    ImageArrayError,
    ImageFormatError,
    ImageNotRecognisedError,
    ImageTruncatedError,
    ImageZeroSizeError,
    UsageError,
)
from safelight.images import decode, iter_frames, read_header

TOLERANCE = {"JPEG": 6, "WEBP": 16, "AVIF": 24, "HEIF": 16, "GIF": 30, "PNG": 0, "BMP": 0, "TIFF": 0}
COLOURS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
quick = settings(max_examples=example_count(40))


def mean_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_every_format_gives_the_image(make, format_name):
    frame = decode(make.encode(make.image(), format_name))
    assert frame.pixels.shape == (48, 64, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.flags.c_contiguous
    assert (frame.size, frame.index, frame.notes) == ((64, 48), 0, ())
    assert mean_error(frame.pixels, make.pixels()) <= TOLERANCE[format_name]


@given(pixels=COLOURS, name=st.sampled_from(["PNG", "BMP", "TIFF", "WEBP"]))
@quick
def test_lossless_formats_and_arrays_agree_to_the_bit(make, pixels, name):
    data = make.lossless(Image.fromarray(pixels), name)
    for source in (
        data,
        bytearray(data),
        memoryview(data),
        io.BytesIO(data),
        pixels,
        Image.fromarray(pixels),
    ):
        assert np.array_equal(decode(source).pixels, pixels)


def test_all_sources_agree_for_every_format(make, format_name, tmp_path):
    data = make.encode(make.image(), format_name)
    path = tmp_path / "picture"
    path.write_bytes(data)
    expected = decode(data).pixels
    with path.open("rb") as file:
        sources = [path, str(path), file, io.BytesIO(data)]
        if format_name != "HEIF":  # Pillow itself does not open it
            sources.append(Image.open(io.BytesIO(data)))
        for source in sources:
            assert np.array_equal(decode(source).pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_once(make, name, orientation):
    image = make.image(40, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if name in ("JPEG", "AVIF") else {"lossless": True} if name == "WEBP" else {}
    data = make.encode(image, name, exif=exif.tobytes() if name == "HEIF" else exif, **options)
    expected = Image.fromarray(make.pixels(40, 24))
    expected.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(expected))
    frame = decode(data)
    assert frame.pixels.shape == expected.shape
    assert mean_error(frame.pixels, expected) <= TOLERANCE[name]
    assert frame.size == expected.shape[1::-1]
    if name != "HEIF":
        assert np.array_equal(decode(Image.open(io.BytesIO(data))).pixels, frame.pixels)
        assert (f"orientation {orientation} applied" in frame.notes) == (orientation != 1)


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\xff" * 64, b"II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_changes_nothing(make, exif):
    data = make.encode(make.image(), "JPEG")
    block = b"Exif\0\0" + exif
    data = data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]
    assert decode(data).notes == ()


@pytest.mark.parametrize(
    ("size", "shrink_to", "expected"),
    [
        ((640, 480), 60, (80, 60)),
        ((640, 480), 61, (160, 120)),
        ((640, 480), 240, (320, 240)),
        ((640, 480), 241, (640, 480)),
        ((640, 480), 9999, (640, 480)),
        ((799, 799), 100, (100, 100)),
        ((9, 7), 1, (3, 2)),
        ((40, 5), 3, (20, 3)),
    ],
)
def test_jpeg_is_decoded_at_the_smallest_sufficient_scale(make, size, shrink_to, expected):
    frame = decode(make.encode(make.image(*size), "JPEG", quality=95), shrink_to=shrink_to)
    assert frame.pixels.shape[1::-1] == expected
    assert frame.size == size
    scale = next(scale for scale in (1, 2, 4, 8) if -(-size[0] // scale) == expected[0])
    assert frame.notes == (() if scale == 1 else (f"decoded at 1/{scale} scale",))


def test_scaled_and_rotated_jpeg_states_its_full_upright_size(make):
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = decode(make.encode(make.image(640, 480), "JPEG", exif=exif), shrink_to=100)
    assert (frame.size, frame.pixels.shape) == ((480, 640), (160, 120, 3))


def test_shrink_to_has_no_effect_on_other_formats_and_must_be_positive(make):
    assert decode(make.encode(make.image(), "PNG"), shrink_to=2).pixels.shape == (48, 64, 3)
    with pytest.raises(UsageError):
        decode(make.encode(make.image(), "PNG"), shrink_to=0)


def test_truncated_files_are_reported_as_such(make, format_name):
    data = make.encode(make.image(200, 150), format_name)
    for share in (0.25, 0.5, 0.75, 0.95):
        with pytest.raises(ImageTruncatedError):
            decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["", "nothing-here", "\0"])
def test_missing_paths(tmp_path, name):
    with pytest.raises(FileMissingError):
        decode(str(tmp_path / name))


def test_text_files_closed_files_and_other_objects(tmp_path, make):
    with pytest.raises(ImageNotRecognisedError, match="text"):
        decode(io.StringIO("text"))
    closed = io.BytesIO(make.encode(make.image(), "PNG"))
    closed.close()
    with pytest.raises(FileMissingError):
        decode(closed)
    for other in (None, 7, [1, 2]):
        with pytest.raises(ImageArrayError):
            decode(other)


def test_files_with_short_reads_are_read_to_their_end(make):
    class Dribble(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            return super().read(min(size, 100))

    data = make.encode(make.image(), "PNG")
    assert np.array_equal(decode(Dribble(data)).pixels, make.pixels())


def test_header_agrees_with_decode(make, format_name):
    found = read_header(make.encode(make.image(33, 21), format_name))
    assert (found.format, found.width, found.height, found.frame_count) == (format_name, 33, 21, 1)
    assert read_header(make.pixels(33, 21)).width == read_header(make.image(33, 21)).width == 33


def test_zero_sizes(make):
    bmp = bytearray(make.encode(make.image(), "BMP"))
    bmp[18:22] = bytes(4)
    gif = bytearray(make.encode(make.image(), "GIF"))
    gif[6:8] = bytes(2)
    png, tiff = make.png(0, 5, 8, 2, b""), make.grey_tiff(0, 5)
    for source in (
        bytes(bmp),
        bytes(gif),
        png,
        tiff,
        np.zeros((0, 5, 3), np.uint8),
        Image.new("RGB", (0, 3)),
    ):
        for look in (decode, read_header, lambda source: list(iter_frames(source))):
            with pytest.raises(ImageZeroSizeError):
                look(source)


def test_jpeg_variants(make):
    for options in ({"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}):
        data = make.encode(make.image(), "JPEG", quality=95, **options)
        assert mean_error(decode(data).pixels, make.pixels()) < 4
    twelve = bytearray(make.encode(make.image(), "JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageFormatError, match="12 bits"):
        decode(bytes(twelve))


def test_mpo_is_its_first_image(make):
    data = make.encode(make.image(), "MPO", save_all=True, append_images=[Image.new("RGB", (10, 10))])
    assert decode(data).format == "JPEG"
    assert len(list(iter_frames(data))) == 1


def test_concurrent_threads_decode_correctly(make):
    files = [make.encode(make.image(50 + n, 40), name) for n in range(4) for name in make.formats]
    expected = [decode(data).pixels for data in files]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(decode, files * 2), expected * 2, strict=True):
            assert np.array_equal(found.pixels, wanted)
