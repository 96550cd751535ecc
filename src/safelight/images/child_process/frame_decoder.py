"""Decode AVIF and WebP frames in a child process.

Pillow's AVIF decoder, and the last step of its WebP decoder, hold the interpreter's lock while they run and thereby
block every other thread, the event loop's included. Large pictures are therefore decoded by a child process, which is
started for one picture and ends with it.
"""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Literal

from safelight.errors import ImageCorruptError

_CHILD = Path(__file__).with_name("frame_decoder_main.py")


class FrameDecoder:
    """A child process that decodes the frames of one file.

    Args:
        format_name: The format.
        data: The file's bytes.
    """

    def __init__(self, format_name: Literal["AVIF", "WEBP"], data: bytes) -> None:
        self._data: bytes | None = data
        command = [sys.executable, "-P", str(_CHILD), format_name]
        self._child = subprocess.Popen(  # noqa: S603 - our own script, and a name of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.close = weakref.finalize(self, _kill, self._child)

    def decode_frame(self, index: int, size: int) -> bytes:
        """Decode a frame to pixels.

        Args:
            index: The frame's index, from 0.
            size: The expected number of bytes.

        Raises:
            ImageCorruptError: The child died, or returned another number of bytes.
            Exception: The decoder's own exception.
        """
        asked, answers = self._child.stdin, self._child.stdout
        assert asked is not None
        assert answers is not None
        try:
            if self._data is not None:
                asked.write(len(self._data).to_bytes(8))
                asked.write(self._data)
                self._data = None
            asked.write(index.to_bytes(4))
            asked.flush()
        except BrokenPipeError as error:
            raise ImageCorruptError("The picture's decoder ended before it was done.") from error
        length = int.from_bytes(answers.read(8), signed=True)
        if length < 0:
            _raise_decoder_error(answers.read(-length).decode(errors="replace"))
        pixels = answers.read(size) if length == size else b""
        if len(pixels) != size:
            raise ImageCorruptError("The picture's decoder ended before it was done.")
        return pixels


def _raise_decoder_error(message: str) -> None:
    name, _, text = message.partition(": ")
    kinds: dict[str, type[Exception]] = {"EOFError": EOFError, "MemoryError": MemoryError}
    raise kinds.get(name, ValueError)(text)


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()
