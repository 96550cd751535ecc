"""The moderator: applies a classifier and a policy to one image or to a stream of images."""

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
from safelight.images import DecodeLimits, Frame, ImageSource, iter_frames
from safelight.moderation.classifiers.classifier import Classifier, Prediction
from safelight.moderation.policy import Policy
from safelight.moderation.tiles import tile_boxes, tiles_cover_image
from safelight.moderation.verdict import Judgement, PolicyRef, Verdict

NamedSource = tuple[str, ImageSource]
ResultT = TypeVar("ResultT")

_MAX_SCORE_SHIFT = 0.01
"""How far decoding at reduced scale may change a harmless score; images this near to a threshold are rechecked too."""
_MAX_PENDING_BATCHES = 8
"""Batches per worker that are processed ahead of the next result, so that one slow image does not block the others."""
RECHECK_THRESHOLD = 0.05
"""From this unsafe probability on, an image that was decoded at reduced scale is decoded in full and classified again.
Below it, reduced scale changes a score by less than 0.01; above it, scores are so sensitive that the change can be
larger (docs/performance.md)."""


@dataclass(frozen=True)
class ClassifierInput:
    """One input of the classifier.

    Args:
        pixels: uint8 [side, side, 3].
        frame: Index of its frame.
        tile: Index of its tile in the frame; None for the whole image.
        reduced: Whether the frame was decoded at reduced scale.
        notes: The frame's notes.
    """

    pixels: NDArray[np.uint8]
    frame: int
    tile: int | None
    reduced: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Moderator:
    """Judges images. Thread-safe.

    Args:
        classifier: Computes the scores.
        policy: Turns scores into decisions.
        limits: Limits of an image's size, and of the number of frames to classify.
        tiles: Also classify square tiles of tall and wide images; the worst verdict counts.

    Raises:
        PolicyLabelError: The policy does not cover the classifier's labels.
    """

    classifier: Classifier
    policy: Policy
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    tiles: bool = False

    def __post_init__(self) -> None:
        self.policy.check_labels(self.classifier.info.labels)

    def judge(self, source: ImageSource) -> Verdict:
        """Judge one image; of an animation, the worst frame counts.

        Raises:
            ImageError, FileMissingError: The image cannot be read.
        """
        verdict, enough = self.judge_reduced(source)
        return verdict if enough else self.judge_full(source)

    def judge_reduced(self, source: ImageSource) -> tuple[Verdict, bool]:
        """Judge one image, decoded at reduced scale if the classifier allows it; also return whether this is final.

        It is not final if the image is not clearly harmless: then call ``judge_full``.

        Raises:
            ImageError, FileMissingError: The image cannot be read.
        """
        views = self._decode_views(source, self._decode_size(source))
        verdict = self._worst_verdict(views, self._predict([views]))
        return verdict, self._is_final(views, verdict)

    def judge_full(self, source: ImageSource) -> Verdict:
        """Judge one image, decoded in full; raises the errors of ``judge``."""
        views = self._decode_views(source, None)
        return self._worst_verdict(views, self._predict([views]))

    def judge_many(
        self, sources: Iterable[NamedSource], *, workers: int, batch_size: int = 1
    ) -> Iterator[Judgement]:
        """Judge a stream of images, in order; an image that cannot be read gives a judgement with an error.

        Decoding and inference overlap: each worker decodes and classifies its own batch. At most eight batches per
        worker are in progress, however long the stream is.

        Args:
            sources: Pairs of a name and a source.
            workers: Number of threads, at least 1; one for each core keeps a CPU busy.
            batch_size: Images that a worker decodes before it classifies them, at least 1.
        """
        stream = iter(sources)
        batches = iter(lambda: list(islice(stream, batch_size)), [])
        with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
            pending: deque[Future[list[Judgement]]] = deque()
            try:
                for batch in batches:
                    pending.append(pool.submit(self._judge_batch, batch))
                    if len(pending) > _MAX_PENDING_BATCHES * workers:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _judge_batch(self, batch: list[NamedSource]) -> list[Judgement]:
        seen = [
            _result_or_error(partial(self._decode_views, source, self._decode_size(source)))
            for _, source in batch
        ]
        predictions = iter(self._predict([views for views in seen if isinstance(views, list)]))
        return [
            self._to_judgement(named, views, predictions) for named, views in zip(batch, seen, strict=True)
        ]

    def _to_judgement(
        self,
        named: NamedSource,
        views: list[ClassifierInput] | SafelightError,
        predictions: Iterator[Prediction],
    ) -> Judgement:
        name, source = named
        if isinstance(views, SafelightError):
            return Judgement(name, error=views)
        first = self._worst_verdict(views, list(islice(predictions, len(views))))
        verdict = _result_or_error(lambda: self._recheck(source, views, first))
        if isinstance(verdict, SafelightError):
            return Judgement(name, error=verdict)
        return Judgement(name, verdict=verdict)

    def _recheck(self, source: ImageSource, views: list[ClassifierInput], verdict: Verdict) -> Verdict:
        """Return the verdict, or a new one from full decoding if the first is not clearly harmless."""
        return verdict if self._is_final(views, verdict) else self.judge_full(source)

    def _is_final(self, views: list[ClassifierInput], verdict: Verdict) -> bool:
        look_again = min(RECHECK_THRESHOLD, self.policy.lowest_threshold - _MAX_SCORE_SHIFT)
        return verdict.unsafe < look_again or not any(view.reduced for view in views)

    def _decode_size(self, source: ImageSource) -> int | None:
        """Return the size to decode at; None for file objects, which can be read only once and so decode in full."""
        return None if hasattr(source, "read") else self.classifier.shrink_to

    def _decode_views(self, source: ImageSource, shrink_to: int | None) -> list[ClassifierInput]:
        return [
            view
            for frame in iter_frames(source, limits=self.limits, shrink_to=shrink_to)
            for view in self._views(frame)
        ]

    def _views(self, frame: Frame) -> list[ClassifierInput]:
        width, height = frame.image.size
        reduced = width < frame.size[0]
        whole = ClassifierInput(self.classifier.prepare(frame.image), frame.index, None, reduced, frame.notes)
        if not self.tiles:
            return [whole]
        notes = (
            frame.notes
            if tiles_cover_image(width, height)
            else (*frame.notes, "tiles leave gaps between them")
        )
        squares = (frame.image.crop(box) for box in tile_boxes(width, height))
        tiles = [
            ClassifierInput(self.classifier.prepare(square), frame.index, number, reduced, notes)
            for number, square in enumerate(squares)
        ]
        return [whole, *tiles]

    def _predict(self, views_by_image: list[list[ClassifierInput]]) -> list[Prediction]:
        squares = [view.pixels for views in views_by_image for view in views]
        return self.classifier.predict(np.stack(squares)) if squares else []

    def _worst_verdict(self, views: list[ClassifierInput], predictions: list[Prediction]) -> Verdict:
        """Return the worst view's verdict: by decision, then by unsafe probability; the first of equal ones."""
        verdicts = [self._verdict(*pair) for pair in zip(views, predictions, strict=True)]
        return max(verdicts, key=lambda verdict: (verdict.decision.severity, verdict.unsafe))

    def _verdict(self, view: ClassifierInput, prediction: Prediction) -> Verdict:
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


def _result_or_error(work: Callable[[], ResultT]) -> ResultT | SafelightError:
    """Return the result of the work on one file, or its error: one bad file must not end a scan of a million."""
    try:
        return work()
    except SafelightError as error:
        return error
    except Exception as error:  # noqa: BLE001  neither must an unexpected error
        return InternalError(f"{type(error).__name__}: {error}")
