"""The process that ``isolated`` starts to decode one file.

It reads a line of JSON and the file. For each frame it writes a line of JSON and the pixels, row by row; then a last
line that marks the end or holds the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import IO, Any

from safelight.errors import SafelightError
from safelight.images.alpha import decode_alpha_in_process
from safelight.images.arrays import CHUNK_PIXELS
from safelight.images.decoding import decode_in_process, inspect_file
from safelight.images.frames import iter_frames_in_process
from safelight.images.types import DecodeLimits, Frame


def main() -> None:
    """Decode the file from standard input."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(asked.readline())
    data = asked.read(request["size"])
    limits = DecodeLimits(**request["limits"] | {"background": tuple(request["limits"]["background"])})
    try:
        for frame in _run_task(request["task"], data, limits, request["shrink_to"]):
            _write_frame(answers, frame)
        last = {"kind": "end"}
    except SafelightError as error:
        last = {
            "kind": "error",
            "name": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
        }
    except Exception as error:  # noqa: BLE001  sent to the parent process, which raises it
        last = {"kind": "error", "name": type(error).__name__, "message": str(error)[:1000], "hint": ""}
    answers.write(json.dumps(last).encode() + b"\n")
    answers.flush()


def _run_task(task: str, data: bytes, limits: DecodeLimits, shrink_to: int | None) -> Iterator[Frame]:
    layout = inspect_file(data, limits)
    if task == "frames":
        yield from iter_frames_in_process(data, layout, limits, shrink_to)
    elif task == "decode":
        yield decode_in_process(data, layout, limits, shrink_to)
    elif (alpha := decode_alpha_in_process(data, layout, limits)) is not None:
        yield Frame(alpha, 0, alpha.size, layout.header.format)


def _write_frame(answers: IO[bytes], frame: Frame) -> None:
    image = frame.image
    message: dict[str, Any] = {
        "kind": "frame",
        "mode": image.mode,
        "stored": image.size,
        "index": frame.index,
        "size": frame.size,
        "format": frame.format,
        "notes": frame.notes,
    }
    answers.write(json.dumps(message).encode() + b"\n")
    rows = max(1, CHUNK_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = 0, top, image.width, min(top + rows, image.height)
        answers.write(
            image._new(image.im.crop(box)).tobytes()
        )  # Image.crop would apply Pillow's own limit on pixels


if __name__ == "__main__":
    main()
