"""Compare pictures per second of several threads, whose steps are batched, with one thread's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safelight.generation.request import GenerationRequest

if TYPE_CHECKING:
    from safelight.generation.engine import Engine

PROMPT = "a red apple, 3d style"
THREADS = (1, 2, 4, 8)


@dataclass(frozen=True)
class BatchingThroughput:
    """Throughput of a number of threads.

    Args:
        threads: Number of pictures that are generated at the same time.
        ratios: Pictures per second, relative to one thread's, for each round.
        seconds: Duration of each round, for as many pictures as there are threads.
    """

    threads: int
    ratios: list[float]
    seconds: list[float]

    @property
    def ratio(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.ratios)

    def to_dict(self) -> dict[str, object]:
        """The measurement for JSON output."""
        return {
            "threads": self.threads,
            "ratio": round(self.ratio, 3),
            "ratios": self.ratios,
            "seconds": self.seconds,
        }


def measure_batching(
    engine: Engine,
    *,
    steps: int = 20,
    rounds: int = 3,
    threads: Sequence[int] = THREADS,
    on_message: Callable[[str], None] = lambda _: None,
) -> list[BatchingThroughput]:
    """Generate the same pictures concurrently and sequentially, alternately, so that noise affects both.

    Args:
        engine: The engine; its setting max_batch_size limits how many pictures are batched.
        steps: Steps per picture.
        rounds: Number of rounds, after a warm-up.
        threads: Numbers of threads to measure.
        on_message: Called with progress messages for the user.

    Raises:
        SafelightError: The checkpoint cannot be used.
    """
    request = GenerationRequest.parse(prompt=PROMPT, steps=steps, seed=0)
    _generate(engine, request, 0)
    found = []
    for count in threads:
        pairs = [
            (_generate_sequentially(engine, request, count), _generate_concurrently(engine, request, count))
            for _ in range(rounds)
        ]
        found.append(
            BatchingThroughput(count, [single / both for single, both in pairs], [both for _, both in pairs])
        )
        on_message(f"{count} together: {found[-1].ratio:.2f} times the pictures of one after the other")
    return found


def _generate_sequentially(engine: Engine, request: GenerationRequest, count: int) -> float:
    began = time.perf_counter()
    for seed in range(count):
        _generate(engine, request, seed)
    return time.perf_counter() - began


def _generate_concurrently(engine: Engine, request: GenerationRequest, count: int) -> float:
    with ThreadPoolExecutor(count) as pool:
        began = time.perf_counter()
        list(pool.map(lambda seed: _generate(engine, request, seed), range(count)))
        return time.perf_counter() - began


def _generate(engine: Engine, request: GenerationRequest, seed: int) -> None:
    list(engine.generate(request.model_copy(update={"seed": seed})))
