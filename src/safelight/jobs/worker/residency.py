"""What a worker has in memory because it was told so: loaded and unloaded between two jobs, never beside one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from safelight.errors import InternalError
from safelight.jobs.job import JsonObject
from safelight.jobs.queue.commands import ResidencyCommand
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.failures import understood
from safelight.logs import get_logger
from safelight.studio import Studio


class Residency:
    """Hears what is to be in memory, and sees to it. What was said before it was there is not meant for it.

    Args:
        service: Where orders come from.
        studio: What loads and unloads.
        tell: Called whenever there is something new to be seen from outside.
        in_use: The checkpoints of the jobs on their way.
    """

    def __init__(
        self,
        service: QueueService,
        studio: Studio,
        tell: Callable[[], None],
        in_use: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._service, self._studio, self._tell, self._in_use = service, studio, tell, in_use
        self._heard: list[ResidencyCommand] = []
        self._before = self._freed = service.last_order()
        self._done: set[int] = set()
        self._mind = threading.Lock()
        self._obeying = False
        self.at_work = False
        """Whether a checkpoint is being loaded now."""
        self.last_error: JsonObject | None = None
        """Why the last checkpoint could not be loaded: which, when, and the error; None where it could."""

    @property
    def wanted(self) -> list[ResidencyCommand]:
        """What is still to be done, in this order."""
        return [order for order in self._heard if order.number not in self._done]

    @property
    def loading(self) -> str | None:
        """The checkpoint that is being loaded, or will be next."""
        return next((order.checkpoint for order in self.wanted if order.load), None)

    def listen(self) -> None:
        """Hear what was said. What is to be unloaded and is in no use goes at once, all else when it is time.

        What is so already is done with, and no job waits for it.

        Raises:
            DatabaseError: Nothing could be heard.
        """
        heard = self._service.orders(self._before)
        new = [order for order in heard if order.number > self._freed]
        for order in new:
            self._freed = order.number
            if not order.load:
                self._unload(order.checkpoint)
        if self._take_note(heard) or new:
            self._tell()

    def _take_note(self, heard: list[ResidencyCommand]) -> bool:
        """Note what was heard; whether some of it is so already."""
        with self._mind:
            self._heard, done = heard, len(self._done)
            if not self._obeying:  # what is being loaded is not in memory yet, and may have to go again
                for order in self.wanted:
                    if self._is_so(order):
                        self._done.add(order.number)
            return len(self._done) > done

    def _is_so(self, order: ResidencyCommand) -> bool:
        """Whether nothing would change by an order, now or after those before it."""
        if not order.load:
            kept = {*self._studio.loaded_checkpoints, *self._in_use()}  # a job may be about to load its own
            return not kept if order.checkpoint is None else order.checkpoint not in kept
        if order.checkpoint is None or self.wanted[0] != order:  # those before it may make it go
            return False
        try:
            so = self._studio.holds(order.checkpoint)
        except Exception:  # noqa: BLE001  whatever a file holds: it is noted when it is loaded
            return False
        if so:
            self.last_error = None
        return so

    def obey(self, stopping: Callable[[], bool]) -> None:
        """Do what is wanted, while nothing is drawn.

        Args:
            stopping: Asked before each order; true ends it.
        """
        with self._mind:
            self._obeying = True
        try:
            while (wanted := self.wanted) and not stopping():
                self._carry_out(wanted[0])
                self._done.add(wanted[0].number)
                self._tell()
        finally:
            self._obeying = False

    def _carry_out(self, order: ResidencyCommand) -> None:
        if order.load and (name := order.checkpoint) is not None:
            self.load(name, lambda: self._studio.preload(name))
        else:
            self._unload(order.checkpoint)

    def load(self, checkpoint: str, load: Callable[[], None]) -> None:
        """Load something; what goes wrong is noted, and jobs that need it will say so.

        Args:
            checkpoint: What it is called.
            load: Loads it.
        """
        self.at_work = True
        self._tell()
        try:
            load()
        except Exception as error:  # noqa: BLE001  whatever a file holds, the worker goes on
            problem = understood(error)
            self.last_error = {**problem.to_dict(), "checkpoint": checkpoint, "time": time.time()}
            defect = problem.__cause__ if isinstance(problem, InternalError) else None
            get_logger(__name__).warning(
                "not loaded", checkpoint=checkpoint, error=problem.message, exc_info=defect
            )
        else:
            self.last_error = None
            get_logger(__name__).info("loaded", checkpoint=checkpoint)
        finally:
            self.at_work = False

    def _unload(self, checkpoint: str | None) -> None:
        self._studio.unload(checkpoint)
        kept = sorted(self._studio.loaded_checkpoints)
        get_logger(__name__).info("unloaded", checkpoint=checkpoint, kept=kept)
