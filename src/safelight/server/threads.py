"""Threads of their own for what must not wait for each other.

Everything else that would hold up the event loop shares asyncio's own threads. Whoever comes with a key must be known
at once, whatever large pictures are being written or whichever name server is silent; and jobs can be looked at while
submissions wait for a database that somebody else is writing to, or while long prompts are counted. All but those that
find out who somebody is are shared fairly between owners.
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
"""How many threads there are of each kind; with keys and others, no more than there are connections to the database."""
P = ParamSpec("P")
Result = TypeVar("Result")


def use_others() -> None:
    """Give the running event loop so many threads of its own; by itself it has as many as cores and a few."""
    asyncio.get_running_loop().set_default_executor(FairThreads(OTHERS, "others"))


class Threads:
    """Threads by what they do; they begin when they are first needed."""

    def __init__(self) -> None:
        self._keys = ThreadPoolExecutor(KEYS, thread_name_prefix="keys")
        self._pictures = PictureThreads()
        self._names = FairThreads(NAMES, "names")
        self._writes = FairThreads(WRITES, "writes")
        self._prompts = FairThreads(PROMPTS, "prompts")
        self._headers = FairThreads(HEADERS, "headers")

    def close(self) -> None:
        """Finish what is being done, and nothing more."""
        for pool in (self._keys, self._names, self._writes, self._prompts, self._headers, self._pictures):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def for_pictures(self) -> int:
        """How many pictures are worked on at the same time, at most."""
        return self._pictures.size

    async def key(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Find out who somebody is."""
        return await _in(self._keys, partial(do, *args, **options))

    async def picture(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Look at a picture's file, but not at its pixels."""
        return await _in(self._headers, partial(do, *args, **options))

    async def pixels(self, cost: Cost, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Read or write a picture. Who is cancelled while they wait for their turn takes it back.

        Args:
            cost: What that takes; see ``picture_cost``.
            do: Does it.
            args: What it is given.
            options: Likewise.

        Raises:
            RateLimitError: Too much of the caller's waits already.
        """
        work = partial(copy_context().run, partial(do, *args, **options))
        future: Future[Result] = self._pictures.start(work, cost)
        return await asyncio.wrap_future(future)

    async def write(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Change a job in the database, or queue one."""
        return await _in(self._writes, partial(do, *args, **options))

    async def prompt(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Read a prompt."""
        return await _in(self._prompts, partial(do, *args, **options))

    async def name(self, do: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Look up a name in the network."""
        return await _in(self._names, partial(do, *args, **options))


async def _in(pool: ThreadPoolExecutor, do: Callable[[], Result]) -> Result:
    """Run in a pool as ``asyncio.to_thread`` does, with the context, which the log takes its ids from."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(do))
