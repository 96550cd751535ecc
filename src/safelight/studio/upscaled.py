"""An upscaled picture, with the infotext of its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.errors import BlockedError
from safelight.file_formats import FileFormat
from safelight.generation.infotext import format_infotext, parse_infotext
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.verdict import Verdict
from safelight.runtime.backends import EAGER
from safelight.studio.picture import format_of_suffix, write_image

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Upscaled:
    """The result of upscaling.

    Args:
        image: RGB; None if the policy blocks it.
        verdict: The policy's verdict.
        upscaler: The upscaler's name.
        factor: Factor on width and height.
        infotext: The source's infotext with the upscaling added; None if it had none. The source's reproduction
            record is dropped: it describes another picture.
        seconds: The time to upscale it.
        tiles: How many parts of the picture each backend computed; empty without a network.
    """

    image: Image.Image | None
    verdict: Verdict
    upscaler: str
    factor: float
    infotext: str | None
    seconds: float
    tiles: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else than PyTorch computed it, as sentences."""
        total = sum(self.tiles.values())
        return tuple(
            f"{backend} computed {count} of {total} {'part' if total == 1 else 'parts'} of the picture."
            for backend, count in self.tiles.items()
            if backend != EAGER
        )

    @property
    def block_reason(self) -> str:
        """The score for which the policy blocks it."""
        return f"The policy {self.verdict.policy.name} blocks the upscaled picture: unsafe {self.verdict.unsafe:.4f}."

    def save(self, path: str | Path, *, quality: int = 95, lossless: bool = False) -> Path:
        """Write the picture; the suffix determines the format.

        Raises:
            BlockedError: The policy blocks it.
            OutputError, UsageError: It cannot be written there, or not with these options.
        """
        if self.image is None:
            raise BlockedError(self.block_reason)
        path, metadata = Path(path), Metadata(infotext=self.infotext)
        return write_image(
            path, self.image, format_of_suffix(path), metadata, quality=quality, lossless=lossless
        )

    def encode(self, kind: FileFormat = "png", *, quality: int = 95, lossless: bool = False) -> bytes:
        """The picture as a file, with the source's infotext.

        Raises:
            BlockedError: The policy blocks it.
        """
        if self.image is None:
            raise BlockedError(self.block_reason)
        metadata = Metadata(infotext=self.infotext)
        return encode_image(self.image, kind, metadata, quality=quality, lossless=lossless)

    def to_dict(self, path: Path | None = None) -> dict[str, Any]:
        """The result for JSON output."""
        width, height = self.image.size if self.image else (None, None)
        return {
            "path": None if path is None else str(path),
            "width": width,
            "height": height,
            "upscaler": self.upscaler,
            "factor": self.factor,
            "seconds": round(self.seconds, 3),
            "tiles": dict(self.tiles),
            "verdict": self.verdict.to_dict(),
        }


def add_upscaling(infotext: str | None, factor: float, upscaler: str) -> str | None:
    """An infotext with A1111's keys for upscaling; a text without parameters is returned unchanged."""
    if infotext is None or not parse_infotext(infotext).parameters:
        return infotext
    added = {"Postprocess upscale by": f"{factor:g}", "Postprocess upscaler": upscaler}
    return f"{infotext.rstrip()}, {format_infotext('', '', added)}"
