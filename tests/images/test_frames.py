"""Animations and pages: which frames are sampled, and what is reported about the others."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageError, ImageTooManyPixelsError, ImageTruncatedError
from safelight.images import DecodeLimits, decode, iter_frames, read_header
from safelight.images.frame_sampling import sample_frames
from safelight.images.types import FileLayout, ImageHeader

ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")


def limits(count: int) -> DecodeLimits:
    return DecodeLimits(max_frames=count)


@pytest.mark.parametrize("name", ANIMATED)
def test_evenly_sampled_frames_have_the_right_pixels(make, name):
    data = make.animation(9, name)
    assert read_header(data).frame_count == 9
    found = list(iter_frames(data, limits=limits(3)))
    assert [frame.index for frame in found] == [0, 3, 6]
    for frame in found:
        assert abs(int(frame.pixels[5, 5, 0]) - 25 * frame.index) <= 4
        assert frame.notes == ("frames 0, 3, 6 of 9 seen",)
        assert frame.size == (16, 12)
    assert np.array_equal(decode(data).pixels, found[0].pixels)


@pytest.mark.parametrize("name", ANIMATED)
def test_all_frames_when_there_are_few(make, name):
    found = list(iter_frames(make.animation(4, name)))
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert all(frame.notes == () for frame in found)


@pytest.mark.parametrize("name", ["JPEG", "BMP", "HEIF", "PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_still_picture_is_one_frame(make, name):
    (frame,) = iter_frames(make.encode(make.image(), name))
    assert np.array_equal(frame.pixels, decode(make.encode(make.image(), name)).pixels)


def test_arrays_and_images_are_one_frame(make):
    assert len(list(iter_frames(make.pixels()))) == len(list(iter_frames(make.image()))) == 1


@pytest.mark.parametrize(("count", "most"), [(2, 1), (10, 3), (17, 16), (100, 16), (999, 7)])
def test_sampling_is_even_and_begins_with_the_first(count, most):
    indices, _ = sample_frames(FileLayout(ImageHeader("GIF", 10, 10, count)), most)
    steps = np.diff(indices)
    assert (indices[0], len(indices)) == (0, most)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert count - indices[-1] <= -(-count // most)


def test_decoded_frames_are_limited_and_this_is_reported():
    indices, notes = sample_frames(FileLayout(ImageHeader("GIF", 10, 10, 5000)), 4)
    assert indices == (0, 250, 500, 750)
    assert notes == ("frames 0, 250, 500, 750 of 5000 seen", "frames from 1000 on are out of reach")
    large, notes = sample_frames(FileLayout(ImageHeader("GIF", 8000, 8000, 200)), 16)
    assert max(large) < 2_000_000_000 // 64_000_000
    assert "out of reach" in notes[1]


def test_long_animation_is_decoded_in_order(make):
    data = make.animation(255)
    found = list(iter_frames(data, limits=limits(5)))
    assert [int(frame.pixels[0, 0, 0]) for frame in found] == [25 * frame.index % 256 for frame in found]


def test_later_tiff_page_of_another_size_is_checked_again(make):
    small, large = Image.new("RGB", (20, 20)), Image.new("RGB", (200, 200))
    data = make.encode(small, "TIFF", save_all=True, append_images=[large])
    assert [frame.size for frame in iter_frames(data)] == [(20, 20), (200, 200)]
    found = iter_frames(data, limits=DecodeLimits(max_pixels=1000))
    assert next(found).size == (20, 20)
    with pytest.raises(ImageTooManyPixelsError):
        next(found)


def test_cyclic_tiff_directories_end(make):
    data = make.grey_tiff(2, 2, bytes(4))
    data = data[:-4] + struct.pack("<I", struct.unpack_from("<I", data, 4)[0])
    assert read_header(data).frame_count == 1
    assert len(list(iter_frames(data))) == 1


def test_gif_frame_outside_the_screen_counts_in_the_size(make):
    data = bytearray(make.animation(3))
    at = data.index(b",", data.index(b",", 13 + 3) + 10)
    assert data[at + 1 : at + 5] == bytes(4)
    data[at + 1 : at + 3] = struct.pack("<H", 60000)
    data[at + 3 : at + 5] = struct.pack("<H", 60000)
    with pytest.raises(ImageTooManyPixelsError):
        next(iter_frames(bytes(data)))


def test_gif_without_its_trailer_is_complete_and_a_truncated_one_is_not(make):
    data = make.animation(3)
    assert data[-1:] == b";"
    assert len(list(iter_frames(data[:-1]))) == 3
    with pytest.raises(ImageTruncatedError):
        list(iter_frames(data[:-4]))


def test_png_that_claims_more_frames_than_it_has(make):
    data = make.animation(4, "PNG")
    at = data.index(b"acTL")
    claim = make.chunk(b"acTL", struct.pack(">II", 4000, 0))
    data = data[: at - 4] + claim + data[at + 16 :]
    assert read_header(data).frame_count == 4
    assert len(list(iter_frames(data))) == 4


@pytest.mark.parametrize("extra", [b"", struct.pack(">II", 2, 0)])
def test_png_with_invalid_animation_control_is_an_error_without_a_warning(make, extra):
    control = make.chunk(b"acTL", extra or bytes(8))
    data = make.png(1, 1, 8, 0, b"\0\0", control, *([control] if extra else []))
    with pytest.raises(ImageError):
        decode(data)


def test_frames_are_decoded_one_at_a_time(make):
    found = iter_frames(make.animation(6))
    assert next(found).index == 0
    found.close()


def test_transparent_gif_animation_is_composited(make):
    first = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    first.paste((250, 0, 0, 255), (0, 0, 4, 8))
    second = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    second.paste((0, 250, 0, 255), (4, 0, 8, 8))
    data = make.encode(first, "GIF", save_all=True, append_images=[second], disposal=2)
    found = list(iter_frames(data))
    assert found[0].pixels[0, 6].tolist() == [255, 255, 255]
    assert found[1].pixels[0, 1].tolist() == [255, 255, 255]
    assert found[1].pixels[0, 6].tolist() == [0, 250, 0]
