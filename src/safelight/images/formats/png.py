"""PNG and APNG: check the structure, and open the file with Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from safelight.errors import ImageCorruptError, ImageTruncatedError
from safelight.images.types import FileLayout, ImageHeader

_MAX_CHUNKS = 200_000  # Pillow spends microseconds on each, even if it is empty
_FIRST_CHUNK = 8
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
_CONVERSION_CHUNKS = (b"tRNS", b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # texts can hold EXIF


def inspect(data: bytes) -> FileLayout:
    """Read size, bit depth and number of frames from the chunks.

    Raises:
        ImageTruncatedError: The file ends within its header.
        ImageCorruptError: The first chunk is not a header, the animation control is invalid, or there are too many
            chunks.
    """
    if len(data) < _FIRST_CHUNK + 25:
        raise ImageTruncatedError("The PNG picture ends within its header.")
    if data[12:16] != b"IHDR":
        raise ImageCorruptError("The PNG picture does not begin with its header.")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    names = {name for name, _ in iter_chunks(data)}
    transparent = b"tRNS" in names
    frames = _frame_count(data)
    return FileLayout(
        ImageHeader("PNG", width, height, frames),
        bits,
        buffer_bytes=12 * width * height
        if frames > 1
        else 0,  # the last frame, the next frame, and the canvas
        pixel_bytes=_pixel_bytes(bits, colour, transparent),
        needs_conversion=colour != _COLOUR or not names.isdisjoint(_CONVERSION_CHUNKS),
    )


def open_image(data: bytes, layout: FileLayout) -> Image.Image:
    """Open the picture at its first frame without decoding it."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    if layout.sample_bits in (2, 4) and isinstance(image.info.get("transparency"), int) and image.mode == "L":
        # Pillow scales the samples to 8 bits, but not the transparent one
        image.info["transparency"] *= 255 // (2**layout.sample_bits - 1)
    return image


def iter_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and position of the content of each chunk, up to the end of the picture or of the file."""
    position = _FIRST_CHUNK
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8
        if name == b"IEND":
            return
        position += length + 12
    raise ImageCorruptError(f"The PNG picture has more than {_MAX_CHUNKS} chunks.")


def _pixel_bytes(bits: int, colour: int, transparent: bool) -> int:
    """Bytes per decoded pixel: four in Pillow, except for grey and palette pictures."""
    if colour in (_GREY, _PALETTE):
        return 2 if bits == 16 else 1
    if bits < 16 or colour == _GREY_ALPHA:
        return 4
    return (
        12 if transparent else 8
    )  # both bytes of each sample, and a picture with alpha if there is a transparent colour


def _frame_count(data: bytes) -> int:
    controls: list[int] = []
    frames = 0
    default = 0  # the default image precedes the first frame and is not part of the animation
    for name, position in iter_chunks(data):
        if name == b"acTL":
            controls.append(int.from_bytes(data[position : position + 4], "big"))
        elif name == b"fcTL":
            frames += 1
        elif name == b"IDAT" and not frames:
            default = 1
    if len(controls) > 1 or 0 in controls or max(controls, default=0) > 0x80000000:
        raise ImageCorruptError("The PNG picture's animation control makes no sense.")
    return max(1, min(controls[0], frames) + default) if controls else 1
