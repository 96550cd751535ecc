"""Factories for jobs and results as workers store them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from safelight.jobs.job import Failure, Job, JobKind, JobState, Progress

INFOTEXT = (
    "a cat\nNegative prompt: dogs\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: {seed}, "
    "Size: 64x32, Model hash: 0123456789, Model: mine, Variation seed: 9, Variation seed strength: 0.25, "
    "Denoising strength: 0.4, Clip skip: 2, Version: Safelight 0"
)


def output_image(seed: int = 5, index: int = 0, decision: str = "allow", **facts: Any) -> dict[str, Any]:
    """An output image of a job's result."""
    return {
        "id": f"{index:022d}",
        "index": index,
        "seed": seed,
        "width": 64,
        "height": 32,
        "decision": decision,
        "unsafe": 0.9 if decision == "block" else 0.01,
        "infotext": INFOTEXT.format(seed=seed),
        "url": None if decision == "block" else f"/v1/gallery/{index:022d}/file",
        **facts,
    }


def job(state: JobState = JobState.SUCCEEDED, *pictures: dict[str, Any], **fields: Any) -> Job:
    """A job with usual values; ``fields`` replace them."""
    result = {"pictures": list(pictures)} if pictures else None
    usual: dict[str, Any] = {
        "id": "1a20b8540d865d8e365dbe80ad3",
        "owner": "local",
        "kind": JobKind.GENERATE,
        "state": state,
        "request": {"prompt": "a cat", "negative_prompt": "dogs"},
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "result": result,
    }
    return Job(**{**usual, **fields})


def running_job(**fields: Any) -> Job:
    """A running job with progress and an ETA."""
    progress = Progress(stage="first pass", step=3, steps=8, picture=1, pictures=4, fraction=0.25)
    return job(JobState.RUNNING, **{"progress": progress, "eta": 12.344, **fields})


def failed_job(code: str, message: str) -> Job:
    """A failed job."""
    return job(JobState.FAILED, error=Failure(code=code, message=message, hint="Try again."))
