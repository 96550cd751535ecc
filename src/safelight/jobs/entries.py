"""From what a job made to entries of the gallery, and from those to the job's result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import JsonValue

from safelight.gallery import Embedding, Entry, NewEntry
from safelight.jobs.job import Job, JsonObject

if TYPE_CHECKING:
    from safelight.moderation.verdict import Verdict
    from safelight.studio import Picture
    from safelight.studio.enlarging import Enlarged


def drawn_entry(job: Job, picture: Picture, index: int) -> NewEntry:
    """A drawn picture; one that the policy blocks comes without its pixels."""
    record, verdict = picture.record, picture.verdict
    return NewEntry(
        job_id=job.id,
        index=index,
        owner=job.owner,
        created=job.created,  # the same whenever the job is begun again
        data=None if picture.image is None else picture.encode("png"),
        width=record.width if picture.image is None else picture.image.width,
        height=record.height if picture.image is None else picture.image.height,
        decision=verdict.decision,
        unsafe=verdict.unsafe,
        scores=verdict.scores,
        policy=verdict.policy.name,
        embedding=_embedding(verdict),
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        mode=record.mode.value,
        seed=record.seed,
        steps=record.steps,
        sampler=record.sampler,
        checkpoint=record.checkpoint.name,
        checkpoint_digest=record.checkpoint.digest,
        family=record.checkpoint.family,
        infotext=picture.infotext,
        record=record.to_json(),
    )


def enlarged_entry(job: Job, enlarged: Enlarged) -> NewEntry:
    """An enlarged picture, likewise."""
    verdict = enlarged.verdict
    width, height = (0, 0) if enlarged.image is None else enlarged.image.size
    return NewEntry(
        job_id=job.id,
        owner=job.owner,
        created=job.created,
        data=None if enlarged.image is None else enlarged.encode("png"),
        width=width,
        height=height,
        decision=verdict.decision,
        unsafe=verdict.unsafe,
        scores=verdict.scores,
        policy=verdict.policy.name,
        embedding=_embedding(verdict),
        mode="upscale",
        infotext=enlarged.infotext,
    )


def _embedding(verdict: Verdict) -> Embedding:
    """The classifier's feature, with what says which classifier it was."""
    return Embedding(verdict.classifier.digest, verdict.classifier.name, verdict.embedding)


def result_of(entries: Iterable[Entry]) -> JsonObject:
    """A job's result: its pictures, without their pixels."""
    pictures: list[JsonValue] = [
        {
            "id": entry.id,
            "index": entry.index,
            "seed": entry.seed,
            "width": entry.width,
            "height": entry.height,
            "decision": entry.decision.value,
            "unsafe": entry.unsafe,
            "scores": dict(entry.scores),
            "sampler": entry.sampler,
            "steps": entry.steps,
            "checkpoint": entry.checkpoint,
            "infotext": entry.infotext,
            "notes": _notes(entry.record),
            "sha256": entry.sha256,
            "url": None if entry.kind is None else f"/v1/gallery/{entry.id}/file",
        }
        for entry in entries
    ]
    return {"pictures": pictures}


def _notes(record: str | None) -> list[JsonValue]:
    """What was done that the request did not ask for, by a picture's record."""
    return [] if record is None else list(json.loads(record).get("notes", []))
