"""Our own API, which answers every path that no other family does."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.server.api import health
from safelight.server.api.native import (
    adapters,
    collections,
    controls,
    diagnostics,
    gallery,
    gallery_download,
    gallery_selection,
    heatmap,
    hub,
    jobs,
    live,
    model_files,
    model_pulls,
    model_residency,
    model_uploads,
    models,
    moderation,
    policies,
    preprocessing,
    prompts,
    queue,
    recall,
    segmentation,
    session,
    settings,
    system,
)
from safelight.server.api.native.errors import NativeErrorBody, error_body
from safelight.server.core.api_families import ApiFamily

ROUTERS = (
    health.router,
    queue.router,
    jobs.router,
    live.router,
    moderation.router,
    heatmap.router,
    preprocessing.router,
    segmentation.router,
    controls.router,
    policies.router,
    model_residency.router,
    hub.router,
    model_pulls.router,
    model_uploads.router,
    model_files.router,  # before the routes whose path takes any model name
    models.router,
    adapters.router,
    gallery.router,
    gallery_selection.router,
    gallery_download.router,
    collections.router,
    system.router,
    diagnostics.router,
    session.router,
    settings.router,
    prompts.router,
    recall.router,
)


@hookimpl
def register_api_families(registry: Registry[ApiFamily]) -> None:
    """Register our own API."""
    registry.register("native", ApiFamily("native", ("",), ROUTERS, NativeErrorBody, error_body))
