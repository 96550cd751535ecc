"""The definition of a job kind, and the registry of job kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from safelight.errors import JobKindUnknownError
from safelight.generation.request import RequestPart
from safelight.images.types import DecodeLimits
from safelight.jobs.job import Job
from safelight.plugins import Registry

if TYPE_CHECKING:
    from safelight.jobs.cost import JobSize
    from safelight.jobs.result import JobResult
    from safelight.jobs.tasks import JobContext
    from safelight.jobs.worker.running_job import RunningJob

R = TypeVar("R", bound=RequestPart)


@dataclass(frozen=True)
class Task(Generic[R]):
    """A job kind.

    Args:
        kind: Its name.
        request: The model of its request, whose images are marked with ``ImageField``.
        size: Estimates the size of a request before any work; images are bytes.
        run: Runs a job in a worker. It calls ``RunningJob.pause`` between steps, stops when ``RunningJob.should_end``,
            and returns what was completed until then.
        batch_by: Fields of requests that must be equal for two jobs to run at the same time; empty: each runs alone.
        uses_checkpoint: Whether it generates with a checkpoint, which a worker then keeps in memory.
        skippable: Whether it makes several pictures of which the current one can be skipped.
    """

    kind: str
    request: type[R]
    size: Callable[[R, DecodeLimits], JobSize]
    run: Callable[[JobContext, RunningJob, R], JobResult]
    batch_by: tuple[str, ...] = ()
    uses_checkpoint: bool = False
    skippable: bool = False

    def can_share_batch(self, job: Job, other: Job) -> bool:
        """Whether a job of this kind can run at the same time as another job."""
        return (
            bool(self.batch_by)
            and job.kind == other.kind
            and all(job.request.get(name) == other.request.get(name) for name in self.batch_by)
        )


TASKS = Registry[Task[Any]](
    "job kind", "register_tasks", JobKindUnknownError, ("safelight.jobs.tasks",), name_field="kind"
)
"""Every job kind by name."""
