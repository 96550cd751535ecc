"""Outcomes of jobs, for requests that wait for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from safelight.errors import BlockedError, RunStoppedError, error_of
from safelight.generation.infotext import LEFT_OUT_KEY, parse_infotext
from safelight.generation.prompts.unsupported import distinct_texts, find_unsupported
from safelight.jobs.job import Job, JobState
from safelight.jobs.result import GeneratedImage, JobResult
from safelight.moderation.policy import Decision
from safelight.server.core.app_state import AppState


@dataclass(frozen=True)
class OutputImage:
    """An image that a job made and that may be shown.

    Args:
        metadata: The image's part of the job's result.
        data: The file.
    """

    metadata: GeneratedImage
    data: bytes


@dataclass(frozen=True)
class JobOutcome:
    """A job that succeeded.

    Args:
        job: The job.
        visible: The images of its result that may be shown; at least one.
        blocked: The images that the policy blocks.
    """

    job: Job
    visible: tuple[GeneratedImage, ...]
    blocked: tuple[GeneratedImage, ...] = ()


async def wait_for_outcome(app_state: AppState, job: Job) -> JobOutcome:
    """Wait for a job to end. A job goes on when its client disconnects, and its images go to the gallery.

    Raises:
        BlockedError: The policy blocks all of its images.
        RunStoppedError: It was cancelled, or stopped before it made an image.
        SafelightError: The error it failed with.
    """
    return outcome_of(await app_state.events.wait_until_ended(job.id))


def outcome_of(job: Job) -> JobOutcome:
    """The outcome of a finished job; raises the same errors as ``wait_for_outcome``."""
    if job.error is not None:
        raise error_of(job.error.code, job.error.message, job.error.hint)
    if job.state is JobState.CANCELLED:
        raise RunStoppedError(f"The job {job.id} was cancelled.")
    pictures = JobResult.parse(job.result or {}).pictures
    shown = tuple(each for each in pictures if each.decision is not Decision.BLOCK)
    blocked = tuple(each for each in pictures if each.decision is Decision.BLOCK)
    if not shown:
        raise (
            _blocked_error(blocked)
            if blocked
            else RunStoppedError("The job was stopped before there was a picture.")
        )
    return JobOutcome(job, shown, blocked)


def unsupported_parts(outcome: JobOutcome) -> list[str]:
    """The parts of prompts that the pictures were drawn without, as they were written."""
    texts = [parse_infotext(each.infotext or "").parameters.get(LEFT_OUT_KEY, "") for each in outcome.visible]
    return list(distinct_texts(part for text in texts for part in find_unsupported(text, negative=True)))


async def read_images(app_state: AppState, outcome: JobOutcome) -> list[OutputImage]:
    """Read the files of an outcome's images.

    Raises:
        EntryMissingError, EntryFileMissingError: One was deleted meanwhile.
    """

    def files() -> list[OutputImage]:
        gallery = app_state.service.gallery
        return [OutputImage(each, gallery.read(each.id)) for each in outcome.visible]

    return await asyncio.to_thread(files)


def _blocked_error(pictures: tuple[GeneratedImage, ...]) -> BlockedError:
    scores = ", ".join(f"{each.unsafe:.4f}" for each in pictures if each.unsafe is not None)
    return BlockedError(f"The policy blocks the picture{'s' * (len(pictures) > 1)}: unsafe {scores}.")
