"""State of A1111's clients, kept in memory while the server runs: their options, and the names of their tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from pydantic import JsonValue

MAX_TASKS, MOST_OWNERS = 1000, 1000
"""How many task names are kept per owner, and for how many owners; the least recently used are dropped."""


class TaskNames:
    """The names of one owner's tasks."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, str] = OrderedDict()
        self._names: dict[str, str] = {}

    def register(self, task: str, job_id: str) -> None:
        """Map a task's name to its job; the latest job of a name wins."""
        self._forget(task)
        self._jobs[task] = job_id
        self._names[job_id] = task
        if len(self._jobs) > MAX_TASKS:
            self._forget(next(iter(self._jobs)))

    def job_of(self, task: str) -> str | None:
        """The job of a task; None for an unknown task."""
        return self._jobs.get(task)

    def task_of(self, job_id: str) -> str | None:
        """The task name of a job; None where it has none."""
        return self._names.get(job_id)

    def _forget(self, task: str) -> None:
        job_id = self._jobs.pop(task, None)
        if job_id is not None and self._names.get(job_id) == task:
            del self._names[job_id]


class ClientState:
    """Options and tasks by owner. Used on the event loop only."""

    def __init__(self) -> None:
        self._options: dict[str, Mapping[str, JsonValue]] = {}
        self._tasks: OrderedDict[str, TaskNames] = OrderedDict()

    def options(self, owner: str) -> Mapping[str, JsonValue]:
        """The options that an owner set."""
        return self._options.get(owner, {})

    def set_options(self, owner: str, options: Mapping[str, JsonValue]) -> None:
        """Set options of an owner; others keep their values."""
        self._options[owner] = {**self.options(owner), **options}

    def register_task(self, owner: str, task: str, job_id: str) -> None:
        """Map an owner's task name to its job; the latest job of a name wins."""
        self._tasks.setdefault(owner, TaskNames()).register(task, job_id)
        self._tasks.move_to_end(owner)
        if len(self._tasks) > MOST_OWNERS:
            self._tasks.popitem(last=False)

    def job_of(self, owner: str, task: str) -> str | None:
        """The job of an owner's task; None for an unknown task."""
        return self._tasks[owner].job_of(task) if owner in self._tasks else None

    def task_of(self, owner: str, job_id: str) -> str | None:
        """The owner's task name of a job; None where it has none."""
        return self._tasks[owner].task_of(job_id) if owner in self._tasks else None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, ClientState]]:
    """Keep the client state for as long as the server runs."""
    yield {"client_state": ClientState()}


def client_state(connection: HTTPConnection) -> ClientState:
    """The client state of the server that handles a request."""
    found: ClientState = connection.state.client_state
    return found


CurrentClientState = Annotated[ClientState, Depends(client_state)]
