"""Compute the digests of models in the background, so that lists and look-ups by hash need not wait for them.

One thread in each server and worker, of which one at a time computes: they share a lock in the cache folder. It reads
at a bounded rate and at the lowest priority, and pauses while pictures are generated.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from safelight.errors import SafelightError
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder
from safelight.logs import get_logger
from safelight.models.checkpoints.discovery import find_checkpoints
from safelight.models.checkpoints.folder_walk import walk_weights
from safelight.models.digests import FileVersion, cached_digest, file_version, remember_digest
from safelight.models.inventory.kind_folders import weights_folders
from safelight.settings import Settings

START_DELAY = 5.0
"""Seconds after which the first files are looked for: a start has better things to do."""
SCAN_INTERVAL = 30.0
"""Seconds between two looks for new files."""
SETTLED_SECONDS = 10.0
"""A file that changed less than this ago may still be written to."""
MAX_RATE = 200e6
"""Bytes to read in a second."""
BLOCK = 4 * 1024 * 1024
LOWEST_PRIORITY = 19


class BackgroundDigests:
    """The thread.

    Args:
        settings: The folders, and the cache of digests.
        is_busy: Whether pictures are being generated.
        scan_interval: Seconds between two looks for new files.
        start_delay: Seconds before the first.
        settled_seconds: Files that changed less than this ago are left for later.
    """

    def __init__(
        self,
        settings: Settings,
        is_busy: Callable[[], bool],
        *,
        scan_interval: float = SCAN_INTERVAL,
        start_delay: float = START_DELAY,
        settled_seconds: float = SETTLED_SECONDS,
    ) -> None:
        self._settings, self._is_busy = settings, is_busy
        self._scan_interval, self._start_delay = scan_interval, start_delay
        self._settled_seconds = settled_seconds
        self._known: dict[Path, FileVersion] = {}
        """Versions whose digests are in the cache, or that cannot be read."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="digests", daemon=True)

    def start(self) -> None:
        """Start, unless the settings say not to."""
        if self._settings.hash_models:
            self._thread.start()

    def stop(self) -> None:
        """Stop within a block's time; a file that is not finished begins anew at the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        _lower_priority()
        pause = self._start_delay
        while not self._stopping.wait(pause):
            try:
                self._look()
            except (OSError, SafelightError) as error:  # such as a folder that vanishes, or a full disk
                get_logger(__name__).warning("digests not computed", error=str(error))
            pause = self._scan_interval

    def _look(self) -> None:
        """Compute what is missing, unless another process does."""
        missing = [path for path in self._files() if self._is_missing(path)]
        if not missing:
            return
        folder = self._settings.cache_folder / "digests"
        create_private_folder(folder)
        lock = FileLock(folder / ".computing")
        if not lock.acquire(f"process {os.getpid()}"):
            return
        try:
            for path in missing:
                self._compute(path)
        finally:
            lock.release()

    def _files(self) -> Iterator[Path]:
        """All weights: those of checkpoints first, since lists show their hashes."""
        settings = self._settings
        folders = settings.current_model_folders
        for checkpoint in find_checkpoints(settings.home, folders=folders):
            yield from checkpoint.weights
        for folder in weights_folders(settings.home, folders):
            yield from (path for path in walk_weights(folder, {".safetensors", ".gguf"}) if not path.is_dir())

    def _is_missing(self, path: Path) -> bool:
        try:
            version = file_version(path)
        except SafelightError:  # vanished
            return False
        if self._known.get(path) == version or time.time() - version[1] / 1e9 < self._settled_seconds:
            return False
        if cached_digest(path, self._settings.cache_folder) is None:
            return True
        self._known[path] = version
        return False

    def _compute(self, path: Path) -> None:
        cache = self._settings.cache_folder
        if self._stopping.is_set() or cached_digest(path, cache) is not None:  # another process was faster
            return
        version = file_version(path)
        digest = hashlib.sha256()
        try:
            with path.open("rb", buffering=0) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    if not self._pace(len(block)):
                        return
        except OSError as error:
            get_logger(__name__).warning("no digest", path=str(path), error=error.strerror)
            self._known[path] = version  # tried again when it changes
            return
        if file_version(path) == version and cached_digest(path, cache) is None:
            remember_digest(path, digest.hexdigest(), cache)
        self._known[path] = (
            version  # also where the cache cannot be written: hashed again when the file changes
        )

    def _pace(self, size: int) -> bool:
        """Wait after a block, and while pictures are generated; False if to stop."""
        if self._stopping.wait(size / MAX_RATE):
            return False
        while self._is_busy():
            if self._stopping.wait(1.0):
                return False
        return True


def _lower_priority() -> None:
    """Give this thread the lowest priority; on Linux threads have their own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
