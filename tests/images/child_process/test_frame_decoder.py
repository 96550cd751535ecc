"""Frames decoded in a child process equal those decoded in this process."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ImageCorruptError, ImageTruncatedError
from safelight.images import decode, iter_frames
from safelight.images.child_process import frame_decoder
from safelight.images.child_process.frame_decoder import FrameDecoder
from safelight.images.formats import isobmff, webp

MODULES = {"AVIF": isobmff, "WEBP": webp}


@pytest.fixture(params=["AVIF", "WEBP"])
def name(request) -> str:
    return request.param


@pytest.fixture
def files(make, name) -> list[bytes]:
    clear = make.image()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    return [make.encode(make.image(), name), make.encode(clear, name), make.animation(5, name)]


def test_pixels_and_frames_are_the_same(files, name, monkeypatch, new_children):
    before = [list(iter_frames(data)) for data in files]
    monkeypatch.setattr(MODULES[name], "_CHILD_PROCESS_PIXELS", 0)
    for data, here in zip(files, before, strict=True):
        there = list(iter_frames(data))
        assert [frame.notes for frame in there] == [frame.notes for frame in here]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(here, there, strict=True))
    assert not new_children()


def test_errors_are_the_same(make, name, monkeypatch, new_children):
    data = make.lossless(make.image(), name)
    # the structure is intact and the pixels are not
    damaged = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    with pytest.raises((ImageCorruptError, ImageTruncatedError)) as here:
        decode(damaged)
    monkeypatch.setattr(MODULES[name], "_CHILD_PROCESS_PIXELS", 0)
    with pytest.raises(type(here.value)):
        decode(damaged)
    assert not new_children()


def test_a_child_that_dies_is_our_error(files, name, new_children):
    child = FrameDecoder(name, files[0])
    child._child.kill()
    child._child.wait()
    with pytest.raises(ImageCorruptError, match="ended before"):
        child.decode_frame(0, 64 * 48 * 3)
    child = FrameDecoder(name, files[0])
    with pytest.raises(ImageCorruptError, match="ended before"):
        child.decode_frame(0, 5)  # another size than announced
    del child
    assert not new_children()
    assert frame_decoder._CHILD.is_file()
