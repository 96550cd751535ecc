"""A queue of messages for one WebSocket client that keeps only the newest of each kind and job.

A client that reads slowly misses intermediate states, and costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime

from safelight.jobs.job import Job, JobState

MAX_CHARACTERS = 4 * 1024 * 1024
"""Maximum characters that wait for one client; above it all are dropped, and the client gets a new snapshot."""
JOB, PROGRESS, PREVIEW, QUEUE, GALLERY = "job", "progress", "preview", "queue", "gallery"
"""The kinds of message."""

JobStage = tuple[JobState, int, datetime | None]


class CoalescingQueue:
    """Messages that wait for one client. Use it on the event loop only.

    Args:
        scope: The owner whose jobs the client sees; None for all owners.
    """

    def __init__(self, scope: str | None) -> None:
        self.scope = scope
        self.overflowed = True
        """Whether the client needs a snapshot: at the start, and after an overflow."""
        self._waiting: dict[tuple[str, str], str] = {}
        self._size = 0
        self._ready = asyncio.Event()
        self._sent: dict[str, JobStage] = {}
        self._sent_queue = ""
        self._gallery_changes = 0

    def may_see(self, owner: str) -> bool:
        """Whether the client may see an owner's jobs."""
        return self.scope in (None, owner)

    def reset(self) -> None:
        """Drop all waiting messages: a snapshot is about to be sent."""
        self._waiting.clear()
        self._size, self.overflowed = 0, False

    def overflow(self) -> None:
        """Drop all waiting messages and request a new snapshot."""
        self.reset()
        self.overflowed = True
        self._ready.set()

    def mark_sent(self, jobs: Iterable[Job]) -> None:
        """Note which jobs the client has seen in which stage, so that they are not sent again."""
        self._sent = {job.id: _stage(job) for job in jobs}

    def put_job(self, job: Job, text: str) -> None:
        """Queue a job's new state, and drop its waiting progress and preview."""
        if self._sent.get(job.id) == _stage(job):
            return
        self._sent.pop(job.id, None)
        for kind in (PROGRESS, PREVIEW):
            self._drop(kind, job.id)
        self.put(JOB, job.id, text)

    def put_queue(self, text: str) -> None:
        """Queue a snapshot of the job queue, unless it equals the last one."""
        if text != self._sent_queue:
            self._sent_queue = text
            self.put(QUEUE, "", text)

    def put_gallery(self, text: str) -> None:
        """Queue a change of the gallery; it replaces no other one."""
        self._gallery_changes += 1
        self.put(GALLERY, str(self._gallery_changes), text)

    def put(self, kind: str, job_id: str, text: str) -> None:
        """Queue a message in place of a waiting one of the same kind and job."""
        self._drop(kind, job_id)
        self._waiting[kind, job_id] = text
        self._size += len(text)
        if self._size > MAX_CHARACTERS:
            self.overflow()
        self._ready.set()

    async def get_all(self) -> list[str]:
        """Wait for messages and return them in order; empty after an overflow."""
        await self._ready.wait()
        self._ready.clear()
        found = list(self._waiting.values())
        self._waiting.clear()
        self._size = 0
        return found

    def _drop(self, kind: str, job_id: str) -> None:
        self._size -= len(self._waiting.pop((kind, job_id), ""))


def _stage(job: Job) -> JobStage:
    return job.state, job.attempt, job.started


def encode_message(kind: str, **fields: object) -> str:
    """A message as JSON text."""
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
