"""Decode pictures that take much memory in a child process, which sends them back a few rows at a time.

This process then holds only the decoded picture and no intermediate results; and a decoder that crashes, or that the
system kills for its memory, does not end this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any, Literal

from PIL import Image

from safelight import errors
from safelight.errors import ImageCorruptError, InternalError, SafelightError
from safelight.images.arrays import CHUNK_PIXELS
from safelight.images.memory_cost import decode_memory
from safelight.images.types import DecodeLimits, FileLayout, Frame

LARGE_BYTES = 300 * 10**6
"""Bytes of memory above which a child process decodes; starting it takes a third of a second."""

DecodeTask = Literal["decode", "frames", "alpha"]
_CHILD = "safelight.images.child_process.file_decoder_main"


def needs_child_process(layout: FileLayout, limits: DecodeLimits, shrink_to: int | None = None) -> bool:
    """Whether a picture is decoded in a child process."""
    return decode_memory(layout, limits, shrink_to) > LARGE_BYTES


def run_in_child_process(
    task: DecodeTask, data: bytes, limits: DecodeLimits, shrink_to: int | None = None
) -> Iterator[Frame]:
    """Run a task in a child process and yield its frames.

    Args:
        task: "decode" and "frames" yield what those functions return; "alpha" yields the alpha channel as one frame,
            or nothing if the picture is opaque.
        data: The file's bytes.
        limits: As for ``decode``.
        shrink_to: As for ``decode``.

    Raises:
        ImageError: As the task would raise it in this process; ImageCorruptError also if the child died.
    """
    command = [sys.executable, "-P", "-m", _CHILD]
    with subprocess.Popen(  # noqa: S603  our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            request = {"task": task, "limits": asdict(limits), "shrink_to": shrink_to, "size": len(data)}
            _send(child.stdin, request, data)
            while (header := _read_message(child.stdout))["kind"] == "frame":
                yield _read_frame(child.stdout, header)
            if header["kind"] == "error":
                raise _rebuild_error(header)
        finally:
            child.kill()


def _send(pipe: IO[bytes], request: dict[str, Any], data: bytes) -> None:
    try:
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.write(data)
        pipe.close()
    except BrokenPipeError as error:
        raise _decoder_died() from error


def _read_message(pipe: IO[bytes]) -> dict[str, Any]:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise _decoder_died()
    found: dict[str, Any] = json.loads(line)
    return found


def _read_frame(pipe: IO[bytes], message: dict[str, Any]) -> Frame:
    mode, (width, height) = message["mode"], message["stored"]
    image, bands = Image.new(mode, (width, height), None), Image.getmodebands(mode)
    rows = max(1, CHUNK_PIXELS // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        data = pipe.read(width * count * bands)
        if len(data) < width * count * bands:
            raise _decoder_died()
        image.paste(Image.frombytes(mode, (width, count), data), (0, top))
    return Frame(image, message["index"], tuple(message["size"]), message["format"], tuple(message["notes"]))


def _rebuild_error(message: dict[str, Any]) -> SafelightError:
    kind = getattr(errors, message["name"], None)
    if isinstance(kind, type) and issubclass(kind, SafelightError):
        return kind(message["message"], hint=message["hint"])
    return InternalError(f"{message['name']}: {message['message']}")


def _decoder_died() -> ImageCorruptError:
    return ImageCorruptError("The picture's decoder ended before it was done.")
