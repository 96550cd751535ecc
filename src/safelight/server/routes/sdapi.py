"""All routes of A1111's and SD.Next's API."""

from __future__ import annotations

from fastapi import APIRouter

from safelight.server.compat.callers import lifespan
from safelight.server.routes import (
    sdapi_absent,
    sdapi_drawing,
    sdapi_extras,
    sdapi_lists,
    sdapi_options,
    sdapi_progress,
    sdapi_system,
)

router = APIRouter(lifespan=lifespan)
for _part in (
    sdapi_drawing,
    sdapi_extras,
    sdapi_progress,
    sdapi_options,
    sdapi_lists,
    sdapi_system,
    sdapi_absent,
):
    router.include_router(_part.router)
