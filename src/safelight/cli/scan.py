"""``safelight scan``: judge very many images into a report."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import (
    AllFilesOption,
    BackendOption,
    ClassifierOption,
    ExactOption,
    JsonOption,
    ListSkippedOption,
    PolicyOption,
    PrecisionOption,
    ProgressReporter,
    SkippedFiles,
    TilesOption,
    exit_with_status,
    print_json,
    print_stderr,
    progress,
)
from safelight.errors import SafelightError

if TYPE_CHECKING:
    from safelight.moderation.scan.runner import ScanSummary


def scan(
    target: Annotated[
        str, typer.Argument(metavar="DIR|GLOB|PARQUET", help="What to judge.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="REPORT", help="The report: .jsonl, .csv or .parquet.", show_default=False
        ),
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished report.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, max=256, help="Pictures that a thread decodes before it judges them.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Threads; 0: one per core.")] = 0,
    classifier: ClassifierOption = None,
    policy: PolicyOption = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Write embeddings into the report.")
    ] = False,
    all_files: AllFilesOption = True,
    list_skipped: ListSkippedOption = False,
    tiles: TilesOption = None,
    exact: ExactOption = None,
    backend: BackendOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
) -> None:
    """Judge every picture in a folder, a glob or a Parquet table.

    The run can be stopped, even killed, and continues with --resume: nothing is judged twice and
    nothing is missed. A file whose content is a picture is judged, whatever its name; a file that
    may be a picture and cannot be judged has an error in its line, and exit status 2 where nothing
    was flagged.
    """
    from safelight.settings import Settings

    settings = Settings.load(
        classifier=classifier, policy=policy, tiles=tiles, exact=exact, backend=backend, precision=precision
    )
    print_stderr(f"Scanning {target} with {settings.classifier} …")
    from safelight.moderation.scan.runner import Scan
    from safelight.studio import Studio

    moderator = Studio(settings, on_message=print_stderr).moderator()
    job = Scan(moderator, target, out, resume, overwrite, workers, batch_size, embeddings, not all_files)
    job.check()
    skipped = SkippedFiles(list_skipped)
    with progress("Judging") as ticker:
        _count_in_background(target, not all_files, ticker)
        try:
            summary = job.run_to_summary(lambda _: ticker.advance(), ticker.skip_finished, skipped)
        except KeyboardInterrupt:
            print_stderr("Stopped; the same command with --resume goes on from here.")
            raise
    if json:
        print_json(summary.to_dict() | {"report": str(out)})
    else:
        _print_summary(summary, out)
    skipped.print_summary()
    if summary.total == 0:
        print_stderr("No pictures found.")
    exit_with_status(summary.flagged, summary.decisions["error"], summary.errors["internal"])


def _count_in_background(target: str, only_known: bool, ticker: ProgressReporter) -> None:
    """Count the images for the remaining time, without delaying the first verdict."""

    def count() -> None:
        from safelight.moderation.scan.sources import count_images

        with suppress(SafelightError, OSError, ValueError):  # the scan itself reports the error
            ticker.set_total(count_images(target, only_known=only_known))

    threading.Thread(target=count, daemon=True).start()


def _print_summary(summary: ScanSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary.total} pictures", title_justify="left")
    table.add_column("decision")
    table.add_column("pictures", justify="right")
    for name in ("allow", "review", "block", "error"):
        table.add_row(name, str(summary.decisions[name]))
    for code, number in sorted(summary.errors.items()):
        table.add_row(f"  {code}", str(number), style="dim")
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(_histogram(summary))
    again = f", {summary.resumed} from before" if summary.resumed else ""
    console.print(
        f"{summary.judged} judged in {summary.seconds:.1f} s ({summary.rate:.1f}/s){again}. Report: {out}",
        highlight=False,
    )


def _histogram(summary: ScanSummary) -> str:
    """Unsafe probability in ten bins, as bars."""
    most = max(summary.histogram) or 1
    lines = [
        f"{i / 10:.1f}-{(i + 1) / 10:.1f} {'█' * round(30 * n / most):<30} {n}"
        for i, n in enumerate(summary.histogram)
    ]
    return "\n".join(["unsafe probability", *lines])
