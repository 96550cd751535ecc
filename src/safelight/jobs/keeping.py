"""What a worker has in memory because it was told so: loaded and unloaded between two jobs, never beside one."""

from __future__ import annotations

import time
from collections.abc import Callable

from safelight.errors import InternalError
from safelight.jobs.job import JsonObject
from safelight.jobs.mishaps import understood
from safelight.jobs.orders import Order
from safelight.jobs.service import Service
from safelight.logs import logger
from safelight.studio import Studio


class Keeper:
    """Hears what is to be in memory, and sees to it. What was said before it was there is not meant for it.

    Args:
        service: Where orders come from.
        studio: What loads and unloads.
        tell: Called whenever there is something new to be seen from outside.
    """

    def __init__(self, service: Service, studio: Studio, tell: Callable[[], None]) -> None:
        self._service, self._studio, self._tell = service, studio, tell
        self._heard: list[Order] = []
        self._done = self._freed = service.last_order()
        self.at_work = False
        """Whether a checkpoint is being loaded now."""
        self.last_error: JsonObject | None = None
        """Why the last checkpoint could not be loaded: which, when, and the error; None where it could."""

    @property
    def wanted(self) -> list[Order]:
        """What is still to be done, in this order."""
        return [order for order in self._heard if order.number > self._done]

    @property
    def loading(self) -> str | None:
        """The checkpoint that is being loaded, or will be next."""
        return next((order.checkpoint for order in self.wanted if order.load), None)

    def listen(self) -> None:
        """Hear what was said since. What is to be unloaded and is in no use goes at once, all else when it is time.

        Raises:
            DatabaseError: Nothing could be heard.
        """
        self._heard = self._service.orders(self._done)
        new = [order for order in self._heard if order.number > self._freed]
        for order in new:
            self._freed = order.number
            if not order.load:
                self._unload(order.checkpoint)
        if new:
            self._tell()

    def obey(self, stopping: Callable[[], bool]) -> None:
        """Do what is wanted, while nothing is drawn.

        Args:
            stopping: Asked before each order; true ends it.
        """
        while (wanted := self.wanted) and not stopping():
            order = wanted[0]
            if order.load and order.checkpoint is not None:
                name = order.checkpoint
                self.load(name, lambda: self._studio.preload(name))  # noqa: B023  it is called here and now
            else:
                self._unload(order.checkpoint)
            self._done = order.number
            self._tell()

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
            logger(__name__).warning(
                "not loaded", checkpoint=checkpoint, error=problem.message, exc_info=defect
            )
        else:
            self.last_error = None
            logger(__name__).info("loaded", checkpoint=checkpoint)
        finally:
            self.at_work = False

    def _unload(self, checkpoint: str | None) -> None:
        self._studio.unload(checkpoint)
        kept = sorted(self._studio.loaded_checkpoints)
        logger(__name__).info("unloaded", checkpoint=checkpoint, kept=kept)
