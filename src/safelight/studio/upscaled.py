"""An enlarged picture, and what it keeps of the picture it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.errors import BlockedError
from safelight.file_formats import FileFormat
from safelight.generation.infotext import format_infotext, parse_infotext
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.verdict import Verdict
from safelight.studio.picture import kind_of, write

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Upscaled:
    """The result of upscaling.

    Args:
        image: RGB; None where the policy blocks it.
        verdict: What the policy says of it.
        upscaler: The upscaler's name.
        factor: On width and height.
        infotext: That of the picture it was made from, with the enlargement; None where it had none. The reproduction
            record is left behind: it tells of another picture.
        seconds: What it took.
    """

    image: Image.Image | None
    verdict: Verdict
    upscaler: str
    factor: float
    infotext: str | None
    seconds: float

    @property
    def blocked_because(self) -> str:
        """Which score kept it back."""
        return f"The policy {self.verdict.policy.name} blocks the enlarged picture: unsafe {self.verdict.unsafe:.4f}."

    def save(self, path: str | Path, *, quality: int = 95, lossless: bool = False) -> Path:
        """Write it; the suffix says the format.

        Raises:
            BlockedError: The policy blocks it.
            OutputError, UsageError: It cannot be written there, or not like that.
        """
        if self.image is None:
            raise BlockedError(self.blocked_because)
        path, metadata = Path(path), Metadata(infotext=self.infotext)
        return write(path, self.image, kind_of(path), metadata, quality=quality, lossless=lossless)

    def encode(self, kind: FileFormat = "png", *, quality: int = 95, lossless: bool = False) -> bytes:
        """The picture as a file, with what it keeps of the picture it was made from.

        Raises:
            BlockedError: The policy blocks it.
        """
        if self.image is None:
            raise BlockedError(self.blocked_because)
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
            "verdict": self.verdict.to_dict(),
        }


def add_upscaling(infotext: str | None, factor: float, upscaler: str) -> str | None:
    """An infotext with A1111's keys for an enlargement afterwards; words without parameters stay what they are."""
    if infotext is None or not parse_infotext(infotext).parameters:
        return infotext
    added = {"Postprocess upscale by": f"{factor:g}", "Postprocess upscaler": upscaler}
    return f"{infotext.rstrip()}, {format_infotext('', '', added)}"
