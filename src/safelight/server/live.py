"""Broadcasts changes of jobs and of the queue to WebSocket clients, with one read of the database for all of them."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from safelight.errors import DatabaseError, SafelightError
from safelight.jobs.job import Event, Job
from safelight.logs import logger
from safelight.server.compat.previews import preview_of
from safelight.server.feed import LOOK_AGAIN
from safelight.server.inbox import PREVIEW, PROGRESS, Inbox, message
from safelight.server.judging import Judge
from safelight.server.queue_view import LOOK_EVERY as QUEUE_EVERY
from safelight.server.queue_view import QueueView
from safelight.server.state import Backstage

PACE = 0.1
"""Minimum seconds between two batches of messages to one client, and between two rounds of previews."""
ROUND_PAUSE = 0.05
"""Minimum seconds between two rounds: changes in between are sent in the same messages."""
MOST_WAITING, MOST_ENDED = 200, 20
"""Maximum waiting jobs, and ended jobs, in a snapshot."""
LARGEST, MOST = 256 * 1024, 4 * 1024 * 1024
"""Maximum characters of one request or result in a message, and of all of them in a snapshot."""
PATIENCE = 10.0
"""Seconds that a new client waits for a database that does not answer."""
_MOST_OWNERS = 10_000


class Live:
    """Sends changes of jobs to clients. It reads the database once for all of them, and not at all without clients.

    Args:
        behind: Returns the application's state.
    """

    def __init__(self, behind: Callable[[], Backstage]) -> None:
        self._behind = behind
        self._inboxes: set[Inbox] = set()
        self._judge: Judge | None = None
        self._somebody, self._listening = asyncio.Event(), asyncio.Event()
        self._reading = asyncio.Lock()  # messages are queued in the order of the reads
        self._heard, self._sighted = asyncio.Event(), asyncio.Event()
        self._changed: set[str] = set()
        self._progress: dict[str, dict[str, Any]] = {}
        self._pictures: dict[str, int] = {}
        self._previews: set[str] = set()
        self._previewing: str | None = None
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._queue = QueueView()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start to wait for subscribers."""
        self._tasks = [asyncio.create_task(task) for task in (self._tell_listeners(), self._show())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the tasks."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def joined(self, scope: str | None, judge: Judge) -> AsyncIterator[Inbox]:
        """A context in which a client receives messages.

        Args:
            scope: The owner whose jobs the client sees; None for all owners.
            judge: Judges previews before they are sent.

        Raises:
            DatabaseError: Events could not be read for some seconds.
        """
        inbox = Inbox(scope)
        self._judge = judge
        self._inboxes.add(inbox)
        self._somebody.set()
        try:
            await self._until_listening()
            yield inbox
        finally:
            self._inboxes.discard(inbox)

    async def _until_listening(self) -> None:
        try:
            await asyncio.wait_for(self._listening.wait(), PATIENCE)
        except TimeoutError as error:
            raise DatabaseError(f"The database could not be read for {PATIENCE:g} seconds.") from error

    async def hello(self, inbox: Inbox) -> str:
        """The first message: a snapshot of the jobs. Later changes arrive in the client's queue.

        Raises:
            DatabaseError: The jobs cannot be read.
        """
        async with self._reading:
            inbox.begin()
            jobs, text = await asyncio.to_thread(self._all, inbox.scope)
            inbox.know(jobs)
        return text

    def _all(self, scope: str | None) -> tuple[list[Job], str]:
        ledger = self._behind().service.ledger
        last = ledger.last_event()  # read first: later events are sent as messages
        jobs = ledger.overview(scope, waiting=MOST_WAITING, ended=MOST_ENDED, largest=LARGEST, total=MOST)
        texts = ",".join(job.model_dump_json() for job in jobs)
        return jobs, f'{{"type":"hello","jobs":[{texts}],"last_event":{last}}}'

    def _hear(self, event: Event) -> None:
        job_id = event.job_id
        if event.kind == "state":
            self._changed.add(job_id)
            self._forget(job_id)
            self._previewing = None if self._previewing == job_id else self._previewing
            self._queue.changed = True
        elif event.kind == "progress":
            self._progress[job_id] = event.data
            self._pictures[job_id] = event.data["picture"]
        elif event.kind == "preview":
            self._previews.add(job_id)
            self._sighted.set()
        self._heard.set()

    def _forget(self, job_id: str) -> None:
        """Drop a job's pending progress and preview."""
        self._progress.pop(job_id, None)
        self._pictures.pop(job_id, None)
        self._previews.discard(job_id)

    async def _tell_listeners(self) -> None:
        while True:
            await self._somebody.wait()
            feed = self._behind().feed
            with feed.listening(self._hear):
                await feed.looking()
                self._listening.set()
                self._queue.changed = True
                while self._inboxes:
                    await self._round()
            self._somebody.clear()
            self._listening.clear()
            for each in (self._changed, self._progress, self._pictures, self._previews):
                each.clear()

    async def _round(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), QUEUE_EVERY)
        self._heard.clear()
        try:
            await self._tell_of_jobs()
            self._tell_of_progress()
            await self._tell_of_the_queue()
        except DatabaseError as error:
            logger(__name__).warning("jobs not read", error=error.message)
            self._heard.set()
            await asyncio.sleep(LOOK_AGAIN)
        except Exception as error:  # noqa: BLE001  a defect must not stop the broadcast for all clients
            logger(__name__).error("a defect", exc_info=error)
        await asyncio.sleep(ROUND_PAUSE)

    async def _tell_of_jobs(self) -> None:
        """Send the jobs that changed; also look up the owners of jobs with progress."""
        wanted = self._changed | (self._progress.keys() | self._previews) - self._owners.keys()
        if not wanted:
            return
        self._changed = set()
        async with self._reading:
            try:
                jobs, texts = await asyncio.to_thread(
                    self._some, wanted, {box.scope for box in self._inboxes}
                )
            except DatabaseError:
                self._changed |= wanted
                raise
            except Exception:
                self._begin_anew(wanted)
                raise
            for job in jobs:
                self._know(job)
                if (text := texts.get(job.id)) is not None:
                    for inbox in self._those_who_see(job.owner):
                        inbox.put_job(job, text)
        for gone in wanted.difference(job.id for job in jobs):
            self._forget(gone)

    def _begin_anew(self, missed: Iterable[str]) -> None:
        """Send all clients a new snapshot: they missed a change of some jobs, and a retry might fail alike."""
        for job_id in missed:
            self._forget(job_id)
        for inbox in self._inboxes:
            inbox.lose()

    def _some(
        self, job_ids: Collection[str], scopes: Collection[str | None]
    ) -> tuple[list[Job], dict[str, str]]:
        """Some jobs, and the messages about those that a client may see, by job id."""
        jobs = self._behind().service.ledger.several(job_ids, LARGEST)
        seen = [job for job in jobs if None in scopes or job.owner in scopes]
        return jobs, {job.id: f'{{"type":"job","job":{job.model_dump_json()}}}' for job in seen}

    def _tell_of_progress(self) -> None:
        for job_id in self._progress.keys() & self._owners.keys():
            progress, eta = self._progress.pop(job_id), self._queue.eta(job_id)
            text = message("progress", id=job_id, progress=progress, eta=eta)
            for inbox in self._those_who_see(self._owners[job_id]):
                inbox.put(PROGRESS, job_id, text)

    async def _tell_of_the_queue(self) -> None:
        if not self._queue.due():
            return
        await self._queue.look(self._behind().service.ledger)
        texts = {scope: self._queue.text(scope) for scope in {inbox.scope for inbox in self._inboxes}}
        for inbox in self._inboxes:
            inbox.put_queue(texts[inbox.scope])

    async def _show(self) -> None:
        """Send previews, in a task of its own: judging one can take longer than everything else."""
        while True:
            await self._sighted.wait()
            self._sighted.clear()
            for job_id in self._previews & self._owners.keys():
                self._previews.discard(job_id)
                await self._preview(job_id)
            await asyncio.sleep(PACE)
            if self._previews:
                self._sighted.set()

    async def _preview(self, job_id: str) -> None:
        assert self._judge is not None
        self._previewing, picture = job_id, self._pictures.get(job_id, 0)
        try:
            data = await preview_of(self._behind(), self._judge, job_id, "webp")
        except SafelightError as error:
            logger(__name__).warning("a preview is not shown", job_id=job_id, error=error.message)
            return
        except Exception as error:  # noqa: BLE001  nor must a defect at one preview
            logger(__name__).error("a defect", job_id=job_id, exc_info=error)
            return
        if data is None or self._previewing != job_id:  # blocked or missing, or the job moved on meanwhile
            return
        text = message("preview", id=job_id, picture=picture, image=base64.b64encode(data).decode())
        for inbox in self._those_who_see(self._owners.get(job_id)):
            inbox.put(PREVIEW, job_id, text)

    def _know(self, job: Job) -> None:
        self._owners[job.id] = job.owner
        self._owners.move_to_end(job.id)
        if len(self._owners) > _MOST_OWNERS:
            self._owners.popitem(last=False)

    def _those_who_see(self, owner: str | None) -> list[Inbox]:
        return [inbox for inbox in self._inboxes if owner is not None and inbox.sees(owner)]
