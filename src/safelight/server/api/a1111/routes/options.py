"""Options and the checkpoint, under A1111's and SD.Next's paths: each user has their own."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field, JsonValue

from safelight.logs import get_logger
from safelight.server.api import checkpoint_names
from safelight.server.api.a1111.client_state import ClientState, CurrentClientState
from safelight.server.api.a1111.options import (
    CHECKPOINT,
    Options,
    all_options,
    unknown_options,
    validate_options,
)
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.security.allowlist import default_checkpoint_name
from safelight.server.security.dependencies import CurrentPrincipal, Principal

router = APIRouter(prefix="/sdapi", tags=["A1111"])

MAX_LOGGED_NAMES, LONGEST_LOGGED = 20, 80
"""Limits for logging names of unknown options: how many, and characters of each. A client may send hundreds."""

OptionChanges = Annotated[
    dict[str, JsonValue], Body(examples=[{"sd_model_checkpoint": "starter"}], description="Option by name.")
]


class OptionsUpdated(BaseModel):
    """Which options have changed, in SD.Next's form."""

    updated: list[dict[str, bool]] = Field(
        description="Each name that was sent, and whether its value changed."
    )
    unknown: list[str] = Field(description="Ours: names that are no options here, and were ignored.")


class CheckpointResponse(BaseModel):
    """The user's checkpoint in SD.Next's fields."""

    type: str | None = Field(description="Its family; null where only a worker can know it.")
    checkpoint: str
    title: str
    name: str
    filename: str
    hash: str | None


class OkResponse(BaseModel):
    """Confirmation of a change."""

    ok: bool = True


@router.get("/v1/options", operation_id="a1111_options", summary="Get your options")
@router.get("/v2/options", operation_id="sdnext_options", summary="Get your options")
async def options(
    app_state: CurrentAppState, principal: CurrentPrincipal, client_state: CurrentClientState
) -> dict[str, JsonValue]:
    """All options with the values that apply to the user."""
    return await asyncio.to_thread(
        all_options, client_state.options(principal.owner), app_state.service.settings
    )


@router.post("/v1/options", operation_id="a1111_set_options", summary="Change your options")
@router.post("/v2/options", operation_id="sdnext_set_options", summary="Change your options")
async def set_options(
    changes: OptionChanges,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
) -> OptionsUpdated:
    """Change the user's own options; they are lost when the server restarts.

    Unknown names are ignored and listed in the answer. Where one value is invalid, nothing is changed.
    """
    strange = unknown_options(changes)
    new = await _set_options(changes, app_state, principal, client_state)
    if strange:
        names = [name[:LONGEST_LOGGED] for name in strange[:MAX_LOGGED_NAMES]]
        get_logger(__name__).info("unknown options ignored", names=names, count=len(strange))
    return OptionsUpdated(updated=[{name: name in new} for name in changes], unknown=strange)


@router.get("/v1/checkpoint", operation_id="sdnext_checkpoint", summary="Get your checkpoint")
async def checkpoint(
    app_state: CurrentAppState, principal: CurrentPrincipal, client_state: CurrentClientState
) -> CheckpointResponse:
    """The checkpoint of the user's requests that name none."""
    chosen = client_state.options(principal.owner).get(CHECKPOINT)
    return await asyncio.to_thread(_describe_checkpoint, None if chosen is None else str(chosen), app_state)


@router.post("/v1/checkpoint", operation_id="sdnext_set_checkpoint", summary="Change your checkpoint")
async def set_checkpoint(
    sd_model_checkpoint: Annotated[str, Query(max_length=500, description="Name, title or hash.")],
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
) -> OkResponse:
    """The same as the option sd_model_checkpoint."""
    await _set_options({CHECKPOINT: sd_model_checkpoint}, app_state, principal, client_state)
    return OkResponse()


async def _set_options(
    changes: Options, app_state: AppState, principal: Principal, client_state: ClientState
) -> Options:
    new = await asyncio.to_thread(
        validate_options, changes, client_state.options(principal.owner), app_state.service.settings
    )
    client_state.set_options(principal.owner, new)
    return new


def _describe_checkpoint(name: str | None, app_state: AppState) -> CheckpointResponse:
    settings = app_state.service.settings
    title, digest = checkpoint_names.title_and_digest(name, settings)
    family = checkpoint_names.select_checkpoint(name, settings).family
    plain = name or default_checkpoint_name(settings)
    return CheckpointResponse(
        type=family.title if family else None,
        checkpoint=plain,
        title=title,
        name=plain,
        filename=plain,
        hash=digest and digest[:10],
    )
