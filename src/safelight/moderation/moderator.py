"""The moderator: a classifier and a policy together, for one picture or for a stream of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from safelight.errors import InternalError, SafelightError
from safelight.images import DecodeLimits, Frame, ImageSource, frames
from safelight.moderation.classifier import Classifier, Prediction
from safelight.moderation.policy import Policy
from safelight.moderation.tiles import covers_all, tile_boxes
from safelight.moderation.verdict import Judgement, PolicyRef, Verdict

Named = tuple[str, ImageSource]
Result = TypeVar("Result")

_SHIFT = 0.01
"""How far reduced scale may move a harmless score: pictures that near to a threshold are judged again too."""
_LOOK_AHEAD = 8
"""Batches for each worker that are judged ahead of the one that is waited for: one slow picture stops nobody."""
LOOK_AGAIN = 0.05
"""From this unsafe probability on, a picture that was decoded at reduced scale is decoded in full and judged again.
Below it, reduced scale moves a score by less than 0.01; above, a classifier answers so nervously that it does not
(docs/performance.md)."""


@dataclass(frozen=True)
class View:
    """One square that the classifier looks at.

    Args:
        square: uint8 [side, side, 3].
        frame: Which frame it is of.
        tile: Which tile of the frame; None: the whole picture.
        reduced: Whether the frame was decoded at reduced scale.
        notes: The frame's notes.
    """

    square: NDArray[np.uint8]
    frame: int
    tile: int | None
    reduced: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Moderator:
    """Judges pictures. Thread-safe.

    Args:
        classifier: What looks at them.
        policy: What its scores mean.
        limits: How large a picture may be, and how many frames are looked at.
        tiles: Also look at square tiles of tall and wide pictures; the worst counts.

    Raises:
        PolicyLabelError: The policy does not know the classifier's labels.
    """

    classifier: Classifier
    policy: Policy
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    tiles: bool = False

    def __post_init__(self) -> None:
        self.policy.check(self.classifier.info.labels)

    def judge(self, source: ImageSource) -> Verdict:
        """Judge one picture; of an animation, the worst frame counts.

        Raises:
            ImageError, FileMissingError: The picture cannot be read.
        """
        verdict, enough = self.judge_reduced(source)
        return verdict if enough else self.judge_full(source)

    def judge_reduced(self, source: ImageSource) -> tuple[Verdict, bool]:
        """Judge one picture, decoded at reduced scale where the classifier allows that; and whether this is enough.

        It is not where the picture is not clearly harmless: then ``judge_full`` has the last word.

        Raises:
            ImageError, FileMissingError: The picture cannot be read.
        """
        views = self._look(source, self._scale(source))
        verdict = self._worst(views, self._predict([views]))
        return verdict, self._is_enough(views, verdict)

    def judge_full(self, source: ImageSource) -> Verdict:
        """Judge one picture, decoded in full; raises as ``judge`` does."""
        views = self._look(source, None)
        return self._worst(views, self._predict([views]))

    def judge_many(
        self, pictures: Iterable[Named], *, workers: int, batch_size: int = 1
    ) -> Iterator[Judgement]:
        """Judge a stream of pictures, in order; a bad one becomes a judgement with an error, and on it goes.

        Decoding and inference overlap: each worker decodes a batch and has it judged while the others do the same.
        At most eight batches for each worker are underway, however long the stream is.

        Args:
            pictures: Pairs of a name and a source.
            workers: Threads, at least 1; one for each core keeps a CPU busy.
            batch_size: Pictures that a worker decodes before it has them judged, at least 1.
        """
        stream = iter(pictures)
        batches = iter(lambda: list(islice(stream, batch_size)), [])
        with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
            pending: deque[Future[list[Judgement]]] = deque()
            try:
                for batch in batches:
                    pending.append(pool.submit(self._judge_batch, batch))
                    if len(pending) > _LOOK_AHEAD * workers:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _judge_batch(self, batch: list[Named]) -> list[Judgement]:
        seen = [_attempt(partial(self._look, source, self._scale(source))) for _, source in batch]
        predictions = iter(self._predict([views for views in seen if isinstance(views, list)]))
        return [self._conclude(named, views, predictions) for named, views in zip(batch, seen, strict=True)]

    def _conclude(
        self, named: Named, views: list[View] | SafelightError, predictions: Iterator[Prediction]
    ) -> Judgement:
        name, source = named
        if isinstance(views, SafelightError):
            return Judgement(name, error=views)
        first = self._worst(views, list(islice(predictions, len(views))))
        verdict = _attempt(lambda: self._look_closer(source, views, first))
        if isinstance(verdict, SafelightError):
            return Judgement(name, error=verdict)
        return Judgement(name, verdict=verdict)

    def _look_closer(self, source: ImageSource, views: list[View], verdict: Verdict) -> Verdict:
        """The verdict, or a new one from full decoding where the first is not clearly harmless."""
        return verdict if self._is_enough(views, verdict) else self.judge_full(source)

    def _is_enough(self, views: list[View], verdict: Verdict) -> bool:
        look_again = min(LOOK_AGAIN, self.policy.lowest_threshold - _SHIFT)
        return verdict.unsafe < look_again or not any(view.reduced for view in views)

    def _scale(self, source: ImageSource) -> int | None:
        """A file object can be read only once, so it is decoded in full at once."""
        return None if hasattr(source, "read") else self.classifier.shrink_to

    def _look(self, source: ImageSource, shrink_to: int | None) -> list[View]:
        return [
            view
            for frame in frames(source, limits=self.limits, shrink_to=shrink_to)
            for view in self._views(frame)
        ]

    def _views(self, frame: Frame) -> list[View]:
        width, height = frame.image.size
        reduced = width < frame.size[0]
        whole = View(self.classifier.prepare(frame.image), frame.index, None, reduced, frame.notes)
        if not self.tiles:
            return [whole]
        notes = frame.notes if covers_all(width, height) else (*frame.notes, "tiles leave gaps between them")
        squares = (frame.image.crop(box) for box in tile_boxes(width, height))
        tiles = [
            View(self.classifier.prepare(square), frame.index, number, reduced, notes)
            for number, square in enumerate(squares)
        ]
        return [whole, *tiles]

    def _predict(self, pictures: list[list[View]]) -> list[Prediction]:
        squares = [view.square for views in pictures for view in views]
        return self.classifier.predict(np.stack(squares)) if squares else []

    def _worst(self, views: list[View], predictions: list[Prediction]) -> Verdict:
        """The verdict on the view that weighs most: by decision first, by probability then; the first of equals."""
        verdicts = [self._verdict(*pair) for pair in zip(views, predictions, strict=True)]
        return max(verdicts, key=lambda verdict: (verdict.decision.severity, verdict.unsafe))

    def _verdict(self, view: View, prediction: Prediction) -> Verdict:
        return Verdict(
            decision=self.policy.decide(prediction.scores),
            scores=prediction.scores,
            unsafe=self.policy.unsafe_score(prediction.scores),
            embedding=prediction.embedding,
            classifier=self.classifier.info,
            policy=PolicyRef.of(self.policy),
            frame=view.frame,
            tile=view.tile,
            notes=view.notes,
        )


def _attempt(work: Callable[[], Result]) -> Result | SafelightError:
    """The result of some work on one file, or the error: a bad file must not end a run over a million."""
    try:
        return work()
    except SafelightError as error:
        return error
    except Exception as error:  # noqa: BLE001  nor must one that surprises us
        return InternalError(f"{type(error).__name__}: {error}")
