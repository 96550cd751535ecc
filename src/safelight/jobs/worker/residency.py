"""The commands that load and unload checkpoints in a worker, which run between jobs and never beside one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from safelight.errors import InternalError
from safelight.jobs.job import JsonObject
from safelight.jobs.queue.commands import ResidencyCommand
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.failures import to_safelight_error
from safelight.logs import get_logger
from safelight.studio import Studio


class Residency:
    """Reads and executes residency commands. Commands from before its creation do not apply to it.

    Args:
        service: The source of commands.
        studio: Loads and unloads checkpoints.
        on_change: Called when the state that others can see has changed.
        in_use: Returns the checkpoints of the running jobs.
    """

    def __init__(
        self,
        service: QueueService,
        studio: Studio,
        on_change: Callable[[], None],
        in_use: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._service, self._studio, self._on_change, self._in_use = service, studio, on_change, in_use
        self._commands: list[ResidencyCommand] = []
        self._start_number = self._last_read = service.last_command()
        self._done: set[int] = set()
        self._lock = threading.Lock()
        self._executing = False
        self.is_loading = False
        """Whether a checkpoint is being loaded now."""
        self.last_error: JsonObject | None = None
        """The error of the last load with the checkpoint and the time; None if the load succeeded."""

    @property
    def pending(self) -> list[ResidencyCommand]:
        """The commands that are still to be executed, in order."""
        return [command for command in self._commands if command.number not in self._done]

    @property
    def loading(self) -> str | None:
        """The checkpoint that is being loaded, or is to be loaded next."""
        return next((command.checkpoint for command in self.pending if command.load), None)

    def read_commands(self) -> None:
        """Read new commands. An unused checkpoint is unloaded at once; other commands wait for ``execute_pending``.

        Commands that would change nothing are done already, and no job waits for them.

        Raises:
            DatabaseError: The commands cannot be read.
        """
        commands = self._service.commands(self._start_number)
        new = [command for command in commands if command.number > self._last_read]
        for command in new:
            self._last_read = command.number
            if not command.load:
                self._unload(command.checkpoint)
        if self._update_commands(commands) or new:
            self._on_change()

    def _update_commands(self, commands: list[ResidencyCommand]) -> bool:
        """Store the commands that are in effect; returns whether some of them are satisfied already."""
        with self._lock:
            self._commands, done_before = commands, len(self._done)
            if not self._executing:  # a checkpoint that is being loaded is not visible yet
                for command in self.pending:
                    if self._is_satisfied(command):
                        self._done.add(command.number)
            return len(self._done) > done_before

    def _is_satisfied(self, command: ResidencyCommand) -> bool:
        """Whether a command would change nothing, neither now nor after the commands before it."""
        if not command.load:
            present = {*self._studio.loaded_checkpoints, *self._in_use()}  # a job may be loading its own
            return not present if command.checkpoint is None else command.checkpoint not in present
        if command.checkpoint is None or self.pending[0] != command:  # earlier commands may unload it
            return False
        try:
            loaded = self._studio.is_loaded(command.checkpoint)
        except Exception:  # noqa: BLE001  a file may raise anything; loading records it
            return False
        if loaded:
            self.last_error = None
        return loaded

    def execute_pending(self, stopping: Callable[[], bool]) -> None:
        """Execute the pending commands while no job is running.

        Args:
            stopping: Called before each command; True ends it.
        """
        with self._lock:
            self._executing = True
        try:
            while (pending := self.pending) and not stopping():
                self._execute(pending[0])
                self._done.add(pending[0].number)
                self._on_change()
        finally:
            self._executing = False

    def _execute(self, command: ResidencyCommand) -> None:
        if command.load and (name := command.checkpoint) is not None:
            self.load(name, lambda: self._studio.preload(name))
        else:
            self._unload(command.checkpoint)

    def load(self, checkpoint: str, load: Callable[[], None]) -> None:
        """Load a checkpoint; an error is recorded, and jobs that need the checkpoint will report it.

        Args:
            checkpoint: The checkpoint's name.
            load: Loads it.
        """
        self.is_loading = True
        self._on_change()
        try:
            load()
        except Exception as error:  # noqa: BLE001  a file may raise anything
            safelight_error = to_safelight_error(error)
            self.last_error = {**safelight_error.to_dict(), "checkpoint": checkpoint, "time": time.time()}
            defect = safelight_error.__cause__ if isinstance(safelight_error, InternalError) else None
            get_logger(__name__).warning(
                "not loaded", checkpoint=checkpoint, error=safelight_error.message, exc_info=defect
            )
        else:
            self.last_error = None
            get_logger(__name__).info("loaded", checkpoint=checkpoint)
        finally:
            self.is_loading = False

    def _unload(self, checkpoint: str | None) -> None:
        self._studio.unload(checkpoint)
        loaded = sorted(self._studio.loaded_checkpoints)
        get_logger(__name__).info("unloaded", checkpoint=checkpoint, kept=loaded)
