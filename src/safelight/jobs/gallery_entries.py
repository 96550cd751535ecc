"""Conversion of a job's pictures to gallery entries, and of gallery entries to the job's result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from safelight.gallery import Embedding, Entry, NewEntry, Relation
from safelight.gallery.import_metadata import infotext_fields, record_fields
from safelight.jobs.job import Job, JobKind
from safelight.jobs.result import GeneratedImage, JobResult, PictureMemory, VerdictView

if TYPE_CHECKING:
    from safelight.moderation.verdict import Verdict
    from safelight.studio import Picture
    from safelight.studio.preprocessed import Preprocessed
    from safelight.studio.upscaled import Upscaled

INHERITED_FIELDS = (
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "sampler",
    "checkpoint",
    "checkpoint_digest",
    "family",
)
"""The fields of an entry that an upscaled picture takes over: how the picture was generated."""


def generated_entry(job: Job, picture: Picture, index: int) -> NewEntry:
    """The entry of a generated picture; a blocked one has no pixels."""
    fields = record_fields(picture.record) | _verdict_fields(picture.verdict)
    if picture.image is not None:
        fields |= {"width": picture.image.width, "height": picture.image.height}
    return NewEntry(
        **fields,
        **_job_fields(job),
        index=index,
        data=None if picture.image is None else picture.encode("png"),
        infotext=picture.infotext,
        record=picture.record.to_json(),
    )


def upscaled_entry(job: Job, upscaled: Upscaled, parent: Entry | None) -> NewEntry:
    """The entry of an upscaled picture; a blocked one has no pixels.

    Args:
        job: The job.
        upscaled: The picture.
        parent: The entry of the picture that was upscaled, if it is in the gallery.
    """
    width, height = (0, 0) if upscaled.image is None else upscaled.image.size
    return NewEntry(
        **_inherited_fields(upscaled.infotext, parent),
        **_verdict_fields(upscaled.verdict),
        **_job_fields(job),
        data=None if upscaled.image is None else upscaled.encode("png"),
        width=width,
        height=height,
        mode="upscale",
        infotext=upscaled.infotext,
    )


def preprocessed_entry(job: Job, made: Preprocessed) -> NewEntry:
    """The entry of a preprocessed picture; a blocked one has no pixels."""
    width, height = (0, 0) if made.image is None else made.image.size
    return NewEntry(
        **_verdict_fields(made.verdict),
        **_job_fields(job),
        data=None if made.image is None else made.encode("png"),
        width=width,
        height=height,
        mode=f"preprocess: {made.preprocessor}",
    )


def image_result(entry: Entry, generated: Picture | Upscaled | Preprocessed | None = None) -> GeneratedImage:
    """A picture in a job's result, without its pixels.

    Args:
        entry: The picture's entry in the gallery.
        generated: The picture, if this attempt of the job generated it.
    """
    result = GeneratedImage(
        id=entry.id,
        index=entry.index,
        seed=entry.seed,
        width=entry.width,
        height=entry.height,
        decision=entry.decision,
        unsafe=entry.unsafe,
        scores=dict(entry.scores),
        sampler=entry.sampler,
        steps=entry.steps,
        checkpoint=entry.checkpoint,
        infotext=entry.infotext,
        parent_id=entry.parent_id,
        relation=entry.relation,
        notes=_notes(entry.record),
        sha256=entry.sha256,
        url=None if entry.kind is None else f"/v1/gallery/{entry.id}/file",
    )
    if generated is None:
        return result
    memory = getattr(generated, "memory", None)
    details = {
        "seconds": round(generated.seconds, 3),
        "stopped_at": getattr(generated, "stopped_at", None),  # upscaling has no steps
        "notes": result.notes or list(getattr(generated, "notes", ())),  # upscaling has no record
        "memory": None if memory is None else PictureMemory.model_validate(memory.to_dict()),
        "verdict": VerdictView.model_validate(generated.verdict.to_dict()),
    }
    return result.model_copy(update=details)


def job_result(entries: Iterable[Entry]) -> JobResult:
    """The result of a job whose pictures are all in the gallery."""
    return JobResult.from_pictures([image_result(entry) for entry in entries])


def _inherited_fields(infotext: str | None, parent: Entry | None) -> dict[str, Any]:
    """How the picture was generated that was upscaled: from its entry, and where that does not say, its infotext."""
    fields = {} if infotext is None else infotext_fields(infotext)
    known = {} if parent is None else {name: getattr(parent, name) for name in INHERITED_FIELDS}
    return fields | {name: value for name, value in known.items() if value not in (None, "")}


def _job_fields(job: Job) -> dict[str, Any]:
    """The job's fields of an entry. The time is the job's, so that every attempt gives the same entry."""
    return {
        "job_id": job.id,
        "owner": job.owner,
        "created": job.created,
        "parent_id": job.parent,
        "relation": _relation(job),
    }


def _relation(job: Job) -> Relation | None:
    """How a job makes pictures from its parent; None if it has none."""
    if job.parent is None:
        return None
    if job.kind == JobKind.UPSCALE:
        return Relation.UPSCALE
    if job.request.get("init_image") is not None:
        return Relation.EDIT
    return Relation.AGAIN if job.request.get("variation") is None else Relation.VARIATION


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """The verdict's fields of an entry."""
    return {
        "decision": verdict.decision,
        "unsafe": verdict.unsafe,
        "scores": verdict.scores,
        "policy": verdict.policy.name,
        "embedding": _embedding(verdict),
    }


def _embedding(verdict: Verdict) -> Embedding:
    """The classifier's embedding of the picture, with the classifier's name and digest."""
    return Embedding(verdict.classifier.digest, verdict.classifier.name, verdict.embedding)


def _notes(record: str | None) -> list[str]:
    """The notes in a picture's record: what was done that the request did not ask for."""
    return [] if record is None else list(json.loads(record).get("notes", []))
