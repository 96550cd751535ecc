"""A studio that measures its gate: the time in which input and output pictures are judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safelight.images import ImageSource
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.verdict import Verdict
from safelight.settings import Settings
from safelight.studio import Studio


@dataclass
class Stopwatch:
    """Adds up the time of several blocks.

    Args:
        seconds: The total so far.
    """

    seconds: float = 0.0

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Add the time that the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


@dataclass(frozen=True)
class TimedModerator(Moderator):
    """A moderator that measures its time."""

    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def judge(self, source: ImageSource) -> Verdict:
        """Judge one picture and measure the time; see ``Moderator.judge``."""
        with self.stopwatch.measure():
            return super().judge(source)


class TimedStudio(Studio):
    """A studio that measures the time of its gate; for one thread at a time.

    Args:
        settings: As for ``Studio``.
        on_message: As for ``Studio``.
    """

    def __init__(
        self, settings: Settings | None = None, *, on_message: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(settings, on_message=on_message)
        self.gate_time = Stopwatch()

    def moderator(
        self, *, classifier: str | None = None, policy: str | Path | Policy | None = None
    ) -> TimedModerator:
        """A moderator that adds its time to this studio's stopwatch."""
        plain = super().moderator(classifier=classifier, policy=policy)
        return TimedModerator(plain.classifier, plain.policy, plain.limits, plain.tiles, self.gate_time)
