"""The result of a preprocessor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.errors import BlockedError
from safelight.file_formats import FileFormat
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.verdict import Verdict
from safelight.studio.picture import format_of_suffix, write_image

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Preprocessed:
    """The result of a preprocessor.

    Args:
        image: RGB; None if the policy blocks it.
        verdict: The policy's verdict on it.
        preprocessor: The preprocessor's name.
        parameters: All of its parameters by name, with those that were left open.
        seconds: The time to make it.
    """

    image: Image.Image | None
    verdict: Verdict
    preprocessor: str
    parameters: Mapping[str, Any]
    seconds: float

    @property
    def block_reason(self) -> str:
        """The score for which the policy blocks it."""
        policy, unsafe = self.verdict.policy.name, self.verdict.unsafe
        return f"The policy {policy} blocks the preprocessed picture: unsafe {unsafe:.4f}."

    def save(self, path: str | Path, *, quality: int = 95, lossless: bool = False) -> Path:
        """Write the picture; the suffix determines the format.

        Raises:
            BlockedError: The policy blocks it.
            OutputError, UsageError: It cannot be written there, or not with these options.
        """
        image, path = self._shown(), Path(path)
        return write_image(
            path, image, format_of_suffix(path), Metadata(), quality=quality, lossless=lossless
        )

    def encode(self, kind: FileFormat = "png", *, quality: int = 95, lossless: bool = False) -> bytes:
        """The picture as a file.

        Raises:
            BlockedError: The policy blocks it.
        """
        return encode_image(self._shown(), kind, Metadata(), quality=quality, lossless=lossless)

    def to_dict(self, path: Path | None = None) -> dict[str, Any]:
        """The result for JSON output."""
        width, height = self.image.size if self.image else (None, None)
        return {
            "path": None if path is None else str(path),
            "width": width,
            "height": height,
            "preprocessor": self.preprocessor,
            "parameters": dict(self.parameters),
            "seconds": round(self.seconds, 3),
            "verdict": self.verdict.to_dict(),
        }

    def _shown(self) -> Image.Image:
        if self.image is None:
            raise BlockedError(self.block_reason)
        return self.image
