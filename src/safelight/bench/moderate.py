"""Compare pictures per second, from files on disk, of Safelight and a peer, in alternating rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safelight.bench.peers import JudgeFunction
from safelight.errors import InputError
from safelight.moderation import Moderator
from safelight.runtime.machine import usable_cores


@dataclass(frozen=True)
class ModerationComparison:
    """One side-by-side measurement.

    Args:
        peer: The other side's name.
        pictures: Pictures per round.
        peer_ms: Milliseconds per picture of the peer, for each round.
        our_ms: The same for Safelight.
        arithmetic: Backend and precision that Safelight used.
        largest_difference: Largest difference of the unsafe probability over the pictures.
        mean_difference: Mean difference.
        workers: Number of threads.
    """

    peer: str
    pictures: int
    peer_ms: list[float]
    our_ms: list[float]
    arithmetic: str
    largest_difference: float
    mean_difference: float
    workers: int

    @property
    def ratio(self) -> float:
        """Median over the rounds of Safelight's pictures per second, relative to the peer's."""
        return statistics.median(peer / ours for peer, ours in zip(self.peer_ms, self.our_ms, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The measurement for JSON output."""
        return {
            "peer": self.peer,
            "pictures": self.pictures,
            "rounds": len(self.our_ms),
            "peer_ms": [round(ms, 3) for ms in self.peer_ms],
            "our_ms": [round(ms, 3) for ms in self.our_ms],
            "ratio": round(self.ratio, 3),
            "arithmetic": self.arithmetic,
            "largest_difference": self.largest_difference,
            "mean_difference": self.mean_difference,
            "workers": self.workers,
        }


def compare_moderation(
    moderator: Moderator,
    peer: str,
    judge: JudgeFunction,
    photographs: list[Path],
    *,
    rounds: int = 3,
    on_message: Callable[[str], None] = lambda _: None,
) -> ModerationComparison:
    """Judge the same files on both sides in alternating rounds, so that noise of the machine affects both.

    Args:
        moderator: Safelight's side.
        peer: The other side's name.
        judge: The other side.
        photographs: Files to judge.
        rounds: Number of rounds, after a warm-up.
        on_message: Called with progress messages for the user.

    Raises:
        InputError: There are no photographs.
    """
    if not photographs:
        raise InputError("There are no photographs to measure on.")
    workers = usable_cores()
    theirs = {str(path): judge(path) for path in photographs}
    ours = _judge_all(moderator, photographs, workers)
    differences = [abs(ours[name] - theirs[name]) for name in theirs]
    peer_ms: list[float] = []
    our_ms: list[float] = []
    for number in range(rounds):
        peer_ms.append(_milliseconds(lambda: [judge(path) for path in photographs], len(photographs)))
        our_ms.append(_milliseconds(lambda: _judge_all(moderator, photographs, workers), len(photographs)))
        on_message(
            f"round {number + 1}: {peer} {peer_ms[-1]:.2f} ms, safelight {our_ms[-1]:.2f} ms a picture"
        )
    return ModerationComparison(
        peer,
        len(photographs),
        peer_ms,
        our_ms,
        moderator.classifier.info.arithmetic,
        max(differences),
        statistics.fmean(differences),
        workers,
    )


def _judge_all(moderator: Moderator, photographs: list[Path], workers: int) -> dict[str, float]:
    judgements = moderator.judge_many(((str(path), path) for path in photographs), workers=workers)
    scores = {}
    for judgement in judgements:
        if judgement.verdict is None:
            raise InputError(f"{judgement.path} cannot be judged: {judgement.error}")
        scores[judgement.path] = judgement.verdict.unsafe
    return scores


def _milliseconds(work: Callable[[], object], pictures: int) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000 / pictures
