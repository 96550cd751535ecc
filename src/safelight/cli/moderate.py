"""``safelight moderate``: judge some images."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli import remote
from safelight.cli.console import (
    AllFilesOption,
    BackendOption,
    ClassifierOption,
    ExactOption,
    JsonOption,
    ListSkippedOption,
    PolicyOption,
    PrecisionOption,
    SkippedFiles,
    TilesOption,
    exit_with_status,
    print_json,
    print_line,
    print_stderr,
    printable,
)

if TYPE_CHECKING:
    from safelight.images import ImageSource
    from safelight.settings import Settings
    from safelight.studio import Studio

Row = dict[str, Any]
"""The JSON output for one image."""


def moderate(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Files, or folders, or - for standard input.", show_default=False
        ),
    ],
    classifier: ClassifierOption = None,
    policy: PolicyOption = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a heat map of each picture there.", show_default=False),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Print embeddings too (with --json).")
    ] = False,
    all_files: AllFilesOption = True,
    list_skipped: ListSkippedOption = False,
    tiles: TilesOption = None,
    exact: ExactOption = None,
    backend: BackendOption = None,
    precision: PrecisionOption = None,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Judge pictures: allow, review or block.

    In a folder, every file is judged whose content is a picture, whatever its name. A file that
    cannot be read gets a line with the error, and the run goes on. Exit status 1: something was
    flagged; 2: nothing flagged, but something could not be read.
    """
    from safelight.settings import Settings

    settings = Settings.load(
        classifier=classifier,
        policy=policy,
        tiles=tiles,
        exact=exact,
        backend=backend,
        precision=precision,
        server=server,
    )
    # One byte more than the limit is enough to refuse the file.
    stdin = sys.stdin.buffer.read(settings.max_bytes + 1) if "-" in images else b""
    skipped = SkippedFiles(list_skipped)
    sources = _sources(images, stdin, not all_files, skipped)
    if settings.server:
        remote.check_no_local_options(
            settings, explain=explain, tiles=tiles, exact=exact, backend=backend, precision=precision
        )
        with remote.connect(settings) as client:
            _print_rows(
                remote.judge(
                    client,
                    sources,
                    classifier=classifier,
                    policy=policy,
                    embeddings=embeddings,
                    max_bytes=settings.max_bytes,
                ),
                skipped,
                json,
            )
        return
    _print_rows(_judge(settings, sources, stdin, embeddings=embeddings, explain=explain), skipped, json)


def _print_rows(rows: Iterable[Row], skipped: SkippedFiles, json: bool) -> None:
    """Print the row of each image, and exit with the documented status."""
    judged = []
    for row in rows:
        broken = row["error"] is not None and row["error"]["code"] == "internal"
        judged.append("internal" if broken else row["decision"])
        if json:
            print_json(row)
        else:
            _print_line(row)
    skipped.print_summary()
    if not judged:
        print_stderr("No pictures found.")
    failed = judged.count("internal")
    exit_with_status(judged.count("review") + judged.count("block"), judged.count("error") + failed, failed)


def _judge(
    settings: Settings,
    sources: Iterable[tuple[str, ImageSource]],
    stdin: bytes,
    *,
    embeddings: bool,
    explain: Path | None,
) -> Iterator[Row]:
    """Judge on this machine, and write heat maps of the judged images."""
    from safelight.runtime.machine import usable_cores

    print_stderr(f"Loading {settings.classifier} …")
    from safelight.studio import Studio

    studio = Studio(settings, on_message=print_stderr)
    heat_maps = HeatmapWriter(studio, explain) if explain else None
    for judgement in studio.moderator().judge_many(sources, workers=usable_cores(), batch_size=1):
        yield judgement.to_dict(embedding=embeddings)
        if heat_maps and judgement.verdict:
            source = stdin if judgement.path == "-" else judgement.path
            heat_maps.write(judgement.path, source, judgement.verdict.frame)


def _sources(
    images: list[str], stdin: bytes, only_known: bool, skipped: SkippedFiles
) -> Iterator[tuple[str, ImageSource]]:
    from safelight.atomic_write import path_exists
    from safelight.moderation.scan.sources import find_images

    for name in images:
        if name == "-":
            yield "-", stdin
        elif path_exists(Path(name)) and Path(name).is_dir():
            yield from find_images(name, only_known=only_known, on_skip=skipped)
        else:
            yield name, Path(name)


def _print_line(row: Row) -> None:
    if row["error"]:
        message = f"error   {row['path']}: {row['error']['message']} [{row['error']['code']}]"
        print_line(typer.style(printable(message), fg="magenta"))
        return
    colour = {"allow": "green", "review": "yellow", "block": "red"}[row["decision"]]
    decision = typer.style(f"{row['decision']:<7}", fg=colour, bold=True)
    where = f"  frame {row['frame']}" if row["frame"] else ""
    where += f"  tile {row['tile']}" if row["tile"] is not None else ""
    print_line(f"{decision} {row['unsafe']:.4f}  {printable(row['path'])}{where}")


class HeatmapWriter:
    """Writes a heat map of each image into a folder; images that share a name are numbered."""

    def __init__(self, studio: Studio, folder: Path) -> None:
        self._explainer = studio.explainer()
        self._limits = studio.limits
        self._folder = folder
        self._used_names: set[str] = set()

    def write(self, path: str, source: ImageSource, frame: int) -> None:
        """Explain the frame of the verdict."""
        heat = self._folder / f"{self._free_name(Path(path).name if path != '-' else 'stdin')}.heat.png"
        self._explainer.explain(source, limits=self._limits, frame=frame).save(heat)
        print_stderr(f"Wrote {heat}")

    def _free_name(self, name: str) -> str:
        candidates = (name if number == 1 else f"{name}-{number}" for number in count(1))
        free = next(candidate for candidate in candidates if candidate not in self._used_names)
        self._used_names.add(free)
        return free
