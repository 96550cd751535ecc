from __future__ import annotations

import threading

from PIL import Image

from safelight.jobs.job import Progress
from safelight.jobs.progress_writer import ProgressWriter


def progress(step: int) -> Progress:
    return Progress(stage="first pass", step=step)


class BlockedWriter:
    """A writer that blocks until it is released."""

    def __init__(self) -> None:
        self.written: list[tuple[int, Image.Image | None]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, each: Progress, preview: Image.Image | None) -> None:
        self.begun.set()
        self.go_on.wait(10)
        self.written.append((each.step, preview))


def test_it_never_blocks_and_only_the_latest_progress_is_written() -> None:
    slow = BlockedWriter()
    writer = ProgressWriter(slow.write)
    preview = Image.new("RGB", (8, 8))
    writer.put(progress(1))
    assert slow.begun.wait(10)
    writer.put(progress(2), preview)
    writer.put(progress(3))
    assert slow.written == []
    slow.go_on.set()
    writer.flush()
    assert slow.written == [(1, None), (3, preview)]


def test_its_thread_ends_with_the_job() -> None:
    slow = BlockedWriter()
    slow.go_on.set()
    writer = ProgressWriter(slow.write)
    writer.flush()
    for step in range(3):
        writer.put(progress(step))
        writer.flush()
    assert [step for step, _ in slow.written] == [0, 1, 2]
    for thread in threading.enumerate():
        if thread.name == "progress":
            thread.join(10)
            assert not thread.is_alive()
