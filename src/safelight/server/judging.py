"""Moderation in the server's own process, in its image threads, so that the event loop stays free.

Each image is classified by itself: batches are no faster on CPUs (docs/decisions/0004), and a single image does not
wait for others.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from safelight.errors import (
    ExplainUnsupportedError,
    InternalError,
    RateLimitError,
    RequestError,
    SafelightError,
    UsageError,
)
from safelight.images import DecodeLimits
from safelight.images.encode import encode_picture
from safelight.logs import logger
from safelight.moderation import open_nsfw
from safelight.moderation.explain import Explainer
from safelight.moderation.loading import draw_blueprint, find_folder
from safelight.moderation.moderator import Moderator
from safelight.moderation.timm_config import read_timm_folder
from safelight.moderation.timm_convert import is_converted
from safelight.moderation.verdict import Judgement, Verdict
from safelight.server.names import check_classifier
from safelight.server.picture_cost import all_frames
from safelight.server.threads import Threads
from safelight.settings import Settings
from safelight.studio import Studio

Result = TypeVar("Result")

FORGIVEN = 30.0
"""Seconds before a classifier that failed to load is loaded again."""
HEAT_QUALITY = 85
"""WebP quality of heat maps."""
MOST_PREVIEWS = 256
"""Maximum number of cached verdicts of previews."""


class Judge:
    """Judges images for many requests at once.

    Args:
        studio: Returns the studio that loads classifiers; each is loaded at its first use, and kept.
        threads: Returns the thread pools.
    """

    def __init__(self, studio: Callable[[], Studio], threads: Callable[[], Threads]) -> None:
        self._studio, self._threads = studio, threads
        self._usual = ThreadPoolExecutor(1, thread_name_prefix="usual classifier")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._moderators: dict[tuple[str, str], _Loading] = {}
        self._previews: OrderedDict[bytes, asyncio.Task[Judgement]] = OrderedDict()

    def close(self) -> None:
        """Finish the classifiers that are being loaded, and load no more."""
        self._loader.shutdown(cancel_futures=True)
        self._usual.shutdown(cancel_futures=True)

    async def check(self, classifier: str | None) -> None:
        """Raise unless a classifier is installed.

        Raises:
            ClassifierUnknownError: The classifier is not installed.
        """
        if classifier is not None:
            await asyncio.to_thread(check_classifier, classifier, self._studio().settings)

    async def judge(
        self, pictures: Sequence[bytes], *, classifier: str | None = None, policy: str | None = None
    ) -> list[Judgement]:
        """Judge images; one that cannot be read gives a judgement with an error.

        No more images are in progress than there are threads, so that other requests of the same owner can interleave.
        On cancellation, images that have not started are dropped.

        Args:
            pictures: Image files.
            classifier: Name of an installed classifier; the setting's when not given.
            policy: Name of a preset; the setting's when not given.

        Raises:
            ClassifierUnknownError: The classifier is not installed.
            PolicyLabelError: The policy has no rule for a label of the classifier.
            RateLimitError: Too many images of this owner wait already.
        """
        await self.check(classifier)
        moderator = await _result(self._moderator(classifier, policy))
        room = asyncio.Semaphore(self._threads().for_pictures)

        async def one(number: int, data: bytes) -> Judgement:
            async with room:
                return await self._judged(moderator, str(number), data)

        tasks = [asyncio.create_task(one(*pair)) for pair in enumerate(pictures)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def explainer(self, classifier: str | None = None) -> Explainer:
        """The explainer that computes heat maps: loaded at its first use, and kept.

        Args:
            classifier: Name of an installed classifier; the setting's when not given.

        Raises:
            ClassifierUnknownError: The classifier is not installed.
            ExplainUnsupportedError: The classifier has no exact explanation.
        """
        await self.check(classifier)
        studio = self._studio()
        if (name := classifier or studio.settings.classifier) != open_nsfw.NAME:
            raise ExplainUnsupportedError(
                f"{name.rpartition('/')[2]} has no exact explanation map.",
                hint=f"Heat maps are exact for {open_nsfw.NAME} only: give it as the classifier.",
            )
        return await _result(self._usual.submit(studio.explainer, name))

    async def heat(self, explainer: Explainer, picture: bytes, frame: int = 0) -> bytes:
        """An image's heat map, as a WebP file.

        Args:
            explainer: The explainer of a classifier.
            picture: An image file.
            frame: Index of an animation's frame.

        Raises:
            ImageError: The image cannot be read.
            RequestError: There is no such frame.
            RateLimitError: Too many images of this owner wait already.
        """
        threads, limits = self._threads(), self._studio().limits
        cost = await threads.picture(all_frames, picture, limits)
        return await threads.pixels(cost, _heat, explainer, picture, limits, frame)

    async def judge_once(self, picture: bytes) -> Judgement:
        """Judge an image that many clients request repeatedly, such as a preview; its verdict is cached."""
        digest = hashlib.sha256(picture).digest()
        moderator = await _result(self._moderator(None, None))
        if digest not in self._previews:
            task = self._previews[digest] = asyncio.create_task(self._judged(moderator, "", picture))
            task.add_done_callback(lambda done: self._forget_failed(digest, done))
            if len(self._previews) > MOST_PREVIEWS:
                self._previews.popitem(last=False)
        return await asyncio.shield(self._previews[digest])

    def _forget_failed(self, digest: bytes, task: asyncio.Task[Judgement]) -> None:
        """Remove a failed judgement from the cache, so that the next request tries again."""
        if (task.cancelled() or task.exception() is not None) and self._previews.get(digest) is task:
            del self._previews[digest]

    async def _judged(self, moderator: Moderator, name: str, data: bytes) -> Judgement:
        try:
            return Judgement(name, verdict=await self._verdict(moderator, data))
        except RateLimitError:
            raise
        except SafelightError as error:
            return Judgement(name, error=error)
        except Exception as error:  # noqa: BLE001  a defect at one image must not fail the others
            logger(__name__).error("a defect", exc_info=error)
            return Judgement(name, error=InternalError(f"{type(error).__name__}: {error}"))

    async def _verdict(self, moderator: Moderator, data: bytes) -> Verdict:
        threads, limits = self._threads(), moderator.limits
        cost = await threads.picture(all_frames, data, limits, moderator.classifier.shrink_to)
        verdict, enough = await threads.pixels(cost, moderator.judge_reduced, data)
        if enough:
            return verdict
        cost = await threads.picture(all_frames, data, limits)
        return await threads.pixels(cost, moderator.judge_full, data)

    def _moderator(self, classifier: str | None, policy: str | None) -> Future[Moderator]:
        """A future of a moderator, shared by all requests. The default one does not wait for others to be loaded."""
        settings = self._studio().settings
        pair = classifier or settings.classifier, policy or settings.policy
        loading = self._moderators.get(pair)
        if loading is None or loading.failed_long_ago():
            pool = self._usual if pair == (settings.classifier, settings.policy) else self._loader
            loading = _Loading(pool.submit(self._load, classifier, policy), time.monotonic())
            self._moderators[pair] = loading
        return loading.moderator

    def _load(self, classifier: str | None, policy: str | None) -> Moderator:
        studio = self._studio()
        name = classifier or studio.settings.classifier
        if name != open_nsfw.NAME and not _is_converted(studio.settings, name):
            _converted_elsewhere(studio.settings, name)
        return studio.moderator(classifier=classifier, policy=policy)


@dataclass(frozen=True)
class _Loading:
    moderator: Future[Moderator]
    began: float

    def failed_long_ago(self) -> bool:
        """Whether loading failed long enough ago to be tried again."""
        failed = self.moderator.done() and self.moderator.exception() is not None
        return failed and time.monotonic() - self.began > FORGIVEN


async def _result(future: Future[Result]) -> Result:
    """Wait for a shared future; cancelling one waiter does not cancel the future."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _heat(explainer: Explainer, data: bytes, limits: DecodeLimits, frame: int) -> bytes:
    try:
        heat = explainer.explain(data, limits=limits, frame=frame).heat
    except UsageError as error:
        raise RequestError(error.message, hint="Give the frame that the picture's verdict names.") from error
    return encode_picture(heat, "webp", quality=HEAT_QUALITY)


def _is_converted(settings: Settings, name: str) -> bool:
    return is_converted(read_timm_folder(find_folder(name, settings)), settings.cache)


def _converted_elsewhere(settings: Settings, name: str) -> None:
    """Convert a classifier in a child process: conversion needs torch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(convert, settings, name).result()


def convert(settings: Settings, name: str) -> None:
    """Write a classifier's graph to the cache, if it is not there."""
    draw_blueprint(settings, name)
