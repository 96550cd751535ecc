"""What the server remembers of A1111's callers while it runs: options they chose, and names of their tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from pydantic import JsonValue

MOST_TASKS = 10_000


class Callers:
    """Options and tasks by caller. Used on the event loop only."""

    def __init__(self) -> None:
        self._options: dict[str, Mapping[str, JsonValue]] = {}
        self._tasks: OrderedDict[tuple[str, str], str] = OrderedDict()

    def options(self, owner: str) -> Mapping[str, JsonValue]:
        """What a caller chose."""
        return self._options.get(owner, {})

    def choose(self, owner: str, options: Mapping[str, JsonValue]) -> None:
        """Note what a caller chose, beside what they chose before."""
        self._options[owner] = {**self.options(owner), **options}

    def begin(self, owner: str, task: str, job_id: str) -> None:
        """Note which job a caller's task is; of equal names the latest counts."""
        self._tasks[owner, task] = job_id
        self._tasks.move_to_end((owner, task))
        if len(self._tasks) > MOST_TASKS:
            self._tasks.popitem(last=False)

    def job_of(self, owner: str, task: str) -> str | None:
        """The job of a caller's task; None for one that is not known."""
        return self._tasks.get((owner, task))

    def task_of(self, owner: str, job_id: str) -> str | None:
        """What a caller called a job; None where they did not."""
        return next(
            (task for (whose, task), known in self._tasks.items() if (whose, known) == (owner, job_id)), None
        )


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Callers]]:
    """The memory, for as long as the server runs."""
    yield {"callers": Callers()}


def callers(connection: HTTPConnection) -> Callers:
    """The memory of the server that a request came to."""
    found: Callers = connection.state.callers
    return found


Remembered = Annotated[Callers, Depends(callers)]
