"""Shared by the commands: JSON on stdout, messages on stderr, progress, and common options."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from safelight.moderation.finding import Skip

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
ClassifierName = Annotated[
    str | None,
    typer.Option(
        "--classifier",
        "-c",
        metavar="NAME",
        help="open-nsfw, a pulled model, or a folder.",
        show_default=False,
    ),
]
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="NAME|FILE",
        help="strict, standard, lenient, or a TOML file.",
        show_default=False,
    ),
]
Exact = Annotated[
    bool | None,
    typer.Option(
        "--exact/--fast",
        help="Full decoding and fp32 reference arithmetic, or the fast path (default).",
        show_default=False,
    ),
]
Tiles = Annotated[
    bool | None,
    typer.Option(
        "--tiles/--no-tiles", help="Also judge tiles of tall and wide pictures.", show_default=False
    ),
]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files/--only-known",
        help="In folders, detect pictures by content (default), or by file name only.",
        show_default=False,
    ),
]
ListSkipped = Annotated[
    bool, typer.Option("--list-skipped", help="Name the files that were not judged on stderr.")
]
Backend = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, openvino or onnxruntime.", show_default=False)
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, fp32 or bf16.", show_default=False)
]


def print_json(body: dict[str, Any]) -> None:
    """Print a JSON object on a line of stdout."""
    text = json.dumps(body, ensure_ascii=False)
    say(text if legible(text) == text else json.dumps(body))


def say(line: str) -> None:
    """Print a line on stdout; where the reader has closed the pipe, exit with the status of a broken pipe."""
    try:
        typer.echo(line)
    except BrokenPipeError:
        # Flushing what is still buffered must not fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def legible(text: str) -> str:
    """Replace bytes of a file name that are not text by question marks, so that it can be printed."""
    return text.encode("utf-8", "replace").decode("utf-8")


def warn(line: str) -> None:
    """Print a line on stderr, and flush it."""
    typer.echo(line, err=True)
    sys.stderr.flush()


class SkippedFiles:
    """Counts the files that were not judged; passed to ``find_pictures``.

    Args:
        listed: Whether to also print each on stderr.
    """

    def __init__(self, listed: bool) -> None:
        self.counts: Counter[Skip] = Counter()
        self._listed = listed

    def __call__(self, path: str, reason: Skip) -> None:
        """Count a file."""
        self.counts[reason] += 1
        if self._listed:
            warn(f"skipped {legible(path)}: {reason.value.replace('_', ' ')}")

    def warn(self) -> None:
        """Print the number of skipped files on stderr, if any."""
        if self.counts:
            each = ", ".join(
                f"{reason.value.replace('_', ' ')} ({number})"
                for reason, number in sorted(self.counts.items())
            )
            more = "" if self._listed else " (--list-skipped names them)"
            warn(f"Not judged: {each}{more}.")


def exit_flagged(flagged: int, failed: int = 0, broken: int = 0) -> None:
    """Exit with the documented status.

    Args:
        flagged: Number of pictures for review or blocked: status 1.
        failed: Number of pictures that could not be judged: status 2 where none was flagged.
        broken: Number of those that failed by an internal error: status 3 where none was flagged.
    """
    if flagged or failed:
        raise typer.Exit(1 if flagged else 3 if broken else 2)


class Ticker(Protocol):
    """Receives progress."""

    def advance(self) -> None:
        """Count one finished item."""

    def skip(self, number: int) -> None:
        """Set the number of items finished in an earlier run, which do not count for the rate."""

    def expect(self, total: int) -> None:
        """Set the total number of items."""


@contextmanager
def progress(what: str) -> Iterator[Ticker]:
    """Progress on stderr: a bar with rate and remaining time on a terminal, a line every ten seconds elsewhere."""
    if not sys.stderr.isatty():
        yield LineTicker(what)
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
        yield BarTicker(bar, bar.add_task(what, total=None, rate=""))


class BarTicker:
    """Progress as a bar."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task, self._start, self._done = bar, task, time.monotonic(), 0

    def advance(self) -> None:
        """See ``Ticker.advance``."""
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 1e-6)
        self._bar.update(self._task, advance=1, rate=f"{rate:.1f}/s")

    def skip(self, number: int) -> None:
        """See ``Ticker.skip``."""
        self._bar.update(self._task, completed=number)

    def expect(self, total: int) -> None:
        """See ``Ticker.expect``."""
        self._bar.update(self._task, total=total)


class LineTicker:
    """Progress as an occasional line, for logs."""

    def __init__(self, what: str, every: float = 10.0) -> None:
        self._what, self._every = what, every
        self._skipped, self._done, self._total = 0, 0, 0
        self._start = self._last = time.monotonic()

    def advance(self) -> None:
        """See ``Ticker.advance``."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            of_total = f" of {self._total}" if self._total else ""
            done = self._skipped + self._done
            warn(f"{self._what}: {done}{of_total}, {self._done / (now - self._start):.1f}/s")

    def skip(self, number: int) -> None:
        """See ``Ticker.skip``."""
        self._skipped = number

    def expect(self, total: int) -> None:
        """See ``Ticker.expect``."""
        self._total = total
