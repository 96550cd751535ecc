"""A1111's and SD.Next's API."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.server.api.a1111.errors import A1111ErrorBody, error_body
from safelight.server.api.a1111.router import router
from safelight.server.core.api_families import ApiFamily

PREFIXES = ("/sdapi/", "/internal/", "/controlnet/")


@hookimpl
def register_api_families(registry: Registry[ApiFamily]) -> None:
    """Register A1111's API."""
    registry.register("a1111", ApiFamily("a1111", PREFIXES, (router,), A1111ErrorBody, error_body))
