"""The cost of decoding and encoding images, estimated from their headers."""

from __future__ import annotations

from safelight.file_formats import FileFormat
from safelight.images import DecodeLimits
from safelight.images.decoding import inspect_file
from safelight.images.frame_sampling import reachable_frames
from safelight.images.memory_cost import decode_memory, encode_memory
from safelight.images.types import FileLayout, ImageHeader
from safelight.server.core.executors.image_executor import ImageCost


def decode_cost(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> ImageCost:
    """The cost of decoding an image, or the first frame of an animation.

    Args:
        data: The image file.
        limits: The decoding limits.
        shrink_to: As for ``images.decode``.

    Raises:
        ImageError: The file is no image, or exceeds the limits by its header.
    """
    layout = inspect_file(data, limits)
    header_ = layout.header
    return ImageCost(decode_memory(layout, limits, shrink_to), header_.width * header_.height)


def decode_frames_cost(data: bytes, limits: DecodeLimits, shrink_to: int | None = None) -> ImageCost:
    """The cost of decoding an animation as ``images.frames`` does; raises as ``decode_cost`` does."""
    layout = inspect_file(data, limits)
    header_ = layout.header
    return ImageCost(
        decode_memory(layout, limits, shrink_to), header_.width * header_.height * reachable_frames(layout)
    )


def decode_png_cost(size: tuple[int, int], limits: DecodeLimits, shrink_to: int | None = None) -> ImageCost:
    """The cost of decoding a PNG that we wrote, whose size is known.

    Args:
        size: Width and height, in pixels.
        limits: The decoding limits.
        shrink_to: As for ``images.decode``.
    """
    layout = FileLayout(ImageHeader("PNG", *size))
    return ImageCost(decode_memory(layout, limits, shrink_to), size[0] * size[1])


def decode_alpha_cost(data: bytes, limits: DecodeLimits) -> ImageCost:
    """The cost of decoding an image for its alpha channel or its brightness; raises as ``decode_cost`` does."""
    cost = decode_cost(data, limits)
    return ImageCost(
        cost.memory + 2 * cost.pixels, cost.pixels
    )  # the channel that is kept, and its rotated copy


def encode_cost(size: tuple[int, int], kind: FileFormat) -> ImageCost:
    """The cost of encoding an image.

    Args:
        size: Width and height, in pixels.
        kind: The file format.
    """
    return ImageCost(encode_memory(size, kind), size[0] * size[1])


def convert_cost(data: bytes, kind: FileFormat, limits: DecodeLimits) -> ImageCost:
    """The cost of converting an image file to another format; raises as ``decode_cost`` does."""
    layout = inspect_file(data, limits)
    header_ = layout.header
    if header_.format.lower() == kind:
        return ImageCost()
    size = header_.width, header_.height
    return ImageCost(decode_memory(layout, limits) + encode_memory(size, kind), 2 * size[0] * size[1])
