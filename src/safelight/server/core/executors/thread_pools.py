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

from safelight.server.core.executors.fair_executor import FairExecutor
from safelight.server.core.executors.image_executor import ImageCost, ImageExecutor

AUTH_THREADS, DNS_THREADS, WRITE_THREADS, PROMPT_THREADS, INSPECT_THREADS, DEFAULT_THREADS = 4, 4, 4, 2, 3, 16
"""Number of threads of each pool; keys and the default pool together have no more than the database connections."""
P = ParamSpec("P")
Result = TypeVar("Result")


def set_default_executor() -> None:
    """Set the event loop's default executor; asyncio's own has only a few threads more than cores."""
    asyncio.get_running_loop().set_default_executor(FairExecutor(DEFAULT_THREADS, "others"))


class ThreadPools:
    """Thread pools by purpose; threads start at their first use."""

    def __init__(self) -> None:
        self._auth = ThreadPoolExecutor(AUTH_THREADS, thread_name_prefix="keys")
        self._images = ImageExecutor()
        self._dns = FairExecutor(DNS_THREADS, "names")
        self._writes = FairExecutor(WRITE_THREADS, "writes")
        self._prompts = FairExecutor(PROMPT_THREADS, "prompts")
        self._inspect = FairExecutor(INSPECT_THREADS, "headers")

    def close(self) -> None:
        """Finish running calls and cancel waiting ones."""
        for pool in (self._auth, self._dns, self._writes, self._prompts, self._inspect, self._images):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def image_concurrency(self) -> int:
        """Maximum number of images in progress."""
        return self._images.concurrency

    async def run_auth(self, function: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that authenticates a request."""
        return await _run_in(self._auth, partial(function, *args, **options))

    async def run_inspect(self, function: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that reads an image file's header, but not its pixels."""
        return await _run_in(self._inspect, partial(function, *args, **options))

    async def run_image(
        self, cost: ImageCost, function: Callable[P, Result], *args: P.args, **options: P.kwargs
    ) -> Result:
        """Run a function that decodes or encodes an image. Cancelling a waiting call removes it from the queue.

        Args:
            cost: The cost of the work; see ``image_cost``.
            function: The function to call.
            args: Its positional arguments.
            options: Its keyword arguments.

        Raises:
            RateLimitError: Too many calls of this owner wait already.
        """
        work = partial(copy_context().run, partial(function, *args, **options))
        future: Future[Result] = self._images.submit(work, cost)
        return await asyncio.wrap_future(future)

    async def run_write(self, function: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that writes to the database, such as submitting a job."""
        return await _run_in(self._writes, partial(function, *args, **options))

    async def run_prompt(self, function: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that parses a prompt."""
        return await _run_in(self._prompts, partial(function, *args, **options))

    async def run_dns(self, function: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run a function that resolves a host name."""
        return await _run_in(self._dns, partial(function, *args, **options))


async def _run_in(pool: ThreadPoolExecutor, function: Callable[[], Result]) -> Result:
    """Run in a pool with the current context, as ``asyncio.to_thread`` does; logs take their ids from the context."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(function))
