"""Decode evenly sampled frames of animations and multi-page files, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from safelight.images.decode import check_shrink, decode, file_frame, inspect, open_file
from safelight.images.guard import foreign
from safelight.images.isolated import frames_isolated, is_large
from safelight.images.picture import DecodeLimits, Frame, ImageSource, Layout, check_size
from safelight.images.sampling import sample
from safelight.images.source import read_bytes
from safelight.images.tiff import open_page

_DEFAULT = DecodeLimits()


def frames(
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
    check_shrink(shrink_to)
    if isinstance(source, np.ndarray | Image.Image):
        yield decode(source, limits=limits, shrink_to=shrink_to)
        return
    data = read_bytes(source, limits.max_bytes)
    layout = inspect(data, limits)
    if is_large(layout, limits, shrink_to):
        yield from frames_isolated("frames", data, limits, shrink_to)
    else:
        yield from frames_here(data, layout, limits, shrink_to)


def frames_here(data: bytes, layout: Layout, limits: DecodeLimits, shrink_to: int | None) -> Iterator[Frame]:
    """Like `frames` for a file that was inspected; always decodes in this process."""
    indices, notes = sample(layout, limits.max_frames)
    image = open_file(data, layout, limits)
    for index in indices:
        image = _at(data, layout, image, index)
        check_size(image.size, limits)
        frame = file_frame(image, index, limits, shrink_to, notes)
        # Pillow decodes each frame into the same image object
        yield replace(frame, image=image.copy()) if frame.image is image and len(indices) > 1 else frame


def _at(data: bytes, layout: Layout, image: Image.Image, index: int) -> Image.Image:
    """The image at a frame; each page of a TIFF is opened as a separate image."""
    with foreign(layout.header.format):
        if layout.offsets and index:
            image.close()  # frees its copy of the file; the page's frame has an image of its own
            return open_page(data, layout, index)
        if index:
            image.seek(index)
    return image
