"""Separate thread pools for blocking calls that must not wait for each other.

All other blocking calls share asyncio's default executor. A key must be checked at once, even while large images are
encoded or a name server does not answer; and jobs must stay readable while submissions wait for a locked database or
long prompts are tokenized. All pools but that for authentication are shared fairly between owners.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from safelight.server.fair_threads import FairThreads
from safelight.server.picture_threads import Cost, PictureThreads

KEYS, NAMES, WRITES, PROMPTS, HEADERS, OTHERS = 4, 4, 4, 2, 3, 16
"""Number of threads of each pool; keys and the default pool together have no more than the database connections."""
P = ParamSpec("P")
Result = TypeVar("Result")


def use_others() -> None:
    """Set the event loop's default executor; asyncio's own has only a few threads more than cores."""
    asyncio.get_running_loop().set_default_executor(FairThreads(OTHERS, "others"))


class Threads:
    """Thread pools by purpose; threads start at their first use."""

    def __init__(self) -> None:
        self._keys = ThreadPoolExecutor(KEYS, thread_name_prefix="keys")
        self._pictures = PictureThreads()
        self._names = FairThreads(NAMES, "names")
        self._writes = FairThreads(WRITES, "writes")
        self._prompts = FairThreads(PROMPTS, "prompts")
        self._headers = FairThreads(HEADERS, "headers")

    def close(self) -> None:
        """Finish running calls and cancel waiting ones."""
        for pool in (self._keys, self._names, self._writes, self._prompts, self._headers, self._pictures):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def for_pictures(self) -> int:
        """Maximum number of images in progress."""
        return self._pictures.size

    async def key(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that authenticates a request."""
        return await _in(self._keys, partial(do, *args, **options))

    async def picture(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that reads an image file's header, but not its pixels."""
        return await _in(self._headers, partial(do, *args, **options))

    async def pixels(self, cost: Cost, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that decodes or encodes an image. Cancelling a waiting call removes it from the queue.

        Args:
            cost: The cost of the work; see ``image_cost``.
            do: The function to call.
            args: Its positional arguments.
            options: Its keyword arguments.

        Raises:
            RateLimitError: Too many calls of this owner wait already.
        """
        work = partial(copy_context().run, partial(do, *args, **options))
        future: Future[Result] = self._pictures.start(work, cost)
        return await asyncio.wrap_future(future)

    async def write(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that writes to the database, such as submitting a job."""
        return await _in(self._writes, partial(do, *args, **options))

    async def prompt(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that parses a prompt."""
        return await _in(self._prompts, partial(do, *args, **options))

    async def name(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that resolves a host name."""
        return await _in(self._names, partial(do, *args, **options))


async def _in(pool: ThreadPoolExecutor, do: Callable[[], Result]) -> Result:
    """Run in a pool with the current context, as ``asyncio.to_thread`` does; logs take their ids from the context."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(do))
