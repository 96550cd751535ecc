"""``/v1/models/hub``: which files a checkpoint of the Hugging Face hub needs, for administrators."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from safelight.errors import DownloadError, RequestError, RoleError
from safelight.models.hub_contents import HubContents, here, on_hub
from safelight.server.auth import Admin
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import HUB
from safelight.server.schemas.models import HubFileView, HubView
from safelight.server.state import Behind

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "/hub",
    operation_id="look_at_hub",
    summary="See what a hub checkpoint needs",
    responses=errors(RoleError, RequestError, DownloadError) | shown(HUB),
)
async def look_at_hub(
    behind: Behind,
    _: Admin,
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
    network = behind.service.settings.allow_network
    found = await asyncio.to_thread(on_hub if network else here, name)
    return HubView(
        id=name,
        present=found.present,
        network=network,
        files=[HubFileView.model_validate(file) for file in found.files],
        size=found.size,
        hint=_hint(name, found, network),
    )


def _hint(name: str, found: HubContents, network: bool) -> str:
    start = f"safelight serve --checkpoint {name}"
    if found.present:
        return f"It is on this machine. To generate with it: {start}"
    if network and not found.draws:
        return "It cannot generate pictures: it has no model_index.json."
    pull = f"safelight models pull {name}"
    if network:
        return f"To fetch it: {pull}. Or {start}, which fetches it first, since allow_network is set."
    return (
        f"To fetch it, on the server's machine: {pull}. "
        "This server does not contact the hub, since the setting allow_network is not set."
    )
