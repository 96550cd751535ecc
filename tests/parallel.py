"""How tests are distributed over test processes, file by file, and which are marked as fast."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONGEST_FIRST = ("server", "jobs", "cli", "generation", "models")
"""Folders whose files take longest, most of them because they start processes."""
LAST = "ui"
"""The folder whose tests use a browser: Playwright leaves an event loop running in the process, in which other tests
could not start one of their own."""


LOADS = frozenset(
    {
        "browser",
        "large",
        "load",
        "open_nsfw",
        "open_nsfw_exact",
        "postgres",
        "process",
        "server",
        "tiny",
        "timed",
    }
)
"""Fixtures that start a process, load a network or create something large."""
HEAVY_MODULES = frozenset(
    {"subprocess", "torch", "torch.nn", "tests.jobs.worker_processes", "tests.server.serve_process"}
)
"""Modules whose import in a test file means that it starts processes or computes with networks."""


def mark_fast(items: list[pytest.Item]) -> None:
    """Mark the tests of pure logic with ``fast``: `make test-fast` runs them."""
    heavy = {}
    for item in items:
        module = item.getparent(pytest.Module)
        assert module is not None
        if module not in heavy:
            values = vars(module.obj).values()
            imported = {
                getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in values
            }
            heavy[module] = not HEAVY_MODULES.isdisjoint(imported)
        used = set(getattr(item, "fixturenames", ()))
        unless = any(item.get_closest_marker(name) for name in ("slow", "exhaustive"))
        if not (heavy[module] or unless or LOADS & used or "[postgresql" in item.name):
            item.add_marker(pytest.mark.fast)


def put_longest_first(items: list[pytest.Item], tests: Path) -> None:
    """Move the longest files to the front, so that none is left for the end, and those with a browser to the end."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)} | {LAST: len(LONGEST_FIRST) + 1}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(tests).parts[0], len(LONGEST_FIRST)))


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this run share; xdist gives each of them one of its own within it."""
    own = factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


def load_factor() -> float:
    """How many times longer everything may take because other processes load the machine; 1.0 on an idle one."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
