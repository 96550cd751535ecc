"""Shared by the commands: JSON on stdout, messages on stderr, progress, and common options."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from safelight.moderation.scan.sources import SkipReason

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
ClassifierOption = Annotated[
    str | None,
    typer.Option(
        "--classifier",
        "-c",
        metavar="NAME",
        help="open-nsfw, a pulled model, or a folder.",
        show_default=False,
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="NAME|FILE",
        help="strict, standard, lenient, or a TOML file.",
        show_default=False,
    ),
]
ExactOption = Annotated[
    bool | None,
    typer.Option(
        "--exact/--fast",
        help="Full decoding and fp32 reference arithmetic, or the fast path (default).",
        show_default=False,
    ),
]
TilesOption = Annotated[
    bool | None,
    typer.Option(
        "--tiles/--no-tiles", help="Also judge tiles of tall and wide pictures.", show_default=False
    ),
]
AllFilesOption = Annotated[
    bool,
    typer.Option(
        "--all-files/--only-known",
        help="In folders, detect pictures by content (default), or by file name only.",
        show_default=False,
    ),
]
ListSkippedOption = Annotated[
    bool, typer.Option("--list-skipped", help="Name the files that were not judged on stderr.")
]
BackendOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, openvino or onnxruntime.", show_default=False)
]
PrecisionOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, fp32, bf16 or int8.", show_default=False)
]


def print_json(body: dict[str, Any]) -> None:
    """Print a JSON object on a line of stdout."""
    text = json.dumps(body, ensure_ascii=False)
    print_line(text if printable(text) == text else json.dumps(body))


def print_line(line: str) -> None:
    """Print a line on stdout; where the reader has closed the pipe, exit with the status of a broken pipe."""
    try:
        typer.echo(line)
    except BrokenPipeError:
        # Flushing what is still buffered must not fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def printable(text: str) -> str:
    """Replace bytes of a file name that are not text by question marks, so that it can be printed."""
    return text.encode("utf-8", "replace").decode("utf-8")


def print_stderr(line: str) -> None:
    """Print a line on stderr, and flush it."""
    typer.echo(line, err=True)
    sys.stderr.flush()


class SkippedFiles:
    """Counts the files that were not judged; passed to ``find_images``.

    Args:
        listed: Whether to also print each on stderr.
    """

    def __init__(self, listed: bool) -> None:
        self.counts: Counter[SkipReason] = Counter()
        self._listed = listed

    def __call__(self, path: str, reason: SkipReason) -> None:
        """Count a file."""
        self.counts[reason] += 1
        if self._listed:
            print_stderr(f"skipped {printable(path)}: {reason.value.replace('_', ' ')}")

    def print_summary(self) -> None:
        """Print the number of skipped files on stderr, if any."""
        if self.counts:
            each = ", ".join(
                f"{reason.value.replace('_', ' ')} ({number})"
                for reason, number in sorted(self.counts.items())
            )
            more = "" if self._listed else " (--list-skipped names them)"
            print_stderr(f"Not judged: {each}{more}.")


def exit_with_status(flagged: int, failed: int = 0, internal: int = 0) -> None:
    """Exit with the documented status.

    Args:
        flagged: Number of pictures for review or blocked: status 1.
        failed: Number of pictures that could not be judged: status 2 where none was flagged.
        internal: Number of those that failed by an internal error: status 3 where none was flagged.
    """
    if flagged or failed:
        raise typer.Exit(1 if flagged else 3 if internal else 2)


class ProgressReporter(Protocol):
    """Receives progress."""

    def advance(self) -> None:
        """Count one finished item."""

    def skip_finished(self, number: int) -> None:
        """Set the number of items finished in an earlier run, which do not count for the rate."""

    def set_total(self, total: int) -> None:
        """Set the total number of items."""


@contextmanager
def progress(description: str) -> Iterator[ProgressReporter]:
    """Progress on stderr: a bar with rate and remaining time on a terminal, a line every ten seconds elsewhere."""
    if not sys.stderr.isatty():
        yield LineProgress(description)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield BarProgress(bar, bar.add_task(description, total=None, rate=""))


@contextmanager
def byte_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress of a download on stderr: a bar on a terminal, a line every ten seconds elsewhere.

    Yields:
        What is called with the number of bytes that are there.
    """
    if not sys.stderr.isatty():
        yield LineByteProgress(description, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


class LineByteProgress:
    """Progress of a download as an occasional line, for logs."""

    def __init__(self, description: str, total: int, every: float = 10.0) -> None:
        self._description, self._total, self._every = description, total, every
        self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        """Print a line if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            print_stderr(f"{self._description}: {done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB")


class BarProgress:
    """Progress as a bar."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task, self._start, self._done = bar, task, time.monotonic(), 0

    def advance(self) -> None:
        """See ``ProgressReporter.advance``."""
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 1e-6)
        self._bar.update(self._task, advance=1, rate=f"{rate:.1f}/s")

    def skip_finished(self, number: int) -> None:
        """See ``ProgressReporter.skip_finished``."""
        self._bar.update(self._task, completed=number)

    def set_total(self, total: int) -> None:
        """See ``ProgressReporter.set_total``."""
        self._bar.update(self._task, total=total)


class LineProgress:
    """Progress as an occasional line, for logs."""

    def __init__(self, description: str, every: float = 10.0) -> None:
        self._description, self._every = description, every
        self._skipped, self._done, self._total = 0, 0, 0
        self._start = self._last = time.monotonic()

    def advance(self) -> None:
        """See ``ProgressReporter.advance``."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            of_total = f" of {self._total}" if self._total else ""
            done = self._skipped + self._done
            print_stderr(f"{self._description}: {done}{of_total}, {self._done / (now - self._start):.1f}/s")

    def skip_finished(self, number: int) -> None:
        """See ``ProgressReporter.skip_finished``."""
        self._skipped = number

    def set_total(self, total: int) -> None:
        """See ``ProgressReporter.set_total``."""
        self._total = total
