"""All routes of A1111's and SD.Next's API."""

from __future__ import annotations

from fastapi import APIRouter

from safelight.server.api.a1111.client_state import lifespan
from safelight.server.api.a1111.routes import (
    catalog,
    control,
    controlnet,
    extras,
    generate,
    options,
    progress,
    system,
    unsupported,
)

router = APIRouter(lifespan=lifespan)
for _part in (
    generate,
    extras,
    progress,
    options,
    catalog,
    control,
    controlnet,
    system,
    unsupported,
):
    router.include_router(_part.router)
