"""OpenAI's API for images; ``/v1/models`` is a route of our own with OpenAI's fields."""

from __future__ import annotations

from fastapi import APIRouter

from safelight.server.api.openai.routes import images, moderations

router = APIRouter()
for _part in (images, moderations):
    router.include_router(_part.router)
