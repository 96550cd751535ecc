"""Reading metadata as another program does."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image
from sd_parsers import ParserManager

_kept: list[Image.Image] = []
"""All images that were read: sd-parsers caches the text of the last one by its address, which the next might get."""


def read_with_sd_parsers(data: bytes) -> Any:
    """The prompts and parameters that sd-parsers finds in an image file."""
    _kept.append(Image.open(io.BytesIO(data)))
    return ParserManager().parse(_kept[-1])
