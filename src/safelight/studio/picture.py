"""A generated picture with its metadata, and its conversion to a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safelight.atomic_write import atomic_write, path_exists
from safelight.errors import BlockedError, UsageError
from safelight.file_formats import FORMATS, FileFormat
from safelight.generation.infotext import infotext_from_record
from safelight.generation.record import FileRef, RecordedVerdict, ReproductionRecord
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.policy import Decision
from safelight.moderation.verdict import Verdict

if TYPE_CHECKING:
    from PIL import Image

    from safelight.generation.artifact import MemoryUse


@dataclass(frozen=True)
class Picture:
    """One result of a request.

    Args:
        image: RGB; None if the policy blocks it.
        record: How it was made.
        verdict: The policy's verdict.
        seconds: The time to generate it.
        stopped_at: The step after which the run was stopped; None for a finished picture.
        memory: The memory that it took.
    """

    image: Image.Image | None
    record: ReproductionRecord
    verdict: Verdict
    seconds: float
    stopped_at: int | None = None
    memory: MemoryUse | None = None

    @property
    def seed(self) -> int:
        """The picture's seed."""
        return self.record.seed

    @property
    def infotext(self) -> str:
        """How it was made, in the format of A1111's web UI, which many tools read."""
        return infotext_from_record(self.record)

    def encode(self, kind: FileFormat = "png", *, quality: int = 95, lossless: bool = False) -> bytes:
        """The picture as a file with infotext and record; the same picture gives the same bytes.

        Args:
            kind: The format.
            quality: 1 to 100, for JPEG and lossy WebP.
            lossless: For WebP: keep every pixel exactly.

        Raises:
            BlockedError: The policy blocks it.
            OutputError, UsageError: The format cannot store it, or the quality is out of range.
        """
        if self.image is None:
            raise BlockedError(self.block_reason)
        if not 1 <= quality <= 100:
            raise UsageError(f"quality is {quality}; it has to be 1 to 100.")
        file = FileRef(kind=kind, quality=None if kind == "png" or lossless else quality, lossless=lossless)
        record = self.record.model_copy(update={"file": file})
        metadata = Metadata(infotext=self.infotext, record=record.to_json())
        return encode_image(self.image, kind, metadata, quality=quality, lossless=lossless)

    def save(self, path: str | Path, *, quality: int = 95, lossless: bool = False) -> Path:
        """Write the picture; the suffix determines the format: .png, .jpg, .jpeg or .webp.

        Raises:
            BlockedError, OutputError, UsageError: As in `encode`; or the folder cannot be written.
        """
        path = Path(path)
        data = self.encode(format_of_suffix(path), quality=quality, lossless=lossless)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        return path

    @property
    def block_reason(self) -> str:
        """The score for which the policy blocks it."""
        return (
            f"The policy {self.verdict.policy.name} blocks the picture with seed {self.seed}: "
            f"unsafe {self.verdict.unsafe:.4f}."
        )

    def to_dict(self, path: Path | None = None) -> dict[str, Any]:
        """The picture for JSON output.

        Args:
            path: Where it was written; None if it was not.
        """
        width, height = self.image.size if self.image else (self.record.width, self.record.height)
        return {
            "path": None if path is None else str(path),
            "seed": self.seed,
            "width": width,
            "height": height,
            "steps": self.record.steps,
            "sampler": self.record.sampler,
            "checkpoint": self.record.checkpoint.name,
            "control": [each.summary() for each in self.record.control],
            "references": [each.image for each in self.record.references],
            "adapters": self.record.to_dict()["adapters"],
            "seconds": round(self.seconds, 3),
            "stopped_at": self.stopped_at,
            "memory": None if self.memory is None else self.memory.to_dict(),
            "notes": list(self.record.notes),
            "verdict": self.verdict.to_dict(),
        }


def format_of_suffix(path: Path) -> FileFormat:
    """The format of a path's suffix.

    Raises:
        UsageError: The suffix is unknown.
    """
    if (kind := FORMATS.get(path.suffix.lower())) is None:
        raise UsageError(f"{path.name}: the suffix has to be one of {', '.join(FORMATS)}.")
    return kind


def write_image(
    path: Path, image: Image.Image, kind: FileFormat, metadata: Metadata, *, quality: int, lossless: bool
) -> Path:
    """Write a picture file atomically.

    Raises:
        OutputError, UsageError: It cannot be written there, or not with these options.
    """
    data = encode_image(image, kind, metadata, quality=quality, lossless=lossless)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path


def add_verdict(record: ReproductionRecord, verdict: Verdict) -> ReproductionRecord:
    """The record with the verdict of moderation."""
    policy = verdict.policy
    entry = RecordedVerdict(
        policy=policy.name, version=policy.version, digest=policy.digest, decision=verdict.decision.value
    )
    return record.model_copy(update={"verdict": entry})


def is_blocked(verdict: Verdict) -> bool:
    """Whether a picture must not be shown or written."""
    return verdict.decision is Decision.BLOCK


def unused_path(folder: Path, text: str, seed: int | None, suffix: str) -> Path:
    """An unused path, from the first words of a text and the seed."""
    stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "picture"
    name = stem if seed is None else f"{stem}-{seed}"
    paths = (folder / f"{name}{'' if number == 1 else f'-{number}'}{suffix}" for number in count(1))
    return next(path for path in paths if not path_exists(path))
