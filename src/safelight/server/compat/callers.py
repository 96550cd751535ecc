"""What the server remembers of A1111's callers while it runs: options they chose, and names of their tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from pydantic import JsonValue

MOST_TASKS, MOST_OWNERS = 1000, 1000
"""How many names of one owner's tasks are remembered, and those of how many owners; what was used last stays."""


class Tasks:
    """Names of one owner's tasks."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, str] = OrderedDict()
        self._names: dict[str, str] = {}

    def begin(self, task: str, job_id: str) -> None:
        """Note which job a task is; of equal names the latest counts."""
        self._forget(task)
        self._jobs[task] = job_id
        self._names[job_id] = task
        if len(self._jobs) > MOST_TASKS:
            self._forget(next(iter(self._jobs)))

    def job_of(self, task: str) -> str | None:
        """The job of a task; None for one that is not known."""
        return self._jobs.get(task)

    def task_of(self, job_id: str) -> str | None:
        """What a job was called; None where it was not."""
        return self._names.get(job_id)

    def _forget(self, task: str) -> None:
        job_id = self._jobs.pop(task, None)
        if job_id is not None and self._names.get(job_id) == task:
            del self._names[job_id]


class Callers:
    """Options and tasks by caller. Used on the event loop only."""

    def __init__(self) -> None:
        self._options: dict[str, Mapping[str, JsonValue]] = {}
        self._tasks: OrderedDict[str, Tasks] = OrderedDict()

    def options(self, owner: str) -> Mapping[str, JsonValue]:
        """What a caller chose."""
        return self._options.get(owner, {})

    def choose(self, owner: str, options: Mapping[str, JsonValue]) -> None:
        """Note what a caller chose, beside what they chose before."""
        self._options[owner] = {**self.options(owner), **options}

    def begin(self, owner: str, task: str, job_id: str) -> None:
        """Note which job a caller's task is; of equal names the latest counts."""
        self._tasks.setdefault(owner, Tasks()).begin(task, job_id)
        self._tasks.move_to_end(owner)
        if len(self._tasks) > MOST_OWNERS:
            self._tasks.popitem(last=False)

    def job_of(self, owner: str, task: str) -> str | None:
        """The job of a caller's task; None for one that is not known."""
        return self._tasks[owner].job_of(task) if owner in self._tasks else None

    def task_of(self, owner: str, job_id: str) -> str | None:
        """What a caller called a job; None where they did not."""
        return self._tasks[owner].task_of(job_id) if owner in self._tasks else None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Callers]]:
    """The memory, for as long as the server runs."""
    yield {"callers": Callers()}


def callers(connection: HTTPConnection) -> Callers:
    """The memory of the server that a request came to."""
    found: Callers = connection.state.callers
    return found


Remembered = Annotated[Callers, Depends(callers)]
