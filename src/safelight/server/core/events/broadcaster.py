"""Broadcasts changes of jobs and of the queue to WebSocket clients, with one read of the database for all of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from safelight.errors import DatabaseError, SafelightError
from safelight.gallery.changes import ChangeReader
from safelight.jobs.job import Event, Job
from safelight.logs import get_logger
from safelight.server.core.app_state import AppState
from safelight.server.core.events.coalescing_queue import PREVIEW, PROGRESS, CoalescingQueue, encode_message
from safelight.server.core.events.event_stream import RETRY_INTERVAL
from safelight.server.core.events.previews import load_preview
from safelight.server.core.events.queue_snapshot import REFRESH_INTERVAL as QUEUE_EVERY
from safelight.server.core.events.queue_snapshot import QueueSnapshot
from safelight.server.core.moderation_service import ModerationService

UPDATE_INTERVAL = 0.1
"""Minimum seconds between two batches of messages to one client, and between two rounds of previews."""
ROUND_PAUSE = 0.05
"""Minimum seconds between two rounds: changes in between are sent in the same messages."""
MAX_WAITING, MAX_ENDED = 200, 20
"""Maximum waiting jobs, and ended jobs, in a snapshot."""
MAX_JOB_CHARACTERS, MAX_CHARACTERS = 256 * 1024, 4 * 1024 * 1024
"""Maximum characters of one request or result in a message, and of all of them in a snapshot."""
START_TIMEOUT = 10.0
"""Seconds that a new client waits for a database that does not answer."""
_MAX_OWNERS = 10_000


class Broadcaster:
    """Sends changes of jobs to clients. It reads the database once for all of them, and not at all without clients.

    Args:
        get_app_state: Returns the application's state.
    """

    def __init__(self, get_app_state: Callable[[], AppState]) -> None:
        self._get_app_state = get_app_state
        self._subscribers: set[CoalescingQueue] = set()
        self._moderation: ModerationService | None = None
        self._has_subscribers, self._ready = asyncio.Event(), asyncio.Event()
        self._read_lock = asyncio.Lock()  # messages are queued in the order of the reads
        self._event_arrived, self._preview_arrived = asyncio.Event(), asyncio.Event()
        self._changed: set[str] = set()
        self._progress: dict[str, dict[str, Any]] = {}
        self._image_indexes: dict[str, int] = {}
        self._previews: set[str] = set()
        self._previewing: str | None = None
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._queue = QueueSnapshot()
        self._gallery_changes: ChangeReader | None = None
        self._gallery_notified = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start to wait for subscribers."""
        self._tasks = [asyncio.create_task(task) for task in (self._broadcast(), self._send_previews())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the tasks."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def subscribed(
        self, scope: str | None, moderation: ModerationService
    ) -> AsyncIterator[CoalescingQueue]:
        """A context in which a client receives messages.

        Args:
            scope: The owner whose jobs the client sees; None for all owners.
            moderation: Judges previews before they are sent.

        Raises:
            DatabaseError: Events could not be read for some seconds.
        """
        messages = CoalescingQueue(scope)
        self._moderation = moderation
        self._subscribers.add(messages)
        self._has_subscribers.set()
        try:
            await self._wait_until_ready()
            yield messages
        finally:
            self._subscribers.discard(messages)

    async def _wait_until_ready(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), START_TIMEOUT)
        except TimeoutError as error:
            raise DatabaseError(f"The database could not be read for {START_TIMEOUT:g} seconds.") from error

    async def snapshot(self, subscriber: CoalescingQueue) -> str:
        """The first message: a snapshot of the jobs. Later changes arrive in the client's queue.

        Raises:
            DatabaseError: The jobs cannot be read.
        """
        async with self._read_lock:
            subscriber.reset()
            jobs, text = await asyncio.to_thread(self._read_snapshot, subscriber.scope)
            subscriber.mark_sent(jobs)
        return text

    def _read_snapshot(self, scope: str | None) -> tuple[list[Job], str]:
        store = self._get_app_state().service.store
        last = store.last_event()  # read first: later events are sent as messages
        jobs = store.overview(
            scope,
            waiting=MAX_WAITING,
            ended=MAX_ENDED,
            max_chars=MAX_JOB_CHARACTERS,
            max_total_chars=MAX_CHARACTERS,
        )
        texts = ",".join(job.model_dump_json() for job in jobs)
        paused = json.dumps(store.queue_state().paused)
        return jobs, f'{{"type":"hello","jobs":[{texts}],"last_event":{last},"paused":{paused}}}'

    def _on_event(self, event: Event) -> None:
        job_id = event.job_id
        if event.kind == "state":
            self._changed.add(job_id)
            self._forget(job_id)
            self._previewing = None if self._previewing == job_id else self._previewing
            self._queue.changed = True
        elif event.kind == "progress":
            self._progress[job_id] = event.data
            self._image_indexes[job_id] = event.data["picture"]
        elif event.kind == "preview":
            self._previews.add(job_id)
            self._preview_arrived.set()
        self._event_arrived.set()

    def _on_read(self) -> None:
        self._queue.notified = self._gallery_notified = True
        self._event_arrived.set()

    def _forget(self, job_id: str) -> None:
        """Drop a job's pending progress and preview."""
        self._progress.pop(job_id, None)
        self._image_indexes.pop(job_id, None)
        self._previews.discard(job_id)

    async def _broadcast(self) -> None:
        while True:
            await self._has_subscribers.wait()
            feed = self._get_app_state().events
            with feed.subscribed(self._on_event), feed.notified(self._on_read):
                await feed.wait_until_polling()
                with suppress(
                    DatabaseError
                ):  # a snapshot that is read from now on is of this state or a later one
                    await self._queue.read_state(self._get_app_state().service.store)
                    engine = self._get_app_state().service.engine
                    self._gallery_changes = await asyncio.to_thread(ChangeReader, engine)
                self._ready.set()
                self._queue.changed = self._queue.notified = True
                while self._subscribers:
                    await self._broadcast_once()
            self._has_subscribers.clear()
            self._ready.clear()
            self._gallery_changes = None
            for each in (self._changed, self._progress, self._image_indexes, self._previews):
                each.clear()

    async def _broadcast_once(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event_arrived.wait(), QUEUE_EVERY)
        self._event_arrived.clear()
        try:
            await self._send_jobs()
            self._send_progress()
            await self._send_queue()
            await self._send_gallery_changes()
        except DatabaseError as error:
            get_logger(__name__).warning("jobs not read", error=error.message)
            self._event_arrived.set()
            await asyncio.sleep(RETRY_INTERVAL)
        except Exception as error:  # noqa: BLE001  a defect must not stop the broadcast for all clients
            get_logger(__name__).error("a defect", exc_info=error)
        await asyncio.sleep(ROUND_PAUSE)

    async def _send_jobs(self) -> None:
        """Send the jobs that changed; also look up the owners of jobs with progress."""
        wanted = self._changed | (self._progress.keys() | self._previews) - self._owners.keys()
        if not wanted:
            return
        self._changed = set()
        async with self._read_lock:
            try:
                jobs, texts = await asyncio.to_thread(
                    self._read_jobs, wanted, {box.scope for box in self._subscribers}
                )
            except DatabaseError:
                self._changed |= wanted
                raise
            except Exception:
                self._resynchronize(wanted)
                raise
            for job in jobs:
                self._remember_owner(job)
                if (text := texts.get(job.id)) is not None:
                    for messages in self._subscribers_of(job.owner):
                        messages.put_job(job, text)
        for gone in wanted.difference(job.id for job in jobs):
            self._forget(gone)

    def _resynchronize(self, missed: Iterable[str]) -> None:
        """Send all clients a new snapshot: they missed a change of some jobs, and a retry might fail alike."""
        for job_id in missed:
            self._forget(job_id)
        for messages in self._subscribers:
            messages.overflow()

    def _read_jobs(
        self, job_ids: Collection[str], scopes: Collection[str | None]
    ) -> tuple[list[Job], dict[str, str]]:
        """Some jobs, and the messages about those that a client may see, by job id."""
        jobs = self._get_app_state().service.store.find_many(job_ids, MAX_JOB_CHARACTERS)
        seen = [job for job in jobs if None in scopes or job.owner in scopes]
        return jobs, {job.id: f'{{"type":"job","job":{job.model_dump_json()}}}' for job in seen}

    def _send_progress(self) -> None:
        for job_id in self._progress.keys() & self._owners.keys():
            progress, eta = self._progress.pop(job_id), self._queue.eta(job_id)
            text = encode_message("progress", id=job_id, progress=progress, eta=eta)
            for messages in self._subscribers_of(self._owners[job_id]):
                messages.put(PROGRESS, job_id, text)

    async def _send_queue(self) -> None:
        if self._queue.notified and await self._queue.read_state(self._get_app_state().service.store):
            for messages in self._subscribers:
                messages.overflow()  # jobs have left the lists: a new snapshot is without them
        if not self._queue.is_due():
            return
        await self._queue.refresh(self._get_app_state().service.store)
        texts = {
            scope: self._queue.message_for(scope)
            for scope in {messages.scope for messages in self._subscribers}
        }
        for messages in self._subscribers:
            messages.put_queue(texts[messages.scope])

    async def _send_gallery_changes(self) -> None:
        """Send changes of the gallery, of whichever process, to those who may see them."""
        if not self._gallery_notified:
            return
        if self._gallery_changes is None:
            self._gallery_changes = await asyncio.to_thread(
                ChangeReader, self._get_app_state().service.engine
            )
        self._gallery_notified = (
            False  # before reading: a notification that comes meanwhile is of a later change
        )
        try:
            changes = await asyncio.to_thread(self._gallery_changes.read)
        except DatabaseError:
            self._gallery_notified = True  # they are read the next time
            raise
        for change in changes:
            text = encode_message(
                "gallery", changed=change.changed, deleted=change.deleted, collections=change.collections
            )
            for messages in self._subscribers:
                if messages.scope in (None, change.owner):
                    messages.put_gallery(text)

    async def _send_previews(self) -> None:
        """Send previews, in a task of its own: judging one can take longer than everything else."""
        while True:
            await self._preview_arrived.wait()
            self._preview_arrived.clear()
            for job_id in self._previews & self._owners.keys():
                self._previews.discard(job_id)
                await self._send_preview(job_id)
            await asyncio.sleep(UPDATE_INTERVAL)
            if self._previews:
                self._preview_arrived.set()

    async def _send_preview(self, job_id: str) -> None:
        assert self._moderation is not None
        self._previewing, picture = job_id, self._image_indexes.get(job_id, 0)
        try:
            data = await load_preview(self._get_app_state(), self._moderation, job_id, "webp")
        except SafelightError as error:
            get_logger(__name__).warning("a preview is not shown", job_id=job_id, error=error.message)
            return
        except Exception as error:  # noqa: BLE001  nor must a defect at one preview
            get_logger(__name__).error("a defect", job_id=job_id, exc_info=error)
            return
        if data is None or self._previewing != job_id:  # blocked or missing, or the job moved on meanwhile
            return
        text = encode_message("preview", id=job_id, picture=picture, image=base64.b64encode(data).decode())
        for messages in self._subscribers_of(self._owners.get(job_id)):
            messages.put(PREVIEW, job_id, text)

    def _remember_owner(self, job: Job) -> None:
        self._owners[job.id] = job.owner
        self._owners.move_to_end(job.id)
        if len(self._owners) > _MAX_OWNERS:
            self._owners.popitem(last=False)

    def _subscribers_of(self, owner: str | None) -> list[CoalescingQueue]:
        return [messages for messages in self._subscribers if owner is not None and messages.may_see(owner)]
