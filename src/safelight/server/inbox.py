"""A queue of messages for one WebSocket client that keeps only the newest of each kind and job.

A client that reads slowly misses intermediate states, and costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime

from safelight.jobs.job import Job, JobState

MOST = 4 * 1024 * 1024
"""Maximum characters that wait for one client; above it all are dropped, and the client gets a new snapshot."""
JOB, PROGRESS, PREVIEW, QUEUE = "job", "progress", "preview", "queue"
"""The kinds of message."""

Stage = tuple[JobState, int, datetime | None]


class Inbox:
    """Messages that wait for one client. Use it on the event loop only.

    Args:
        scope: The owner whose jobs the client sees; None for all owners.
    """

    def __init__(self, scope: str | None) -> None:
        self.scope = scope
        self.lost = True
        """Whether the client needs a snapshot: at the start, and after an overflow."""
        self._waiting: dict[tuple[str, str], str] = {}
        self._size = 0
        self._there = asyncio.Event()
        self._told: dict[str, Stage] = {}
        self._queue = ""

    def sees(self, owner: str) -> bool:
        """Whether the client may see an owner's jobs."""
        return self.scope in (None, owner)

    def begin(self) -> None:
        """Drop all waiting messages: a snapshot is about to be sent."""
        self._waiting.clear()
        self._size, self.lost = 0, False

    def lose(self) -> None:
        """Drop all waiting messages and request a new snapshot."""
        self.begin()
        self.lost = True
        self._there.set()

    def know(self, jobs: Iterable[Job]) -> None:
        """Note which jobs the client has seen in which stage, so that they are not sent again."""
        self._told = {job.id: _stage(job) for job in jobs}

    def put_job(self, job: Job, text: str) -> None:
        """Queue a job's new state, and drop its waiting progress and preview."""
        if self._told.get(job.id) == _stage(job):
            return
        self._told.pop(job.id, None)
        for kind in (PROGRESS, PREVIEW):
            self._drop(kind, job.id)
        self.put(JOB, job.id, text)

    def put_queue(self, text: str) -> None:
        """Queue a snapshot of the job queue, unless it equals the last one."""
        if text != self._queue:
            self._queue = text
            self.put(QUEUE, "", text)

    def put(self, kind: str, job_id: str, text: str) -> None:
        """Queue a message in place of a waiting one of the same kind and job."""
        self._drop(kind, job_id)
        self._waiting[kind, job_id] = text
        self._size += len(text)
        if self._size > MOST:
            self.lose()
        self._there.set()

    async def news(self) -> list[str]:
        """Wait for messages and return them in order; empty after an overflow."""
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
    """A message as JSON text."""
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
