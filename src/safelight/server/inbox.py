"""What one listener has yet to be told: of each job only the newest, so that whoever reads slowly costs no memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime

from safelight.jobs.job import Job, JobState

MOST = 4 * 1024 * 1024
"""Characters that may wait for one listener; beyond it all of them are dropped, and the listener begins anew."""
JOB, PROGRESS, PREVIEW, QUEUE = "job", "progress", "preview", "queue"
"""What there are messages of."""

Stage = tuple[JobState, int, datetime | None]


class Inbox:
    """Messages that wait for one listener. Used on the event loop only.

    Args:
        scope: Whose jobs they are told of; everybody's with None.
    """

    def __init__(self, scope: str | None) -> None:
        self.scope = scope
        self.lost = True
        """Whether the listener has to be told everything: at the beginning, and after too much has waited."""
        self._waiting: dict[tuple[str, str], str] = {}
        self._size = 0
        self._there = asyncio.Event()
        self._told: dict[str, Stage] = {}
        self._queue = ""

    def sees(self, owner: str) -> bool:
        """Whether the listener may hear of an owner's jobs."""
        return self.scope in (None, owner)

    def begin(self) -> None:
        """Drop what waits: the listener is about to be told everything."""
        self._waiting.clear()
        self._size, self.lost = 0, False

    def lose(self) -> None:
        """Drop what waits, and have the listener told everything anew."""
        self.begin()
        self.lost = True
        self._there.set()

    def know(self, jobs: Iterable[Job]) -> None:
        """Note what the listener was told of: the same is not to be said again."""
        self._told = {job.id: _stage(job) for job in jobs}

    def put_job(self, job: Job, text: str) -> None:
        """A job's new state; what was to be told of the old one is dropped."""
        if self._told.get(job.id) == _stage(job):
            return
        self._told.pop(job.id, None)
        for kind in (PROGRESS, PREVIEW):
            self._drop(kind, job.id)
        self.put(JOB, job.id, text)

    def put_queue(self, text: str) -> None:
        """The queue, if it is another one than was told last."""
        if text != self._queue:
            self._queue = text
            self.put(QUEUE, "", text)

    def put(self, kind: str, job_id: str, text: str) -> None:
        """A message that takes the place of the last one of its kind and job."""
        self._drop(kind, job_id)
        self._waiting[kind, job_id] = text
        self._size += len(text)
        if self._size > MOST:
            self.lose()
        self._there.set()

    async def news(self) -> list[str]:
        """The messages that wait, in their order, once there are any; none where there were too many."""
        await self._there.wait()
        self._there.clear()
        found = list(self._waiting.values())
        self._waiting.clear()
        self._size = 0
        return found

    def _drop(self, kind: str, job_id: str) -> None:
        self._size -= len(self._waiting.pop((kind, job_id), ""))


def _stage(job: Job) -> Stage:
    return job.state, job.attempt, job.started


def message(kind: str, **fields: object) -> str:
    """A message as it is sent."""
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
