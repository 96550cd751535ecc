"""Charge images against the limits of the principal before they are classified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from safelight.server.auth import Caller
from safelight.server.state import Backstage


@asynccontextmanager
async def charge_images(app_state: Backstage, principal: Caller, count: int) -> AsyncIterator[None]:
    """Charge a number of images; refund them where the request fails as a whole.

    Raises:
        RateLimitError, QuotaError: They exceed the principal's limits.
    """
    await asyncio.to_thread(app_state.limits.charge, principal, pictures=count, pixels=0)
    try:
        yield
    except Exception:
        await asyncio.to_thread(app_state.limits.refund, principal, pictures=count, pixels=0)
        raise
