"""A run whose pictures are judged before they are returned."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safelight.studio.picture import Picture, add_verdict, is_blocked

if TYPE_CHECKING:
    from safelight.generation.artifact import Artifact
    from safelight.generation.run import Run
    from safelight.moderation.moderator import Moderator


@dataclass(frozen=True)
class JudgedRun:
    """A run whose pictures pass the policy. They can be generated in any order, and repeatedly.

    Args:
        run: Generates the pictures.
        moderator: Judges them.
    """

    run: Run
    moderator: Moderator

    def generate(self, index: int) -> Picture:
        """Generate and judge picture `index`, from 0; a blocked picture has no pixels.

        Raises:
            RunStoppedError, SafelightError: As in ``Run.generate``.
        """
        return self._judge(self.run.generate(index))

    def pictures(self, skip: Collection[int] = ()) -> Iterator[Picture]:
        """All pictures in order, except those with an index in ``skip``; a stopped one is the last."""
        for artifact in self.run.artifacts(skip):
            yield self._judge(artifact)

    def _judge(self, artifact: Artifact) -> Picture:
        verdict = self.moderator.judge(artifact.image)
        image = None if is_blocked(verdict) else artifact.image
        record = add_verdict(artifact.record, verdict)
        return Picture(image, record, verdict, artifact.seconds, artifact.stopped_at, artifact.memory)
