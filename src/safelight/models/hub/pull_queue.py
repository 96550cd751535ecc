"""Pulls in the background, one after the other, for a server; what was downloaded survives its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from safelight.errors import DownloadError, DownloadStoppedError, InternalError, SafelightError
from safelight.logs import get_logger
from safelight.models.hub.pull import Pulled, pull
from safelight.models.hub.pull_plan import PullPlan
from safelight.settings import Settings

MAX_WAITING = 20
MAX_KEPT = 50
"""How many pulls are remembered."""
CLOSE_TIMEOUT = 3.0
"""Seconds that the running pull gets to end when the server stops; its thread does not keep the process."""
State = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass
class QueuedPull:
    """A pull that was asked for.

    Args:
        id: Its id.
        plan: What it downloads.
        state: Where it is.
        done: Bytes that are there.
        result: What was pulled.
        error: Why it failed.
    """

    id: str
    plan: PullPlan
    state: State = "waiting"
    done: int = 0
    result: Pulled | None = None
    error: SafelightError | None = None
    stop: threading.Event = field(default_factory=threading.Event, repr=False)


class PullQueue:
    """The pulls of a server.

    Args:
        settings: The data directory.
        on_end: Called after each pull.
    """

    def __init__(self, settings: Settings, on_end: Callable[[QueuedPull], None] = lambda _: None) -> None:
        self._settings, self._on_end = settings, on_end
        self._pulls: dict[str, QueuedPull] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, plan: PullPlan) -> QueuedPull:
        """Pull a model when those before it have ended; one that waits or runs already is returned instead.

        Raises:
            DownloadError: Too many wait.
        """
        with self._changed:
            pending = [each for each in self._pulls.values() if each.state in ("waiting", "running")]
            for each in pending:
                if each.plan.reference == plan.reference and each.plan.files == plan.files:
                    return each
            if len(pending) >= MAX_WAITING or self._closed:
                raise DownloadError(
                    f"{len(pending)} models are being downloaded already.", hint="Try again later."
                )
            added = QueuedPull(uuid4().hex, plan)
            self._pulls[added.id] = added
            self._forget_old()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pulls", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return added

    def list(self) -> list[QueuedPull]:
        """The pulls, the newest first."""
        with self._changed:
            return list(reversed(self._pulls.values()))

    def stop(self, pull_id: str) -> QueuedPull | None:
        """Stop a pull, which keeps what has arrived; None if there is none."""
        with self._changed:
            found = self._pulls.get(pull_id)
            if found is None:
                return None
            found.stop.set()
            if found.state == "waiting":
                found.state = "stopped"
        return found

    def close(self) -> None:
        """Stop all pulls."""
        with self._changed:
            self._closed = True
            for each in self._pulls.values():
                each.stop.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while (current := self._next()) is not None:
            try:
                current.result = pull(
                    current.plan.patient(current.stop.wait),
                    self._settings,
                    on_progress=lambda done, current=current: setattr(current, "done", done),  # type: ignore[misc]
                    should_stop=current.stop.is_set,
                )
                current.state = "done"
            except DownloadStoppedError:
                current.state = "stopped"
            except SafelightError as error:
                current.error, current.state = error, "failed"
            except Exception as error:  # noqa: BLE001  a defect must not end the thread
                get_logger(__name__).error("a defect", exc_info=error)
                current.error, current.state = InternalError(f"{type(error).__name__}: {error}"), "failed"
            self._on_end(current)

    def _next(self) -> QueuedPull | None:
        """The next pull, now running; None when the queue is closed."""
        with self._changed:
            while True:
                waiting = [each for each in self._pulls.values() if each.state == "waiting"]
                if self._closed:
                    return None
                if waiting:
                    waiting[0].state = "running"
                    return waiting[0]
                self._changed.wait()

    def _forget_old(self) -> None:
        ended = [each.id for each in self._pulls.values() if each.state in ("done", "failed", "stopped")]
        for each in ended[: max(0, len(self._pulls) - MAX_KEPT)]:
            del self._pulls[each]
