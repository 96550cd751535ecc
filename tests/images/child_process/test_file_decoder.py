"""Images decoded in a child process equal those decoded in this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageCorruptError, ImageTooManyPixelsError, ImageTruncatedError
from safelight.images import DecodeLimits, decode, iter_frames
from safelight.images.alpha import decode_alpha
from safelight.images.child_process import file_decoder

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF")
LIMITS = DecodeLimits(background=(200, 10, 30))


@pytest.fixture
def files(make) -> list[bytes]:
    clear = make.image()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(make.encode(make.image(), name) for name in FORMATS),
        make.encode(clear, "PNG", exif=turned),
        make.animation(5, "GIF"),
    ]


def test_pixels_are_the_same(files, monkeypatch):
    before = [(decode(data, limits=LIMITS), list(iter_frames(data, limits=LIMITS))) for data in files]
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    for data, (one, several) in zip(files, before, strict=True):
        there = [decode(data, limits=LIMITS), *iter_frames(data, limits=LIMITS)]
        for frame, expected in zip(there, [one, *several], strict=True):
            assert np.array_equal(frame.pixels, expected.pixels)
            for name in ("index", "size", "format", "notes"):
                assert getattr(frame, name) == getattr(expected, name)


def test_reduced_scale_is_the_same(make, monkeypatch):
    data = make.encode(make.image().resize((800, 600)), "JPEG")
    expected = decode(data, shrink_to=100)
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    frame = decode(data, shrink_to=100)
    assert (frame.image.size, frame.size, frame.notes) == (expected.image.size, expected.size, expected.notes)


def test_alpha_channels_are_the_same(files, make, monkeypatch):
    expected = [decode_alpha(data, LIMITS) for data in files]
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    there = [decode_alpha(data, LIMITS) for data in files]
    assert [alpha and alpha.tobytes() for alpha in there] == [alpha and alpha.tobytes() for alpha in expected]
    assert any(alpha is not None for alpha in there)


def test_errors_are_the_same(make, monkeypatch):
    whole = make.encode(make.image(), "PNG")
    data = whole[: len(whole) // 2]
    with pytest.raises(ImageTruncatedError) as here:
        decode(data)
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    with pytest.raises(ImageTruncatedError) as there:
        decode(data)
    assert there.value.to_dict() == here.value.to_dict()
    with pytest.raises(ImageTooManyPixelsError):
        decode(make.encode(make.image(), "PNG"), limits=DecodeLimits(max_pixels=10))


def test_a_decoder_that_dies_affects_no_other(make, monkeypatch):
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    monkeypatch.setattr(file_decoder, "_CHILD", "safelight.images.there_is_none")
    with pytest.raises(ImageCorruptError, match="ended before it was done"):
        decode(make.encode(make.image(), "PNG"))


def test_closing_early_leaves_no_process(make, monkeypatch, new_children):
    monkeypatch.setattr(file_decoder, "LARGE_BYTES", 0)
    looking = iter_frames(make.animation(5, "GIF"))
    next(looking)
    looking.close()
    assert not new_children()


MEASURE = """
import sys
from pathlib import Path
from safelight.images import decode
from safelight.images.child_process import file_decoder
data = open(sys.argv[1], "rb").read()
file_decoder.LARGE_BYTES = int(sys.argv[2])
def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
before = peak()
decode(data)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_this_process_holds_the_image_once(tmp_path: Path):
    width, height = 4000, 3000
    Image.new("RGBA", (width, height), (1, 2, 3, 4)).save(tmp_path / "a.png", compress_level=1)

    def taken(large: int) -> float:
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.png"), str(large)]
        return int(subprocess.check_output(command)) / (width * height)

    assert taken(1 << 40) > 7
    assert taken(0) < 5
