"""The cost of decoding and encoding images, estimated from their headers."""

from __future__ import annotations

from safelight.file_formats import FileFormat
from safelight.images import DecodeLimits
from safelight.images.cost import decode_bytes, encode_bytes
from safelight.images.decode import inspect
from safelight.images.picture import Header, Layout
from safelight.images.sampling import reach
from safelight.server.picture_threads import Cost


def reading(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """The cost of decoding an image, or the first frame of an animation.

    Args:
        data: The image file.
        limits: The decoding limits.
        shrink_to: As for ``images.decode``.

    Raises:
        ImageError: The file is no image, or exceeds the limits by its header.
    """
    layout = inspect(data, limits)
    head = layout.header
    return Cost(decode_bytes(layout, limits, shrink_to), head.width * head.height)


def all_frames(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """The cost of decoding an animation as ``images.frames`` does; raises as ``decode_cost`` does."""
    layout = inspect(data, limits)
    head = layout.header
    return Cost(decode_bytes(layout, limits, shrink_to), head.width * head.height * reach(layout))


def reading_ours(size: tuple[int, int], limits: DecodeLimits, shrink_to: int | None = None) -> Cost:
    """The cost of decoding a PNG that we wrote, whose size is known.

    Args:
        size: Width and height, in pixels.
        limits: The decoding limits.
        shrink_to: As for ``images.decode``.
    """
    layout = Layout(Header("PNG", *size))
    return Cost(decode_bytes(layout, limits, shrink_to), size[0] * size[1])


def reading_alpha(data: bytes, limits: DecodeLimits) -> Cost:
    """The cost of decoding an image for its alpha channel or its brightness; raises as ``decode_cost`` does."""
    cost = reading(data, limits)
    return Cost(cost.memory + 2 * cost.pixels, cost.pixels)  # the channel that is kept, and its rotated copy


def writing(size: tuple[int, int], kind: FileFormat) -> Cost:
    """The cost of encoding an image.

    Args:
        size: Width and height, in pixels.
        kind: The file format.
    """
    return Cost(encode_bytes(size, kind), size[0] * size[1])


def converting(data: bytes, kind: FileFormat, limits: DecodeLimits) -> Cost:
    """The cost of converting an image file to another format; raises as ``decode_cost`` does."""
    layout = inspect(data, limits)
    head = layout.header
    if head.format.lower() == kind:
        return Cost()
    size = head.width, head.height
    return Cost(decode_bytes(layout, limits) + encode_bytes(size, kind), 2 * size[0] * size[1])
