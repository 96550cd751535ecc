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
from safelight.images.arrays import PART
from safelight.images.cost import decode_bytes
from safelight.images.picture import DecodeLimits, Frame, Layout

LARGE = 300 * 10**6
"""Bytes of memory above which a child process decodes; starting it takes a third of a second."""

Task = Literal["decode", "frames", "alpha"]
_CHILD = "safelight.images.decoding_process"


def is_large(layout: Layout, limits: DecodeLimits, shrink_to: int | None = None) -> bool:
    """Whether a picture is decoded in a child process."""
    return decode_bytes(layout, limits, shrink_to) > LARGE


def frames_isolated(
    task: Task, data: bytes, limits: DecodeLimits, shrink_to: int | None = None
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
            while (told := _told(child.stdout))["kind"] == "frame":
                yield _frame(child.stdout, told)
            if told["kind"] == "error":
                raise _error(told)
        finally:
            child.kill()


def _send(pipe: IO[bytes], request: dict[str, Any], data: bytes) -> None:
    try:
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.write(data)
        pipe.close()
    except BrokenPipeError as error:
        raise _ended() from error


def _told(pipe: IO[bytes]) -> dict[str, Any]:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise _ended()
    found: dict[str, Any] = json.loads(line)
    return found


def _frame(pipe: IO[bytes], told: dict[str, Any]) -> Frame:
    mode, (width, height) = told["mode"], told["stored"]
    image, bands = Image.new(mode, (width, height), None), Image.getmodebands(mode)
    rows = max(1, PART // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        data = pipe.read(width * count * bands)
        if len(data) < width * count * bands:
            raise _ended()
        image.paste(Image.frombytes(mode, (width, count), data), (0, top))
    return Frame(image, told["index"], tuple(told["size"]), told["format"], tuple(told["notes"]))


def _error(told: dict[str, Any]) -> SafelightError:
    kind = getattr(errors, told["name"], None)
    if isinstance(kind, type) and issubclass(kind, SafelightError):
        return kind(told["message"], hint=told["hint"])
    return InternalError(f"{told['name']}: {told['message']}")


def _ended() -> ImageCorruptError:
    return ImageCorruptError("The picture's decoder ended before it was done.")
