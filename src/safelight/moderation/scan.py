"""Judging very many pictures: find, judge, write down, resume, sum up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from safelight.errors import OutputExistsError, UsageError
from safelight.moderation.finding import Skip, Skipped, find_pictures
from safelight.moderation.journal import Journal, Row
from safelight.moderation.moderator import Moderator, Named
from safelight.moderation.report import write_report, writer_for
from safelight.moderation.verdict import Judgement
from safelight.runtime.machine import usable_cores

BINS = 10


@dataclass
class Summary:
    """What a scan found, in numbers.

    Args:
        decisions: Pictures by decision, "error" among them.
        errors: Pictures that could not be judged, by error code.
        skipped: Files that were not judged and have no line, by reason: those of this run, which looks at all of them.
        histogram: Judged pictures by unsafe probability, in ten bins of a tenth each.
        seconds: How long this run took.
        judged: Pictures judged by this run.
        resumed: Pictures an earlier run had judged.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)
    seconds: float = 0.0
    judged: int = 0
    resumed: int = 0

    def count(self, row: Row) -> None:
        """Add one row of a report."""
        self.decisions[row["decision"]] += 1
        if row["error"]:
            self.errors[row["error"]["code"]] += 1
        else:
            self.histogram[min(BINS - 1, int(row["unsafe"] * BINS))] += 1

    @property
    def total(self) -> int:
        """Pictures in the report."""
        return self.decisions.total()

    @property
    def flagged(self) -> int:
        """Pictures for review or blocked."""
        return self.decisions["review"] + self.decisions["block"]

    @property
    def rate(self) -> float:
        """Pictures a second in this run."""
        return self.judged / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The summary for JSON output."""
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
        moderator: What judges.
        target: What to look at; see ``finding.find_pictures``.
        report: Where the report goes: .jsonl, .csv or .parquet.
        resume: Go on with an unfinished report.
        overwrite: Replace a finished one.
        workers: Threads; 0: one for each core.
        batch_size: Pictures that a worker decodes before it has them judged.
        embeddings: Write embeddings into the report.
        only_known: Go by files' names alone; see ``finding.find_pictures``.
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
        """The unfinished report."""
        return self.report.with_name(f"{self.report.name}.partial")

    def check(self) -> None:
        """See that the report can be written, before anything is judged.

        Raises:
            UsageError: The report's extension stands for no format, or resume and overwrite were both asked for.
            OutputExistsError: A report, finished or not, is there, and neither resume nor overwrite was asked for.
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
        earlier: Callable[[Row], None] = lambda _: None,
        skipped: Skipped = lambda _path, _reason: None,
    ) -> Iterator[Judgement]:
        """Judge what is not judged yet; once exhausted, the report is written. See ``check`` for the errors.

        Args:
            earlier: Called first with every row that an earlier run has written.
            skipped: Called for each file that is not judged.
        """
        self.check()
        pictures = find_pictures(self.target, only_known=self.only_known, skipped=skipped)
        with Journal(self.journal_path, self._header(), resume=self.resume, earlier=earlier) as journal:
            yield from self._judge_into(journal, ((n, s) for n, s in pictures if not journal.has(n)))
        write_report(self.journal_path, self.report, self.moderator.classifier.info.labels)

    def run_summed(
        self,
        each: Callable[[Judgement], None] = lambda _: None,
        resumed: Callable[[int], None] = lambda _: None,
        skipped: Skipped = lambda _path, _reason: None,
    ) -> Summary:
        """Run to the end.

        Args:
            each: Called with every judgement, for progress.
            resumed: Called before that with how many pictures an earlier run had judged.
            skipped: Called for each file that is not judged.
        """
        summary = Summary()
        start = time.perf_counter()

        def skip(path: str, reason: Skip) -> None:
            summary.skipped[reason] += 1
            skipped(path, reason)

        for judgement in self.run(summary.count, skip):
            if not summary.judged:
                resumed(summary.total)
            summary.count(judgement.to_dict())
            summary.judged += 1
            each(judgement)
        summary.seconds = time.perf_counter() - start
        summary.resumed = summary.total - summary.judged
        return summary

    def _judge_into(self, journal: Journal, pictures: Iterator[Named]) -> Iterator[Judgement]:
        judgements = self.moderator.judge_many(
            pictures, workers=self.workers or usable_cores(), batch_size=self.batch_size
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
        # Only where it is not the default, so that journals from before there was a choice can be gone on with.
        return header | {"only_known": True} if self.only_known else header
