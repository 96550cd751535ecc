"""The script that `apart` starts to decode AVIF or WebP. It imports nothing but Pillow.

It reads the file's length (8 bytes, big-endian) and the file, then a frame number (4 bytes) per request. It answers
each request with a length and as many bytes of pixels, or with a negative length and as many bytes of error message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

FrameFunction = Callable[[int], bytes]


def main() -> None:
    """Answer requests until the input ends."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    data = asked.read(int.from_bytes(asked.read(8)))
    frame: FrameFunction | None = None
    while number := asked.read(4):
        try:
            frame = frame or {"AVIF": _avif_decoder, "WEBP": _webp_decoder}[sys.argv[1]](data)
            answer, sign = frame(int.from_bytes(number)), 1
        except Exception as error:  # noqa: BLE001 - decoders raise any exception; the parent raises it again
            answer, sign = f"{type(error).__name__}: {error}".encode()[:1000], -1
        answers.write((sign * len(answer)).to_bytes(8, signed=True))
        answers.write(answer)
        answers.flush()
        del answer


def _avif_decoder(data: bytes) -> FrameFunction:
    from PIL import AvifImagePlugin
    from PIL._avif import AvifDecoder

    decoder = AvifDecoder(data, "auto", AvifImagePlugin._get_default_max_threads())
    return lambda number: decoder.get_frame(number)[0]


def _webp_decoder(data: bytes) -> FrameFunction:
    from PIL._webp import WebPAnimDecoder

    decoder: Any = WebPAnimDecoder(data)
    done = 0

    def frame(number: int) -> bytes:
        nonlocal done
        if number < done:
            decoder.reset()
            done = 0
        while True:
            found = decoder.get_next()
            if found is None:
                raise EOFError("failed to decode next frame in WebP file")
            done += 1
            if done > number:
                return bytes(found[0])

    return frame


if __name__ == "__main__":
    main()
