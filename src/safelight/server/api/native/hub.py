"""``/v1/models/hub``: which files a checkpoint of the Hugging Face hub needs, for administrators."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from safelight.errors import DownloadError, RequestError, RoleRequiredError
from safelight.models.hub.repository_files import RepositoryFiles, list_cached_files, list_hub_files
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.models import HubFileView, HubView
from safelight.server.api.openapi_examples import HUB
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.dependencies import CurrentAdmin

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "/hub",
    operation_id="look_at_hub",
    summary="See what a hub checkpoint needs",
    responses=error_responses(RoleRequiredError, RequestError, DownloadError) | example_response(HUB),
)
async def look_at_hub(
    app_state: CurrentAppState,
    _: CurrentAdmin,
    name: Annotated[
        str,
        Query(
            alias="id",
            max_length=200,
            pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$",
            description="Owner and name, as on the hub.",
        ),
    ],
) -> HubView:
    """The files that generating with it needs, and which of them are on this machine; for administrators.

    The hub is only contacted where the setting ``allow_network`` is set; otherwise nothing leaves this machine, and the
    list holds the files that are here.
    """
    network = app_state.service.settings.allow_network
    found = await asyncio.to_thread(list_hub_files if network else list_cached_files, name)
    return HubView(
        id=name,
        present=found.present,
        network=network,
        files=[HubFileView.model_validate(file) for file in found.files],
        size=found.size,
        hint=_hint(name, found, network),
    )


def _hint(name: str, found: RepositoryFiles, network: bool) -> str:
    start = f"safelight serve --checkpoint {name}"
    if found.present:
        return f"It is on this machine. To generate with it: {start}"
    if network and not found.is_checkpoint:
        return "It cannot generate pictures: it has no model_index.json."
    pull = f"safelight models pull {name}"
    if network:
        return f"To fetch it: {pull}. Or {start}, which fetches it first, since allow_network is set."
    return (
        f"To fetch it, on the server's machine: {pull}. "
        "This server does not contact the hub, since the setting allow_network is not set."
    )
