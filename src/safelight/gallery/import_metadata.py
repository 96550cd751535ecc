"""Entry fields from the metadata of a picture file."""

from __future__ import annotations

from typing import Any

from safelight.errors import RecordInvalidError
from safelight.gallery.entry import NewEntry
from safelight.gallery.entry_ids import created_of
from safelight.generation.infotext import parse_infotext
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import MAX_SEED
from safelight.images import read_header
from safelight.images.metadata.file_metadata import read_metadata
from safelight.moderation.policy import Decision

MAX_STEPS = 2**31 - 1
"""The largest number of steps that both databases can store."""


def record_fields(record: ReproductionRecord) -> dict[str, Any]:
    """The fields of a ``NewEntry`` from a reproduction record; the size is that of the first pass."""
    return {
        "width": record.width,
        "height": record.height,
        "prompt": record.prompt,
        "negative_prompt": record.negative_prompt,
        "mode": str(record.mode),
        "seed": record.seed,
        "steps": record.steps,
        "sampler": record.sampler,
        "checkpoint": record.checkpoint.name,
        "checkpoint_digest": record.checkpoint.digest,
        "family": record.checkpoint.family,
        "adapters": (
            *(each.digest for each in record.adapters),
            *(each.digest for each in record.embeddings),
        ),
        "policy": None if record.verdict is None else record.verdict.policy,
    }


def entry_from_file(entry_id: str, data: bytes) -> NewEntry:
    """An entry for a file that the gallery does not know: it has no owner, so only administrators see it.

    Args:
        entry_id: The entry's id.
        data: The file's content.

    Raises:
        ImageError: The file is no picture.
    """
    header, metadata = read_header(data), read_metadata(data)
    fields: dict[str, Any] = {"decision": Decision.REVIEW, "infotext": metadata.infotext}
    if metadata.infotext is not None:
        fields |= infotext_fields(metadata.infotext)
    if metadata.record is not None:
        fields |= _record_text_fields(metadata.record)
    fields |= {"width": header.width, "height": header.height}
    return NewEntry(job_id=None, created=created_of(entry_id), data=data, **fields)


def infotext_fields(infotext: str) -> dict[str, Any]:
    """The fields of a ``NewEntry`` from an infotext, for a picture without a record."""
    infotext_data = parse_infotext(infotext)
    parameters = infotext_data.parameters
    return {
        "prompt": infotext_data.prompt,
        "negative_prompt": infotext_data.negative_prompt,
        "seed": _whole_number(parameters.get("Seed"), MAX_SEED),
        "steps": _whole_number(parameters.get("Steps"), MAX_STEPS),
        "sampler": parameters.get("Sampler"),
        "checkpoint": infotext_data.model,
    }


def _whole_number(text: str | None, maximum: int) -> int | None:
    """A number from 0 to a maximum; None if the text is no such number."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(maximum))):
        return None
    return number if (number := int(text)) <= maximum else None


def _record_text_fields(text: str) -> dict[str, Any]:
    """Fields from a record; one that cannot be parsed is stored unchanged."""
    try:
        record = ReproductionRecord.parse(text)
    except RecordInvalidError:
        return {"record": text}
    allowed = record.verdict is not None and record.verdict.decision == "allow"
    return record_fields(record) | {
        "record": text,
        "decision": Decision.ALLOW if allowed else Decision.REVIEW,
    }
