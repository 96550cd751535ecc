"""Outcomes of jobs, for requests that wait for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from safelight.errors import BlockedError, StoppedError, error_of
from safelight.generation.infotext import LEFT_OUT, parse
from safelight.generation.prompts.unsupported import distinct, find_unsupported
from safelight.jobs.job import Job, JobState
from safelight.jobs.result import DrawnPicture, JobResult
from safelight.moderation.policy import Decision
from safelight.server.state import Backstage


@dataclass(frozen=True)
class Made:
    """An image that a job made and that may be shown.

    Args:
        facts: The image's part of the job's result.
        data: The file.
    """

    facts: DrawnPicture
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """A job that succeeded.

    Args:
        job: The job.
        shown: The images of its result that may be shown; at least one.
        blocked: The images that the policy blocks.
    """

    job: Job
    shown: tuple[DrawnPicture, ...]
    blocked: tuple[DrawnPicture, ...] = ()


async def ended(behind: Backstage, job: Job) -> Outcome:
    """Wait for a job to end. A job goes on when its client disconnects, and its images go to the gallery.

    Raises:
        BlockedError: The policy blocks all of its images.
        StoppedError: It was cancelled, or stopped before it made an image.
        SafelightError: The error it failed with.
    """
    return outcome_of(await behind.feed.ended(job.id))


def outcome_of(job: Job) -> Outcome:
    """The outcome of a finished job; raises the same errors as ``ended``."""
    if job.error is not None:
        raise error_of(job.error.code, job.error.message, job.error.hint)
    if job.state is JobState.CANCELLED:
        raise StoppedError(f"The job {job.id} was cancelled.")
    pictures = JobResult.read(job.result or {}).pictures
    shown = tuple(each for each in pictures if each.decision is not Decision.BLOCK)
    blocked = tuple(each for each in pictures if each.decision is Decision.BLOCK)
    if not shown:
        raise (
            _blocked(blocked) if blocked else StoppedError("The job was stopped before there was a picture.")
        )
    return Outcome(job, shown, blocked)


def left_out(outcome: Outcome) -> list[str]:
    """The parts of prompts that the pictures were drawn without, as they were written."""
    texts = [parse(each.infotext or "").parameters.get(LEFT_OUT, "") for each in outcome.shown]
    return list(distinct(part for text in texts for part in find_unsupported(text)))


async def read(behind: Backstage, outcome: Outcome) -> list[Made]:
    """Read the files of an outcome's images.

    Raises:
        EntryMissingError, EntryFileMissingError: One was deleted meanwhile.
    """

    def files() -> list[Made]:
        gallery = behind.service.gallery
        return [Made(each, gallery.read(each.id)) for each in outcome.shown]

    return await asyncio.to_thread(files)


def _blocked(pictures: tuple[DrawnPicture, ...]) -> BlockedError:
    scores = ", ".join(f"{each.unsafe:.4f}" for each in pictures if each.unsafe is not None)
    return BlockedError(f"The policy blocks the picture{'s' * (len(pictures) > 1)}: unsafe {scores}.")
