"""The formats that pictures are written in, and their suffixes. It imports nothing, so that commands start fast."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

FileFormat = Literal["png", "jpeg", "webp"]
SUFFIXES: Mapping[FileFormat, str] = MappingProxyType({"png": ".png", "jpeg": ".jpg", "webp": ".webp"})
"""The usual suffix of each format."""
FORMATS: Mapping[str, FileFormat] = MappingProxyType(
    {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
)
"""The format of each suffix, in lower case."""
