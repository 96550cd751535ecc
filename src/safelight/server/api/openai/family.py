"""OpenAI's API for images and moderation."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.server.api.openai.errors import OpenAIErrorBody, error_body, http_status
from safelight.server.api.openai.router import router
from safelight.server.core.api_families import ApiFamily

PREFIXES = ("/v1/images/", "/v1/moderations")


@hookimpl
def register_api_families(registry: Registry[ApiFamily]) -> None:
    """Register OpenAI's API."""
    family = ApiFamily("openai", PREFIXES, (router,), OpenAIErrorBody, error_body, http_status)
    registry.register(family.name, family)
