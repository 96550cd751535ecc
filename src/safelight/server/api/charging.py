"""Charge images against the limits of the principal before they are classified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from safelight.server.core.app_state import AppState
from safelight.server.security.dependencies import Principal


@asynccontextmanager
async def charge_images(app_state: AppState, principal: Principal, count: int) -> AsyncIterator[None]:
    """Charge a number of images; refund them where the request fails as a whole.

    Raises:
        RateLimitError, QuotaError: They exceed the principal's limits.
    """
    await asyncio.to_thread(app_state.rate_limiter.charge, principal, pictures=count, pixels=0)
    try:
        yield
    except Exception:
        await asyncio.to_thread(app_state.rate_limiter.refund, principal, pictures=count, pixels=0)
        raise
