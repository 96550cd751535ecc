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
    ExplanationUnsupportedError,
    InternalError,
    RateLimitError,
    RequestError,
    SafelightError,
    UsageError,
)
from safelight.images import DecodeLimits
from safelight.images.encoding import encode_image
from safelight.logs import get_logger
from safelight.moderation.classifiers import open_nsfw
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.moderation.classifiers.loading import classifier_folder, load_definition
from safelight.moderation.classifiers.timm_config import read_timm_config
from safelight.moderation.classifiers.timm_convert import is_converted
from safelight.moderation.explain import Explainer
from safelight.moderation.moderator import Moderator
from safelight.moderation.verdict import Judgement, Verdict
from safelight.server.core.executors.image_cost import decode_frames_cost
from safelight.server.core.executors.thread_pools import ThreadPools
from safelight.server.security.allowlist import check_classifier
from safelight.settings import Settings
from safelight.studio import Studio

Result = TypeVar("Result")

RETRY_LOAD_AFTER = 30.0
"""Seconds before a classifier that failed to load is loaded again."""
HEATMAP_QUALITY = 85
"""WebP quality of heat maps."""
MAX_PREVIEWS = 256
"""Maximum number of cached verdicts of previews."""


class ModerationService:
    """Judges images for many requests at once.

    Args:
        studio: Returns the studio that loads classifiers; each is loaded at its first use, and kept.
        threads: Returns the thread pools.
    """

    def __init__(self, studio: Callable[[], Studio], threads: Callable[[], ThreadPools]) -> None:
        self._studio, self._threads = studio, threads
        self._default_loader = ThreadPoolExecutor(1, thread_name_prefix="usual classifier")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._moderators: dict[tuple[str, str, DecodeLimits], _Loading] = {}
        self._previews: OrderedDict[bytes, asyncio.Task[Judgement]] = OrderedDict()

    def close(self) -> None:
        """Finish the classifiers that are being loaded, and load no more."""
        self._loader.shutdown(cancel_futures=True)
        self._default_loader.shutdown(cancel_futures=True)

    async def check_classifier(self, classifier: str | None) -> None:
        """Raise unless a classifier is installed.

        Raises:
            ClassifierUnknownError: The classifier is not installed.
        """
        if classifier is not None:
            await asyncio.to_thread(check_classifier, classifier, self._studio().settings)

    async def judge(
        self, images: Sequence[bytes], *, classifier: str | None = None, policy: str | None = None
    ) -> list[Judgement]:
        """Judge images; one that cannot be read gives a judgement with an error.

        No more images are in progress than there are threads, so that other requests of the same owner can interleave.
        On cancellation, images that have not started are dropped.

        Args:
            images: Image files.
            classifier: Name of an installed classifier; the setting's when not given.
            policy: Name of a preset; the setting's when not given.

        Raises:
            ClassifierUnknownError: The classifier is not installed.
            PolicyLabelError: The policy has no rule for a label of the classifier.
            RateLimitError: Too many images of this owner wait already.
        """
        await self.check_classifier(classifier)
        moderator = await _shared_result(self._moderator(classifier, policy))
        semaphore = asyncio.Semaphore(self._threads().image_concurrency)

        async def one(number: int, data: bytes) -> Judgement:
            async with semaphore:
                return await self._judge_one(moderator, str(number), data)

        tasks = [asyncio.create_task(one(*pair)) for pair in enumerate(images)]
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
            ExplanationUnsupportedError: The classifier has no exact explanation.
        """
        await self.check_classifier(classifier)
        studio = self._studio()
        if (name := classifier or studio.settings.classifier) != open_nsfw.NAME:
            raise ExplanationUnsupportedError(
                f"{name.rpartition('/')[2]} has no exact explanation map.",
                hint=f"Heat maps are exact for {open_nsfw.NAME} only: give it as the classifier.",
            )
        return await _shared_result(self._default_loader.submit(studio.explainer, name))

    async def heatmap(self, explainer: Explainer, image: bytes, frame: int = 0) -> bytes:
        """An image's heat map, as a WebP file.

        Args:
            explainer: The explainer of a classifier.
            image: An image file.
            frame: Index of an animation's frame.

        Raises:
            ImageError: The image cannot be read.
            RequestError: There is no such frame.
            RateLimitError: Too many images of this owner wait already.
        """
        threads, limits = self._threads(), self._studio().limits
        cost = await threads.run_inspect(decode_frames_cost, image, limits)
        return await threads.run_image(cost, _heatmap, explainer, image, limits, frame)

    async def judge_cached(self, image: bytes) -> Judgement:
        """Judge an image that many clients request repeatedly, such as a preview; its verdict is cached."""
        policy = self._studio().settings.policy.encode()  # it may be changed while the server runs
        digest = hashlib.sha256(policy + b"\0" + image).digest()
        moderator = await _shared_result(self._moderator(None, None))
        if digest not in self._previews:
            task = self._previews[digest] = asyncio.create_task(self._judge_one(moderator, "", image))
            task.add_done_callback(lambda done: self._forget_failed(digest, done))
            if len(self._previews) > MAX_PREVIEWS:
                self._previews.popitem(last=False)
        return await asyncio.shield(self._previews[digest])

    def _forget_failed(self, digest: bytes, task: asyncio.Task[Judgement]) -> None:
        """Remove a failed judgement from the cache, so that the next request tries again."""
        if (task.cancelled() or task.exception() is not None) and self._previews.get(digest) is task:
            del self._previews[digest]

    async def _judge_one(self, moderator: Moderator, name: str, data: bytes) -> Judgement:
        try:
            return Judgement(name, verdict=await self._classify(moderator, data))
        except RateLimitError:
            raise
        except SafelightError as error:
            return Judgement(name, error=error)
        except Exception as error:  # noqa: BLE001  a defect at one image must not fail the others
            get_logger(__name__).error("a defect", exc_info=error)
            return Judgement(name, error=InternalError(f"{type(error).__name__}: {error}"))

    async def _classify(self, moderator: Moderator, data: bytes) -> Verdict:
        threads, limits = self._threads(), moderator.limits
        cost = await threads.run_inspect(decode_frames_cost, data, limits, moderator.classifier.shrink_to)
        verdict, enough = await threads.run_image(cost, moderator.judge_reduced, data)
        if enough:
            return verdict
        cost = await threads.run_inspect(decode_frames_cost, data, limits)
        return await threads.run_image(cost, moderator.judge_full, data)

    def _moderator(self, classifier: str | None, policy: str | None) -> Future[Moderator]:
        """A future of a moderator, shared by all requests. The default one does not wait for others to be loaded."""
        studio = self._studio()
        settings, limits = studio.settings, studio.limits  # they may have changed since the last request
        pair = classifier or settings.classifier, policy or settings.policy
        loading = self._moderators.get((*pair, limits))
        if loading is None or loading.should_retry():
            pool = self._default_loader if pair == (settings.classifier, settings.policy) else self._loader
            loading = _Loading(pool.submit(self._load_moderator, *pair), time.monotonic())
            outdated = [key for key in self._moderators if key[:2] == pair]
            for key in outdated:
                del self._moderators[key]
            self._moderators[*pair, limits] = loading
        return loading.moderator

    def _load_moderator(self, classifier: str, policy: str) -> Moderator:
        studio = self._studio()
        if classifier not in CLASSIFIERS and not _is_converted(studio.settings, classifier):
            _convert_in_subprocess(studio.settings, classifier)
        return studio.moderator(classifier=classifier, policy=policy)


@dataclass(frozen=True)
class _Loading:
    moderator: Future[Moderator]
    started: float

    def should_retry(self) -> bool:
        """Whether loading failed long enough ago to be tried again."""
        failed = self.moderator.done() and self.moderator.exception() is not None
        return failed and time.monotonic() - self.started > RETRY_LOAD_AFTER


async def _shared_result(future: Future[Result]) -> Result:
    """Wait for a shared future; cancelling one waiter does not cancel the future."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _heatmap(explainer: Explainer, data: bytes, limits: DecodeLimits, frame: int) -> bytes:
    try:
        heat = explainer.explain(data, limits=limits, frame=frame).heat_map
    except UsageError as error:
        raise RequestError(error.message, hint="Give the frame that the picture's verdict names.") from error
    return encode_image(heat, "webp", quality=HEATMAP_QUALITY)


def _is_converted(settings: Settings, name: str) -> bool:
    return is_converted(read_timm_config(classifier_folder(name, settings)), settings.cache_folder)


def _convert_in_subprocess(settings: Settings, name: str) -> None:
    """Convert a classifier in a child process: conversion needs torch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(convert, settings, name).result()


def convert(settings: Settings, name: str) -> None:
    """Write a classifier's graph to the cache, if it is not there."""
    load_definition(settings, name)
