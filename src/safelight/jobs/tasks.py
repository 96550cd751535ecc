"""The work of a job: one function per job kind. A restarted job continues where the last attempt stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from safelight.audit_log import AuditLog
from safelight.errors import RunStoppedError
from safelight.gallery import Entry, Gallery, NewEntry
from safelight.generation.progress import Stage
from safelight.generation.request import GenerationRequest
from safelight.jobs.gallery_entries import generated_entry, picture_result, upscaled_entry
from safelight.jobs.job import JobKind, JobStage, Progress, Signal
from safelight.jobs.payloads import ScanRequest, UpscaleRequest
from safelight.jobs.result import GeneratedImage, JobResult, PictureVerdict
from safelight.moderation.policy import Decision
from safelight.runtime.machine import usable_cores

if TYPE_CHECKING:
    from safelight.generation.progress import Progress as RunProgress
    from safelight.generation.progress import Watcher
    from safelight.generation.request import Part
    from safelight.jobs.worker.running_job import RunningJob
    from safelight.studio import Studio
    from safelight.studio.judged_run import JudgedRun


@dataclass(frozen=True)
class JobContext:
    """What jobs need: the studio, the gallery and the audit log."""

    studio: Studio
    gallery: Gallery
    audit: AuditLog

    def enter(self, new: NewEntry) -> Entry:
        """Add a picture to the gallery; a blocked picture is recorded in the audit log."""
        entry = self.gallery.add(new)
        if entry.decision is Decision.BLOCK:
            self.audit.write("picture.blocked", owner=entry.owner, entry_id=entry.id, job_id=new.job_id)
        return entry


def generate(desk: JobContext, running: RunningJob, request: Part) -> JobResult:
    """Generate a request's pictures and add each to the gallery; pictures of an earlier attempt are kept.

    All pictures are one run: it is planned, and its input pictures are judged, when the first picture is needed.
    """
    assert isinstance(request, GenerationRequest)
    results: list[GeneratedImage] = []
    run = cache(lambda: desk.studio.start(request, watcher=_watcher(running, request)))
    for index in range(request.count):
        running.pause()
        if running.over:
            running.cut_short = True
            break
        try:
            picture = _find_earlier(desk, running, index) or _generate(desk, running, run, index)
        except RunStoppedError:  # while waiting for the database
            break
        if picture is not None:
            results.append(picture)
    return JobResult.of_pictures(results)


def _find_earlier(desk: JobContext, running: RunningJob, index: int) -> GeneratedImage | None:
    """A picture that an earlier attempt has added to the gallery."""
    entry = running.patiently(lambda: desk.gallery.find(running.job.id, index))
    if entry is None:
        return None
    running.partial = True
    return picture_result(entry)


def _enter(desk: JobContext, running: RunningJob, new: NewEntry) -> Entry:
    entry = running.patiently(lambda: desk.enter(new))
    running.got_on()
    return entry


def _watcher(running: RunningJob, request: GenerationRequest) -> Watcher:
    """Callbacks that report a run's progress, and stop or pause it as the job requires."""
    from safelight.generation.progress import Watcher

    def report(progress: RunProgress) -> None:
        running.report(
            Progress(
                stage=progress.stage,
                step=progress.step,
                steps=progress.steps,
                picture=progress.picture,
                pictures=progress.count,
                fraction=progress.fraction(hires=request.hires is not None),
            ),
            progress.preview,
        )

    return Watcher(
        report,
        running.should_stop,
        keep_partial=True,
        should_pause=lambda: running.paused,
        on_pause=running.on_pause,
    )


def _generate(
    desk: JobContext, running: RunningJob, run: Callable[[], JudgedRun], index: int
) -> GeneratedImage | None:
    """Generate picture `index` and add it to the gallery; None if it was skipped, or stopped and not kept."""
    try:
        picture = run().generate(index)
    except RunStoppedError:
        picture = None
    if running.told is Signal.SKIP:
        running.skipped()
        return None
    stopped = picture is not None and picture.stopped_at is not None
    if picture is None or (stopped and running.unwanted):
        running.cut_short = True
        return None
    running.partial = running.partial or stopped
    return picture_result(_enter(desk, running, generated_entry(running.job, picture, index)), picture)


def upscale(desk: JobContext, running: RunningJob, request: Part) -> JobResult:
    """Upscale one picture. The job has no partial result, so FINISH lets it continue."""
    assert isinstance(request, UpscaleRequest)
    if earlier := _find_earlier(desk, running, 0):
        return JobResult.of_pictures([earlier])
    running.report(Progress(stage=Stage.UPSCALING))

    def should_stop() -> bool:  # before each tile
        running.pause()
        return running.unwanted

    with suppress(RunStoppedError):
        upscaled = desk.studio.upscale(
            request.image, by=request.by, upscaler=request.upscaler, should_stop=should_stop
        )
        if not running.unwanted:
            entry = _enter(desk, running, upscaled_entry(running.job, upscaled))
            return JobResult.of_pictures([picture_result(entry, upscaled)])
    running.cut_short = True
    return JobResult.of_pictures([])


def scan(desk: JobContext, running: RunningJob, request: Part) -> JobResult:
    """Judge pictures; one that cannot be read does not end the job."""
    assert isinstance(request, ScanRequest)
    total, verdicts = len(request.images), list[PictureVerdict]()
    named_images = ((str(index), image) for index, image in enumerate(request.images))
    for judgement in desk.studio.moderator().judge_many(named_images, workers=usable_cores()):
        fields = {"index": len(verdicts), **judgement.to_dict()}
        verdicts.append(PictureVerdict.model_validate(fields))
        fraction = len(verdicts) / total
        running.report(
            Progress(stage=JobStage.JUDGING, picture=len(verdicts) - 1, pictures=total, fraction=fraction)
        )
        running.pause()
        if running.over and len(verdicts) < total:
            running.cut_short = True
            break
    return JobResult.of_verdicts(verdicts)


TASKS: Mapping[JobKind, Callable[[JobContext, RunningJob, Part], JobResult]] = {
    JobKind.GENERATE: generate,
    JobKind.UPSCALE: upscale,
    JobKind.SCAN: scan,
}
"""The function of each job kind. The result of a job that was stopped holds what was completed until then."""
