"""Verdicts within the server's own process, in a few threads of their own, so that the event loop stays free.

One picture at a time: batches do not pay on CPUs (docs/decisions/0004), and a picture that arrives alone does not wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

from safelight.errors import InternalError, SafelightError
from safelight.logs import logger
from safelight.moderation import open_nsfw
from safelight.moderation.moderator import Moderator
from safelight.moderation.verdict import Judgement
from safelight.runtime.machine import usable_cores
from safelight.server.names import check_classifier
from safelight.settings import Settings
from safelight.studio import Studio

MOST_THREADS, MOST_PAIRS = 4, 64


class Judge:
    """Judges pictures for many callers at once.

    Args:
        studio: Gives what loads classifiers; each is loaded when it is first asked for, and kept.
    """

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio
        self._pool = ThreadPoolExecutor(min(MOST_THREADS, usable_cores()), thread_name_prefix="judge")
        self._moderator = lru_cache(MOST_PAIRS)(self._load)
        self._loading = threading.Lock()

    def close(self) -> None:
        """Judge what is being judged, and nothing more."""
        self._pool.shutdown(cancel_futures=True)

    async def judge(
        self, pictures: Sequence[bytes], *, classifier: str | None = None, policy: str | None = None
    ) -> list[Judgement]:
        """Judge pictures; one that cannot be read becomes a judgement with an error.

        Args:
            pictures: Picture files.
            classifier: An installed classifier's name; the setting's when not given.
            policy: A preset's name; the setting's when not given.

        Raises:
            ClassifierUnknownError: It is not installed.
            PolicyLabelError: The policy does not know the classifier's labels.
        """
        loop = asyncio.get_running_loop()
        moderator = await loop.run_in_executor(self._pool, self._moderator, classifier, policy)
        tasks = [
            loop.run_in_executor(self._pool, _judged, moderator, str(number), data)
            for number, data in enumerate(pictures)
        ]
        return list(await asyncio.gather(*tasks))

    def _load(self, classifier: str | None, policy: str | None) -> Moderator:
        studio = self._studio()
        if classifier is not None:
            check_classifier(classifier, studio.settings)
        name = classifier or studio.settings.classifier
        with self._loading:
            if name != open_nsfw.NAME:
                _converted_elsewhere(studio.settings, name)
            return studio.moderator(classifier=classifier, policy=policy)


def _judged(moderator: Moderator, name: str, data: bytes) -> Judgement:
    try:
        return Judgement(name, verdict=moderator.judge(data))
    except SafelightError as error:
        return Judgement(name, error=error)
    except Exception as error:  # noqa: BLE001  one picture that surprises us must not take the others with it
        logger(__name__).error("a defect", exc_info=error)
        return Judgement(name, error=InternalError(f"{type(error).__name__}: {error}"))


def _converted_elsewhere(settings: Settings, name: str) -> None:
    """Convert a classifier in a process of its own, where that was not done before: conversion needs torch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(convert, settings, name).result()


def convert(settings: Settings, name: str) -> None:
    """See that a classifier's graph is in the cache."""
    from safelight.moderation.loading import draw_blueprint

    draw_blueprint(settings, name)
