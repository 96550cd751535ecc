"""The built-in job kinds: one function for each. A restarted generation continues where the last attempt stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from safelight.audit_log import AuditLog
from safelight.errors import EntryMissingError, RunStoppedError
from safelight.gallery import Entry, Gallery, NewEntry
from safelight.generation.progress import Stage
from safelight.generation.request import GenerationRequest
from safelight.jobs.cost import generation_size, preprocess_size, scan_size, upscale_size
from safelight.jobs.gallery_entries import generated_entry, image_result, preprocessed_entry, upscaled_entry
from safelight.jobs.job import JobKind, JobStage, Progress, Signal
from safelight.jobs.payloads import PreprocessRequest, ScanRequest, UpscaleRequest
from safelight.jobs.result import GeneratedImage, JobResult, PictureVerdict
from safelight.jobs.task import Task
from safelight.jobs.worker.memory_report import MemoryReport
from safelight.moderation.policy import Decision
from safelight.plugins import Registry, hookimpl
from safelight.runtime.machine import usable_cores

if TYPE_CHECKING:
    from safelight.generation.progress import RunProgress as RunProgress
    from safelight.generation.progress import Watcher
    from safelight.jobs.worker.running_job import RunningJob
    from safelight.studio import Studio
    from safelight.studio.judged_run import JudgedRun


@dataclass(frozen=True)
class JobContext:
    """What jobs need: the studio, the gallery, the audit log, and the report of the memory that pictures took."""

    studio: Studio
    gallery: Gallery
    audit: AuditLog
    memory: MemoryReport = field(default_factory=MemoryReport)

    def add_entry(self, new: NewEntry) -> Entry:
        """Add a picture to the gallery; a blocked picture is recorded in the audit log."""
        entry = self.gallery.add(new)
        if entry.decision is Decision.BLOCK:
            self.audit.write("picture.blocked", owner=entry.owner, entry_id=entry.id, job_id=new.job_id)
        return entry


def generate(context: JobContext, running: RunningJob, request: GenerationRequest) -> JobResult:
    """Generate a request's pictures and add each to the gallery; pictures of an earlier attempt are kept.

    All pictures are one run: it is planned, and its input pictures are judged, when the first picture is needed.
    """
    results: list[GeneratedImage] = []
    run = cache(lambda: context.studio.start(request, watcher=_watcher(running, request)))
    for index in range(request.count):
        running.pause()
        if running.should_end:
            running.interrupted = True
            break
        try:
            picture = _find_earlier(context, running, index) or _generate(context, running, run, index)
        except RunStoppedError:  # while waiting for the database
            break
        if picture is not None:
            results.append(picture)
    return JobResult.from_pictures(results)


def _find_earlier(context: JobContext, running: RunningJob, index: int) -> GeneratedImage | None:
    """A picture that an earlier attempt has added to the gallery."""
    entry = running.retry_database(lambda: context.gallery.find(running.job.id, index))
    if entry is None:
        return None
    running.partial = True
    return image_result(entry)


def _add_entry(context: JobContext, running: RunningJob, new: NewEntry) -> Entry:
    entry = running.retry_database(lambda: context.add_entry(new))
    running.reset_lost_count()
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
    context: JobContext, running: RunningJob, run: Callable[[], JudgedRun], index: int
) -> GeneratedImage | None:
    """Generate picture `index` and add it to the gallery; None if it was skipped, or stopped and not kept."""
    try:
        picture = run().generate(index)
    except RunStoppedError:
        picture = None
    if running.signal is Signal.SKIP:
        running.acknowledge_skip()
        return None
    stopped = picture is not None and picture.stopped_at is not None
    if picture is None or (stopped and running.should_abort):
        running.interrupted = True
        return None
    if picture.memory is not None:
        context.memory.add(picture.record.checkpoint.family, picture.memory)
    running.partial = running.partial or stopped
    return image_result(_add_entry(context, running, generated_entry(running.job, picture, index)), picture)


def upscale(context: JobContext, running: RunningJob, request: UpscaleRequest) -> JobResult:
    """Upscale one picture. The job has no partial result, so FINISH lets it continue."""
    if earlier := _find_earlier(context, running, 0):
        return JobResult.from_pictures([earlier])
    running.report(Progress(stage=Stage.UPSCALING))

    def should_stop() -> bool:  # before each tile
        running.pause()
        return running.should_abort

    with suppress(RunStoppedError):
        upscaled = context.studio.upscale(
            request.image, by=request.by, upscaler=request.upscaler, should_stop=should_stop
        )
        if not running.should_abort:
            parent = running.retry_database(lambda: _find_parent(context, running))
            entry = _add_entry(context, running, upscaled_entry(running.job, upscaled, parent))
            return JobResult.from_pictures([image_result(entry, upscaled)])
    running.interrupted = True
    return JobResult.from_pictures([])


def preprocess(context: JobContext, running: RunningJob, request: PreprocessRequest) -> JobResult:
    """Preprocess one picture. The job has no partial result, so FINISH lets it continue."""
    if earlier := _find_earlier(context, running, 0):
        return JobResult.from_pictures([earlier])

    def should_stop() -> bool:
        running.pause()
        return running.should_abort

    with suppress(RunStoppedError):
        made = context.studio.preprocess(
            request.image,
            request.preprocessor,
            request.parameters,
            resolution=request.resolution,
            should_stop=should_stop,
        )
        if not running.should_abort:
            entry = _add_entry(context, running, preprocessed_entry(running.job, made))
            return JobResult.from_pictures([image_result(entry, made)])
    running.interrupted = True
    return JobResult.from_pictures([])


def _find_parent(context: JobContext, running: RunningJob) -> Entry | None:
    """The entry of the picture that a job starts from; None if it is not in the gallery, or no longer."""
    if running.job.parent is None:
        return None
    with suppress(EntryMissingError):
        return context.gallery.get(running.job.parent)
    return None


def scan(context: JobContext, running: RunningJob, request: ScanRequest) -> JobResult:
    """Judge pictures; one that cannot be read does not end the job."""
    total, verdicts = len(request.images), list[PictureVerdict]()
    named_images = ((str(index), image) for index, image in enumerate(request.images))
    for judgement in context.studio.moderator().judge_many(named_images, workers=usable_cores()):
        fields = {"index": len(verdicts), **judgement.to_dict()}
        verdicts.append(PictureVerdict.model_validate(fields))
        fraction = len(verdicts) / total
        running.report(
            Progress(stage=JobStage.JUDGING, picture=len(verdicts) - 1, pictures=total, fraction=fraction)
        )
        running.pause()
        if running.should_end and len(verdicts) < total:
            running.interrupted = True
            break
    return JobResult.from_verdicts(verdicts)


@hookimpl
def register_tasks(registry: Registry[Task[Any]]) -> None:
    """Register the built-in job kinds."""
    for task in (
        Task(
            JobKind.GENERATE,
            GenerationRequest,
            generation_size,
            generate,
            batch_by=("checkpoint", "width", "height"),
            uses_checkpoint=True,
            skippable=True,
        ),
        Task(JobKind.UPSCALE, UpscaleRequest, upscale_size, upscale),
        Task(JobKind.PREPROCESS, PreprocessRequest, preprocess_size, preprocess),
        Task(JobKind.SCAN, ScanRequest, scan_size, scan),
    ):
        registry.register(task.kind, task)
