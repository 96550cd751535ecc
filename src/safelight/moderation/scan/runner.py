"""Scans: judge very many images into a report, with a journal to resume from and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from safelight.errors import OutputExistsError, UsageError
from safelight.moderation.moderator import Moderator, NamedSource
from safelight.moderation.scan.journal import Journal, Row
from safelight.moderation.scan.report import write_report, writer_for
from safelight.moderation.scan.sources import SkipCallback, SkipReason, find_images
from safelight.moderation.verdict import Judgement
from safelight.runtime.machine import usable_cores

HISTOGRAM_BINS = 10


@dataclass
class ScanSummary:
    """The counts of a scan.

    Args:
        decisions: Number of images by decision, including "error".
        errors: Number of images that could not be judged, by error code.
        skipped: Number of files without a row, by reason; a resumed run counts all of them again.
        histogram: Number of judged images by unsafe probability, in ten bins of a tenth each.
        seconds: Duration of this run.
        judged: Number of images judged by this run.
        resumed: Number of images judged by earlier runs.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)
    seconds: float = 0.0
    judged: int = 0
    resumed: int = 0

    def count(self, row: Row) -> None:
        """Add one row of a report."""
        self.decisions[row["decision"]] += 1
        if row["error"]:
            self.errors[row["error"]["code"]] += 1
        else:
            self.histogram[min(HISTOGRAM_BINS - 1, int(row["unsafe"] * HISTOGRAM_BINS))] += 1

    @property
    def total(self) -> int:
        """Number of images in the report."""
        return self.decisions.total()

    @property
    def flagged(self) -> int:
        """Number of images to review or blocked."""
        return self.decisions["review"] + self.decisions["block"]

    @property
    def rate(self) -> float:
        """Images per second in this run."""
        return self.judged / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary for JSON output."""
        return {
            "total": self.total,
            "decisions": {name: self.decisions[name] for name in ("allow", "review", "block", "error")},
            "errors": dict(self.errors),
            "skipped": dict(self.skipped),
            "histogram": self.histogram,
            "seconds": round(self.seconds, 3),
            "pictures_per_second": round(self.rate, 2),
            "judged": self.judged,
            "resumed": self.resumed,
        }


@dataclass(frozen=True)
class Scan:
    """A scan of a folder, glob or Parquet table into a report.

    Args:
        moderator: The moderator.
        target: What to scan; see ``sources.find_images``.
        report: Path of the report: .jsonl, .csv or .parquet.
        resume: Continue an unfinished report.
        overwrite: Replace a finished report.
        workers: Number of threads; 0: one for each core.
        batch_size: Images that a worker decodes before it classifies them.
        embeddings: Write embeddings into the report.
        only_known: Select files by extension alone; see ``sources.find_images``.
    """

    moderator: Moderator
    target: str
    report: Path
    resume: bool = False
    overwrite: bool = False
    workers: int = 0
    batch_size: int = 1
    embeddings: bool = False
    only_known: bool = False

    @property
    def journal_path(self) -> Path:
        """Path of the unfinished report."""
        return self.report.with_name(f"{self.report.name}.partial")

    def check(self) -> None:
        """Check that the report can be written, before anything is judged.

        Raises:
            UsageError: The report's extension is unknown, or both resume and overwrite are set.
            OutputExistsError: A report, finished or not, exists, and neither resume nor overwrite is set.
        """
        writer_for(self.report)
        if self.overwrite and self.resume:
            raise UsageError(
                "resume goes on with a report and overwrite starts it anew; both were asked for."
            )
        if self.overwrite:
            return
        if self.report.exists():
            raise OutputExistsError(
                f"The report {self.report} is there and finished.",
                hint="Give another name, or pass --overwrite.",
            )
        if self.journal_path.exists() and not self.resume:
            raise OutputExistsError(
                f"An unfinished report is there: {self.journal_path}.",
                hint="Go on with --resume, or start over with --overwrite.",
            )

    def run(
        self,
        on_earlier_row: Callable[[Row], None] = lambda _: None,
        on_skip: SkipCallback = lambda _path, _reason: None,
    ) -> Iterator[Judgement]:
        """Judge the remaining images; the report is written once the iterator is exhausted. Raises as ``check``.

        Args:
            on_earlier_row: Called first with every row that an earlier run wrote.
            on_skip: Called for each skipped file.
        """
        self.check()
        pictures = find_images(self.target, only_known=self.only_known, on_skip=on_skip)
        with Journal(
            self.journal_path, self._header(), resume=self.resume, on_earlier_row=on_earlier_row
        ) as journal:
            yield from self._judge_into(journal, ((n, s) for n, s in pictures if not journal.contains(n)))
        write_report(self.journal_path, self.report, self.moderator.classifier.info.labels)

    def run_to_summary(
        self,
        on_judgement: Callable[[Judgement], None] = lambda _: None,
        on_resume: Callable[[int], None] = lambda _: None,
        on_skip: SkipCallback = lambda _path, _reason: None,
    ) -> ScanSummary:
        """Run the scan to the end and return its summary.

        Args:
            on_judgement: Called with every judgement, for progress.
            on_resume: Called before the first of them with the number of images judged by earlier runs.
            on_skip: Called for each skipped file.
        """
        summary = ScanSummary()
        start = time.perf_counter()

        def skip(path: str, reason: SkipReason) -> None:
            summary.skipped[reason] += 1
            on_skip(path, reason)

        for judgement in self.run(summary.count, skip):
            if not summary.judged:
                on_resume(summary.total)
            summary.count(judgement.to_dict())
            summary.judged += 1
            on_judgement(judgement)
        summary.seconds = time.perf_counter() - start
        summary.resumed = summary.total - summary.judged
        return summary

    def _judge_into(self, journal: Journal, sources: Iterator[NamedSource]) -> Iterator[Judgement]:
        judgements = self.moderator.judge_many(
            sources, workers=self.workers or usable_cores(), batch_size=self.batch_size
        )
        while batch := list(islice(judgements, self.batch_size)):
            journal.append(judgement.to_dict(embedding=self.embeddings) for judgement in batch)
            yield from batch

    def _header(self) -> Row:
        info, policy = self.moderator.classifier.info, self.moderator.policy
        header = {
            "safelight_scan": 1,
            "target": self.target,
            "classifier": info.to_dict(),
            "labels": list(info.labels),
            "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
            "limits": asdict(self.moderator.limits) | {"background": list(self.moderator.limits.background)},
            "tiles": self.moderator.tiles,
            "embeddings": self.embeddings,
        }
        # Written only if it is not the default, so that journals from before this option can be resumed.
        return header | {"only_known": True} if self.only_known else header
