"""What work on pictures takes, found out before anything is decoded."""

from __future__ import annotations

from safelight.file_formats import FileFormat
from safelight.images import DecodeLimits
from safelight.images.cost import decode_bytes, encode_bytes
from safelight.images.decode import inspect
from safelight.images.picture import Header, Layout
from safelight.images.sampling import reach
from safelight.server.picture_threads import Cost


def reading(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """Of decoding a picture, or the first frame of an animation.

    Args:
        data: The file.
        limits: What it may cost.
        shrink_to: As for ``images.decode``.

    Raises:
        ImageError: It is no picture, or beyond the limits by its header's own word.
    """
    layout = inspect(data, limits)
    head = layout.header
    return Cost(decode_bytes(layout, limits, shrink_to), head.width * head.height)


def all_frames(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """Of decoding an animation as ``images.frames`` does; raises as ``reading`` does."""
    layout = inspect(data, limits)
    head = layout.header
    return Cost(decode_bytes(layout, limits, shrink_to), head.width * head.height * reach(layout))


def reading_ours(size: tuple[int, int], limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """Of decoding a PNG of ours, whose size is known.

    Args:
        size: Width and height.
        limits: What it may cost.
        shrink_to: As for ``images.decode``.
    """
    layout = Layout(Header("PNG", *size))
    return Cost(decode_bytes(layout, limits, shrink_to), size[0] * size[1])


def reading_alpha(data: bytes, limits: DecodeLimits) -> Cost:
    """Of decoding a picture for what is transparent, or for what is light; raises as ``reading``."""
    cost = reading(data, limits)
    return Cost(cost.memory + 2 * cost.pixels, cost.pixels)  # the part that is kept, and its upright copy


def writing(size: tuple[int, int], kind: FileFormat) -> Cost:
    """Of encoding a picture.

    Args:
        size: Width and height.
        kind: The format.
    """
    return Cost(encode_bytes(size, kind), size[0] * size[1])


def converting(data: bytes, kind: FileFormat, limits: DecodeLimits) -> Cost:
    """Of writing a picture file anew in another format; raises as ``reading`` does."""
    layout = inspect(data, limits)
    head = layout.header
    if head.format.lower() == kind:
        return Cost()
    size = head.width, head.height
    return Cost(decode_bytes(layout, limits) + encode_bytes(size, kind), 2 * size[0] * size[1])
