"""OpenAI's API for images; ``/v1/models`` is a route of our own with OpenAI's fields."""

from __future__ import annotations

from fastapi import APIRouter

from safelight.server.routes import openai_images, openai_moderations

router = APIRouter()
for _part in (openai_images, openai_moderations):
    router.include_router(_part.router)
