"""Read a folder of pictures with captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from safelight.errors import FileMissingError, ImageError, TrainingDataError
from safelight.images.decoding import decode
from safelight.images.types import DecodeLimits

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
METADATA = "metadata.jsonl"
MAX_TEXT_BYTES, MAX_TABLE_BYTES = 64 * 1024, 64 * 1024 * 1024
"""Largest caption file, and largest metadata.jsonl."""


@dataclass(frozen=True)
class Example:
    """A picture with its caption.

    Args:
        path: The picture.
        caption: What it shows; never empty.
    """

    path: Path
    caption: str


@dataclass(frozen=True)
class CroppedPicture:
    """A picture at the size that it is trained at.

    Args:
        image: RGB, square.
        size: Width and height of the whole picture in pixels.
        corner: Left and top of the square, in pixels of the picture at the size that the square was cut from it.
    """

    image: Image.Image
    size: tuple[int, int]
    corner: tuple[int, int]


def find_examples(folder: Path, trigger: str = "") -> list[Example]:
    """The pictures of a folder with their captions, in the order of their names.

    The captions are in ``metadata.jsonl``, an object with ``file_name`` and ``text`` a line, or else beside each
    picture in a file of its name that ends with .txt.

    Args:
        folder: The folder; folders within it are not searched, but metadata.jsonl may name pictures in them.
        trigger: Words that are put before captions that do not have them.

    Raises:
        TrainingDataError: There are no pictures, a caption is missing or empty, or metadata.jsonl is damaged.
        FileMissingError: The folder is not there or cannot be read.
    """
    if not folder.is_dir():
        raise FileMissingError(f"{folder} is no folder.", hint="Give the folder with the pictures.")
    table = folder / METADATA
    found = list(_from_table(table) if table.exists() else _from_text_files(folder))
    if not found:
        raise TrainingDataError(f"There are no pictures in {folder}.")
    return [Example(each.path, _with_trigger(each.caption, trigger)) for each in found]


def load_picture(example: Example, side: int, limits: DecodeLimits) -> CroppedPicture:
    """Decode a picture, and cut a square of side x side pixels out of its middle, as large as the picture has room for.

    Raises:
        TrainingDataError: It cannot be decoded; the message names it and says why.
    """
    try:
        frame = decode(example.path, limits=limits, shrink_to=side)
    except (ImageError, FileMissingError) as error:
        raise TrainingDataError(f"{example.path.name} cannot be used: {error.message}") from error
    width, height = frame.image.size
    scale = side / min(width, height)
    corner = round((width * scale - side) / 2), round((height * scale - side) / 2)
    square = ImageOps.fit(frame.image, (side, side), Image.Resampling.LANCZOS)
    return CroppedPicture(square, frame.size, corner)


def count_tags(examples: Iterable[Example]) -> dict[str, int]:
    """How often each part of the captions between commas occurs, the most frequent first."""
    counts = Counter(tag.strip() for example in examples for tag in example.caption.split(",") if tag.strip())
    return dict(counts.most_common())


def _from_text_files(folder: Path) -> Iterator[Example]:
    pictures = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    texts = [path.with_suffix(".txt") for path in pictures]
    _refuse_without_caption(
        [path.name for path, text in zip(pictures, texts, strict=True) if not text.is_file()]
    )
    captions = [_read(text, MAX_TEXT_BYTES).strip() for text in texts]
    _refuse_without_caption(
        [path.name for path, caption in zip(pictures, captions, strict=True) if not caption]
    )
    for path, caption in zip(pictures, captions, strict=True):
        yield Example(path, " ".join(caption.split()))


def _from_table(table: Path) -> Iterator[Example]:
    for number, line in enumerate(_read(table, MAX_TABLE_BYTES).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TrainingDataError(f"Line {number} of {METADATA} is no JSON.") from error
        name = entry.get("file_name") if isinstance(entry, dict) else None
        caption = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(caption, str):
            raise TrainingDataError(f"Line {number} of {METADATA} has no file_name or no text.")
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name or "\\" in name:
            raise TrainingDataError(f"Line {number} of {METADATA} names a picture outside of the folder.")
        if not caption.strip():
            _refuse_without_caption([name])
        yield Example(table.parent / place, " ".join(caption.split()))


def _refuse_without_caption(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise TrainingDataError(f"There is no caption for {', '.join(names[:3])}{more}.")


def _read(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{path.name} is not text in UTF-8.") from error
    if len(data) > most:
        raise TrainingDataError(f"{path.name} has more than {most} bytes.")
    return text


def _with_trigger(caption: str, trigger: str) -> str:
    return caption if not trigger or trigger.casefold() in caption.casefold() else f"{trigger}, {caption}"
