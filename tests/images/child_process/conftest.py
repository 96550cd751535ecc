"""Which child processes a test leaves behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

import psutil
import pytest


@pytest.fixture
def new_children() -> Callable[[], set[psutil.Process]]:
    """A function that returns the child processes that were started since the test began; other tests have theirs."""
    before = set(psutil.Process().children())

    def started() -> set[psutil.Process]:
        gc.collect()
        return set(psutil.Process().children()) - before

    return started
