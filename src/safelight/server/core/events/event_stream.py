"""The stream of job events: one reader of the database for all listeners of this process.

A thread waits for notifications of new events; while there are listeners, each notification leads to one read of the
database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from safelight.database.notifications import Listener
from safelight.errors import DatabaseError, InternalError
from safelight.gallery.changes import CHANNEL as GALLERY_CHANNEL
from safelight.jobs.job import Event, Job, JobState
from safelight.jobs.queue.store import JobStore
from safelight.logs import get_logger

MIN_READ_INTERVAL, RETRY_INTERVAL = 0.01, 0.5
"""Minimum seconds between the starts of two reads, and seconds to wait after a read that failed."""
MAX_RETRY_INTERVAL, ERROR_DEADLINE = 5.0, 30.0
"""Maximum seconds between two reads during a defect, and seconds after which listeners get an error."""
OVERLAP = 200
"""How many event ids each read goes back: with several writers, events can become visible out of order."""
ALL_JOBS = ""
"""The key of listeners to all jobs."""

EventListener = Callable[[Event], None]
"""Called with each event as it is read, on the event loop."""


class EventStream:
    """Reads new events from the store while there are listeners.

    Args:
        store: The store that has the events.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._listeners: dict[str, set[EventListener]] = {}
        self._has_listeners, self._polling, self._changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._read_listeners: set[Callable[[], None]] = set()
        self._error_queues: set[asyncio.Queue[Event | InternalError]] = set()
        self._failing_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._notification_thread: _NotificationThread | None = None

    async def __aenter__(self) -> Self:
        """Start reading events."""
        self._notification_thread = _NotificationThread(
            self._store.listen(GALLERY_CHANNEL), asyncio.get_running_loop(), self._changed.set
        )
        self._task = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading events."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._notification_thread is not None:
            await asyncio.to_thread(self._notification_thread.close)

    async def events(self, job_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """A job's events after one of them, past and future, until the job has ended.

        Args:
            job_id: The id of an existing job.
            after: The id of the last known event.

        Raises:
            InternalError: Events could not be read for ``ERROR_DEADLINE`` seconds because of a defect.
        """
        queue: asyncio.Queue[Event | InternalError] = asyncio.Queue()
        with self.subscribed(queue.put_nowait, job_id), self._receiving_errors(queue):
            last = after
            async for event in self.history(job_id, after):
                last = event.id
                yield event
                if is_final(event):
                    return
            while True:
                heard = await queue.get()
                if isinstance(heard, InternalError):
                    raise heard
                if heard.id <= last:
                    continue
                last = heard.id
                yield heard
                if is_final(heard):
                    return

    @contextmanager
    def subscribed(self, listener: EventListener, job_id: str = ALL_JOBS) -> Iterator[None]:
        """A context in which a listener receives new events, each once.

        Args:
            listener: Called with each event; it must not block.
            job_id: The job to listen to, of which some earlier events may be repeated; all jobs, without repeated
                events, when not given.
        """
        listeners = self._listeners.setdefault(job_id, set())
        listeners.add(listener)
        self._has_listeners.set()
        try:
            yield
        finally:
            listeners.discard(listener)
            if not listeners and self._listeners.get(job_id) is listeners:
                del self._listeners[job_id]

    @contextmanager
    def notified(self, listener: Callable[[], None]) -> Iterator[None]:
        """A context in which a listener is called after each read, as queue or gallery may have changed without events.

        Events are read only while there are listeners to them (``subscribed``).
        """
        self._read_listeners.add(listener)
        try:
            yield
        finally:
            self._read_listeners.discard(listener)

    async def wait_until_polling(self) -> None:
        """Wait until events are being read: a job read from the store after this misses no event that follows."""
        await self._polling.wait()

    async def history(self, job_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """A job's past events after one of them, read page by page."""
        while page := await asyncio.to_thread(self._store.events, after, job_id):
            for event in page:
                yield event
            after = page[-1].id

    async def wait_until_ended(self, job_id: str) -> Job:
        """Wait until a job has ended and return it.

        Raises:
            JobMissingError: There is no such job, or it was deleted meanwhile.
            InternalError: As in ``events``.
        """
        queue: asyncio.Queue[Event | InternalError] = asyncio.Queue()
        with self.subscribed(queue.put_nowait, job_id), self._receiving_errors(queue):
            job = await asyncio.to_thread(self._store.get, job_id)
            while not job.state.final:
                heard = await queue.get()
                if isinstance(heard, InternalError):
                    raise heard
                if is_final(heard):
                    job = await asyncio.to_thread(self._store.get, job_id)
        return job

    async def _poll(self) -> None:
        seen: dict[int, None] = {}
        last, started = 0, False
        while True:
            if not self._listeners:
                self._has_listeners.clear()
                self._polling.clear()
                await self._has_listeners.wait()
                started = False
            looked = time.monotonic()
            self._changed.clear()
            try:
                if not started:
                    last, started = await asyncio.to_thread(self._store.last_event), True
                    seen.clear()
                found = await asyncio.to_thread(self._store.events, max(0, last - OVERLAP), known=seen)
            except DatabaseError as error:
                get_logger(__name__).warning("events not read", error=error.message)
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            except Exception as error:  # noqa: BLE001  no error may end the stream for all listeners
                await self._back_off(error)
                continue
            self._failing_since = None
            for event in found:
                seen[event.id] = None
                self._dispatch(event)
            self._polling.set()
            for notify in self._read_listeners:
                notify()
            last = max([last, *(event.id for event in found)])
            for old in [event_id for event_id in seen if event_id < last - 2 * OVERLAP]:
                del seen[old]
            await asyncio.sleep(max(0.0, looked + MIN_READ_INTERVAL - time.monotonic()))
            await self._changed.wait()

    def _dispatch(self, event: Event) -> None:
        """Pass an event to its listeners; those of the first read, which may be old, only to listeners of one job."""
        listeners = [*self._listeners.get(event.job_id, ())]
        if self._polling.is_set():
            listeners += self._listeners.get(ALL_JOBS, ())
        for hear in listeners:
            try:
                hear(event)
            except Exception as error:  # noqa: BLE001  one listener's error must not stop the others
                get_logger(__name__).error("a defect", exc_info=error)

    async def _back_off(self, error: Exception) -> None:
        """Log the first of several defects and wait longer after each; if they persist, send listeners an error."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            get_logger(__name__).error("a defect", exc_info=error)
        lasted = now - self._failing_since
        if lasted >= ERROR_DEADLINE:
            for queue in self._error_queues:
                queue.put_nowait(InternalError("Events of jobs cannot be read."))
        await asyncio.sleep(min(RETRY_INTERVAL + lasted, MAX_RETRY_INTERVAL))

    @contextmanager
    def _receiving_errors(self, queue: asyncio.Queue[Event | InternalError]) -> Iterator[None]:
        self._error_queues.add(queue)
        try:
            yield
        finally:
            self._error_queues.discard(queue)


class _NotificationThread:
    """A thread that waits for notifications and passes them on to the event loop."""

    def __init__(
        self, listener: Listener, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]
    ) -> None:
        self._listener, self._loop, self._changed = listener, loop, changed
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="notifications")
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            if self._listener.wait():
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._changed)

    def close(self) -> None:
        """Stop the thread and close the listener."""
        self._stopped = True
        self._listener.wake()
        self._thread.join()
        self._listener.close()


def is_final(event: Event) -> bool:
    """Whether an event is its job's last."""
    return event.kind == "state" and JobState(event.data["state"]).final
