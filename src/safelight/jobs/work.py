"""What workers do: one function for each kind of job. A job that is begun again goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from safelight.audit import AuditLog
from safelight.errors import StoppedError
from safelight.gallery import Entry, Gallery, NewEntry
from safelight.generation.request import GenerationRequest
from safelight.jobs.entries import drawn_entry, enlarged_entry, result_of
from safelight.jobs.job import JobKind, JsonObject, Progress, Signal
from safelight.jobs.requests import ScanRequest, UpscaleRequest, single
from safelight.moderation.policy import Decision
from safelight.runtime.machine import usable_cores

if TYPE_CHECKING:
    from safelight.generation.painting import Progress as Painted
    from safelight.generation.request import Part
    from safelight.jobs.running import Running
    from safelight.studio import Studio


@dataclass(frozen=True)
class Desk:
    """What a job is done with."""

    studio: Studio
    gallery: Gallery
    audit: AuditLog

    def enter(self, new: NewEntry) -> Entry:
        """Put a picture into the gallery; that one was blocked is noted in the audit log."""
        entry = self.gallery.add(new)
        if entry.decision is Decision.BLOCK:
            self.audit.note("picture.blocked", owner=entry.owner, entry_id=entry.id, job_id=new.job_id)
        return entry


def generate(desk: Desk, running: Running, request: Part) -> JsonObject:
    """Draw a request's pictures one after the other, each into the gallery; returns the job's result."""
    assert isinstance(request, GenerationRequest)
    done: list[Entry] = []
    for index in range(request.count):
        running.pause()
        if running.over:
            running.cut_short = True
            break
        try:
            entry = _there(desk, running, index) or _draw(desk, running, request, index)
        except StoppedError:  # while the database was waited for
            break
        if entry is not None:
            done.append(entry)
    return result_of(done)


def _there(desk: Desk, running: Running, index: int) -> Entry | None:
    """A picture that an earlier attempt has made."""
    found = running.patiently(lambda: desk.gallery.find(running.job.id, index))
    running.partial = running.partial or found is not None
    return found


def _enter(desk: Desk, running: Running, new: NewEntry) -> Entry:
    entry = running.patiently(lambda: desk.enter(new))
    running.got_on()
    return entry


def _draw(desk: Desk, running: Running, request: GenerationRequest, index: int) -> Entry | None:
    from safelight.generation.painting import Watcher

    def look(painted: Painted) -> None:
        share = painted.step / max(painted.steps, 1)
        if request.hires is not None:
            share = {"first pass": 0.5 * share, "upscaling": 0.5}.get(painted.stage, 0.5 + 0.5 * share)
        running.report(
            Progress(
                stage=painted.stage,
                step=painted.step,
                steps=painted.steps,
                picture=index,
                pictures=request.count,
                fraction=min(1.0, (index + share) / request.count),
            ),
            painted.preview,
        )

    watcher = Watcher(
        look,
        running.should_stop,
        keep_partial=True,
        should_pause=lambda: running.paused,
        on_pause=running.on_pause,
    )
    try:
        (picture,) = desk.studio.draw(single(request, index), watcher=watcher)
    except StoppedError:
        picture = None
    if running.told is Signal.SKIP:
        running.skipped()
        return None
    stopped = picture is not None and picture.stopped_at is not None
    if picture is None or (stopped and running.unwanted):
        running.cut_short = True
        return None
    running.partial = running.partial or stopped
    return _enter(desk, running, drawn_entry(running.job, picture, index))


def upscale(desk: Desk, running: Running, request: Part) -> JsonObject:
    """Enlarge one picture; returns the job's result. It has no parts to give, so finishing early is going on."""
    assert isinstance(request, UpscaleRequest)
    if found := _there(desk, running, 0):
        return result_of([found])
    running.report(Progress(stage="upscaling"))

    def should_stop() -> bool:  # before each tile
        running.pause()
        return running.unwanted

    with suppress(StoppedError):
        enlarged = desk.studio.upscale(
            request.image, by=request.by, upscaler=request.upscaler, should_stop=should_stop
        )
        if not running.unwanted:
            return result_of([_enter(desk, running, enlarged_entry(running.job, enlarged))])
    running.cut_short = True
    return result_of([])


def scan(desk: Desk, running: Running, request: Part) -> JsonObject:
    """Judge pictures; one that cannot be read does not end the job."""
    assert isinstance(request, ScanRequest)
    total, verdicts = len(request.images), list[JsonValue]()
    named = ((str(index), image) for index, image in enumerate(request.images))
    for judgement in desk.studio.moderator().judge_many(named, workers=usable_cores()):
        verdicts.append({"index": len(verdicts)} | _without_path(judgement.to_dict()))
        share = len(verdicts) / total
        running.report(Progress(stage="judging", picture=len(verdicts) - 1, pictures=total, fraction=share))
        running.pause()
        if running.over and len(verdicts) < total:
            running.cut_short = True
            break
    return {"verdicts": verdicts}


WORK: Mapping[JobKind, Callable[[Desk, Running, Part], JsonObject]] = {
    JobKind.GENERATE: generate,
    JobKind.UPSCALE: upscale,
    JobKind.SCAN: scan,
}
"""What does each kind of job. A result that does not hold everything is one of a job that was stopped."""


def _without_path(body: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in body.items() if name != "path"}
