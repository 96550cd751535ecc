"""Decode evenly sampled frames of animations and multi-page files, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from safelight.images.child_process.file_decoder import needs_child_process, run_in_child_process
from safelight.images.decoder_errors import translate_decoder_errors
from safelight.images.decoding import check_shrink_to, decode, decode_current_frame, inspect_file, open_file
from safelight.images.formats.tiff import open_page
from safelight.images.frame_sampling import sample_frames
from safelight.images.reader import read_bytes
from safelight.images.types import DecodeLimits, FileLayout, Frame, ImageSource, check_size

_DEFAULT = DecodeLimits()


def iter_frames(
    source: ImageSource, *, limits: DecodeLimits = _DEFAULT, shrink_to: int | None = None
) -> Iterator[Frame]:
    """Decode up to ``limits.max_frames`` frames, evenly spaced from the first on; a still picture yields one.

    Frames depend on those before them, so the frames in between are decoded too, and dropped. At most 1000 frames and
    2 gigapixels are decoded; a note says if that left frames out. Only one frame is held at a time. A PIL image counts
    as one frame, its current one.

    Args:
        source: As for `decode`.
        limits: Limits for decoding.
        shrink_to: As for `decode`.

    Yields:
        Frames in their order.

    Raises:
        ImageError: As for `decode`; also between frames, if a later frame is damaged.
        FileMissingError: The path cannot be read.
        UsageError: ``shrink_to`` is less than 1.
    """
    check_shrink_to(shrink_to)
    if isinstance(source, np.ndarray | Image.Image):
        yield decode(source, limits=limits, shrink_to=shrink_to)
        return
    data = read_bytes(source, limits.max_bytes)
    layout = inspect_file(data, limits)
    if needs_child_process(layout, limits, shrink_to):
        yield from run_in_child_process("frames", data, limits, shrink_to)
    else:
        yield from iter_frames_in_process(data, layout, limits, shrink_to)


def iter_frames_in_process(
    data: bytes, layout: FileLayout, limits: DecodeLimits, shrink_to: int | None
) -> Iterator[Frame]:
    """Like `iter_frames` for a file that was inspected; always decodes in this process."""
    indices, notes = sample_frames(layout, limits.max_frames)
    image = open_file(data, layout, limits)
    for index in indices:
        image = _open_frame(data, layout, image, index)
        check_size(image.size, limits)
        frame = decode_current_frame(image, index, limits, shrink_to, notes)
        # Pillow decodes each frame into the same image object
        yield replace(frame, image=image.copy()) if frame.image is image and len(indices) > 1 else frame


def _open_frame(data: bytes, layout: FileLayout, image: Image.Image, index: int) -> Image.Image:
    """The image at a frame; each page of a TIFF is opened as a separate image."""
    with translate_decoder_errors(layout.header.format):
        if layout.page_offsets and index:
            image.close()  # frees its copy of the file; the page's frame has an image of its own
            return open_page(data, layout, index)
        if index:
            image.seek(index)
    return image
