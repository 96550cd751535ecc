"""Shared by the commands that generate: their options, progress, stopping with Ctrl-C, and writing files."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.atomic_write import path_exists
from safelight.cli.console import exit_with_status, print_json, print_line, print_stderr, printable
from safelight.errors import OutputError, RunStoppedError, UsageError
from safelight.file_formats import FORMATS, SUFFIXES, FileFormat

if TYPE_CHECKING:
    from safelight.generation.progress import RunProgress
    from safelight.generation.request import GenerationRequest
    from safelight.studio import Picture, Studio

DEFAULT_FOLDER = Path("safelight-pictures")

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any other field of a request; can be repeated."),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR|FILE", help="Where to write pictures.")]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="png, jpeg or webp; png in a folder.", show_default=False),
]
FileQualityOption = Annotated[
    int, typer.Option("--file-quality", metavar="N", min=1, max=100, help="Of JPEG and WebP, 1 to 100.")
]
KeepPartialOption = Annotated[
    bool, typer.Option("--keep-partial", help="After Ctrl-C, write the unfinished picture.")
]


def parse_size(size: str | None) -> dict[str, int]:
    """Parse "WxH" to width and height; empty where none was given.

    Raises:
        UsageError: It is not two whole numbers.
    """
    if size is None:
        return {}
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*[xX]\s*([0-9]{1,6})\s*", size)
    if found is None:
        raise UsageError(f"--size {size}: give width and height, as in 128x128.")
    return {"width": int(found[1]), "height": int(found[2])}


def apply_set_options(fields: dict[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """Fields with those of ``--set name=value`` and ``--set group.name=value`` added, which take precedence.

    Args:
        fields: The fields of the other options.
        assignments: The values of ``--set``; each value is parsed as JSON, or else used as text.

    Raises:
        UsageError: There is no "=", or a group is given as a value too.
    """
    import json

    merged = dict(fields)
    for setting in assignments or []:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: give FIELD=VALUE, as in guidance_rescale=0.7.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        group, dot, inner = name.partition(".")
        if not dot:
            merged[name] = value
        elif isinstance(before := merged.get(group, {}), dict):
            merged[group] = before | {inner: value}
        else:
            raise UsageError(f"--set {setting}: {group} was given as {before!r}.")
    return merged


@dataclass
class StopRequest:
    """A request to stop, made by Ctrl-C; the second Ctrl-C ends the program at once."""

    requested: bool = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.requested

    def _on_sigint(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not through sys.stderr, which the signal may have interrupted while it was writing.
        os.write(2, b"Stopping after this step; Ctrl-C again to leave at once.\n")

    @contextmanager
    def handle_sigint(self) -> Iterator[StopRequest]:
        """Handle Ctrl-C as a request to stop."""
        before = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)


@dataclass
class StepProgress:
    """Progress on stderr: one line that is overwritten on a terminal, an occasional line elsewhere."""

    interval: float = 5.0
    _last: float = field(default_factory=time.monotonic)
    _shown: bool = False

    def report(self, progress: RunProgress) -> None:
        """Show the progress of a request."""
        self.show(
            f"picture {progress.picture + 1} of {progress.count}, {progress.stage}: {progress.step}/{progress.steps}"
        )

    def show(self, line: str) -> None:
        """Show a line in place of the previous one."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._shown = True
        elif time.monotonic() - self._last >= self.interval:
            self._last = time.monotonic()
            print_stderr(line)

    def clear(self) -> None:
        """Clear the line before other output."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            self._shown = False


def generate_and_write(
    studio: Studio,
    request: GenerationRequest,
    out: Path,
    file_format: str | None,
    quality: int,
    *,
    keep_partial: bool,
    json: bool,
) -> None:
    """Generate a request's images, write each as soon as it is finished, and exit with the documented status.

    After Ctrl-C the status is 130, and files that were written stay.
    """
    from safelight.generation.progress import Watcher

    target = OutputTarget(out, file_format, quality, request.count)
    flagged, stop, steps = 0, StopRequest(), StepProgress()
    with stop.handle_sigint(), suppress(RunStoppedError):
        for picture in studio.iter_generate(request, watcher=Watcher(steps.report, stop, keep_partial)):
            steps.clear()
            path = target.write(picture)
            flagged += picture.verdict.flagged
            if json:
                print_json(picture.to_dict(path))
            else:
                _print_line(picture, path)
    steps.clear()
    if stop.requested:
        raise typer.Exit(130)
    exit_with_status(flagged)


@dataclass(frozen=True)
class OutputTarget:
    """Where images are written: a folder, in which each gets an unused name, or one file.

    Raises:
        UsageError: An unknown format, a format that contradicts the file's suffix, or one file for several images.
        OutputError: The place cannot be written.
    """

    out: Path
    requested_format: str | None
    quality: int
    count: int

    def __post_init__(self) -> None:
        if self.requested_format not in (None, *SUFFIXES):
            raise UsageError(f"--format {self.requested_format}: give png, jpeg or webp.")
        if self._is_file and self.requested_format not in (None, FORMATS[self.out.suffix.lower()]):
            raise UsageError(f"{self.out} is no name for the format {self.requested_format}.")
        if self._is_file and self.count > 1:
            raise UsageError(
                f"{self.out} is one file, and {self.count} pictures were requested: give a folder."
            )
        self._check_writable()

    @property
    def _is_file(self) -> bool:
        return self.out.suffix.lower() in FORMATS

    @property
    def file_format(self) -> FileFormat:
        """The format of what is written."""
        return FORMATS[self.out.suffix.lower()] if self._is_file else self._folder_format

    @property
    def _folder_format(self) -> FileFormat:
        """The format of files in a folder, once ``kind`` is known to be one."""
        return FORMATS[f".{self.requested_format or 'png'}"]

    def _check_writable(self) -> None:
        """Check, before hours of work, that the place looks writable; writing itself may still fail."""
        folder = self.out.parent if self._is_file else self.out
        there = next(place for place in (folder, *folder.absolute().parents) if path_exists(place))
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"{self.out} cannot be written: {there} is no folder that may be written to.")
        if self._is_file and path_exists(self.out) and self.out.is_dir():
            raise OutputError(f"{self.out} is a folder whose name looks like a picture's.")

    def write(self, picture: Picture) -> Path | None:
        """Write an image; None where the policy blocks it."""
        if picture.image is None:
            return None
        return picture.save(
            self.free_path(picture.record.expanded_prompt, picture.seed), quality=self.quality
        )

    def free_path(self, text: str, seed: int | None) -> Path:
        """The path of an image: the file, or an unused name in the folder."""
        from safelight.studio.picture import unused_path

        return self.out if self._is_file else unused_path(self.out, text, seed, SUFFIXES[self._folder_format])


def _print_line(picture: Picture, path: Path | None) -> None:
    for note in picture.record.notes:
        print_stderr(f"note: {printable(note)}")
    if path is None:
        print_line(typer.style("blocked", fg="red", bold=True) + f"  {picture.block_reason}")
        return
    mark = typer.style("review  ", fg="yellow", bold=True) if picture.verdict.flagged else ""
    stopped = f", stopped after step {picture.stopped_at}" if picture.stopped_at is not None else ""
    print_line(f"{mark}{printable(str(path))}  seed {picture.seed}, {picture.seconds:.1f} s{stopped}")
