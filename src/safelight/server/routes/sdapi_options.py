"""Options and the checkpoint, under A1111's and SD.Next's paths: each user has their own."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field, JsonValue

from safelight.logs import logger
from safelight.server.auth import Caller, Who
from safelight.server.compat import checkpoints
from safelight.server.compat.a1111_options import CHECKPOINT, Options, checked, shown, unknown
from safelight.server.compat.callers import Callers, Remembered
from safelight.server.names import own_name
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/sdapi", tags=["A1111"])

MOST_LOGGED, LONGEST_LOGGED = 20, 80
"""Limits for logging names of unknown options: how many, and characters of each. A client may send hundreds."""

Given = Annotated[
    dict[str, JsonValue], Body(examples=[{"sd_model_checkpoint": "starter"}], description="Option by name.")
]


class Updated(BaseModel):
    """Which options have changed, in SD.Next's form."""

    updated: list[dict[str, bool]] = Field(
        description="Each name that was sent, and whether its value changed."
    )
    unknown: list[str] = Field(description="Ours: names that are no options here, and were ignored.")


class CheckpointBody(BaseModel):
    """The user's checkpoint in SD.Next's fields."""

    type: str | None = Field(description="Its family; null where only a worker can know it.")
    checkpoint: str
    title: str
    name: str
    filename: str
    hash: str | None


class Done(BaseModel):
    """Confirmation of a change."""

    ok: bool = True


@router.get("/v1/options", operation_id="a1111_options", summary="Get your options")
@router.get("/v2/options", operation_id="sdnext_options", summary="Get your options")
async def options(behind: Behind, who: Who, kept: Remembered) -> dict[str, JsonValue]:
    """All options with the values that apply to the user."""
    return await asyncio.to_thread(shown, kept.options(who.owner), behind.service.settings)


@router.post("/v1/options", operation_id="a1111_set_options", summary="Change your options")
@router.post("/v2/options", operation_id="sdnext_set_options", summary="Change your options")
async def set_options(given: Given, behind: Behind, who: Who, kept: Remembered) -> Updated:
    """Change the user's own options; they are lost when the server restarts.

    Unknown names are ignored and listed in the answer. Where one value is invalid, nothing is changed.
    """
    strange = unknown(given)
    new = await _choose(given, behind, who, kept)
    if strange:
        names = [name[:LONGEST_LOGGED] for name in strange[:MOST_LOGGED]]
        logger(__name__).info("unknown options ignored", names=names, count=len(strange))
    return Updated(updated=[{name: name in new} for name in given], unknown=strange)


@router.get("/v1/checkpoint", operation_id="sdnext_checkpoint", summary="Get your checkpoint")
async def checkpoint(behind: Behind, who: Who, kept: Remembered) -> CheckpointBody:
    """The checkpoint of the user's requests that name none."""
    chosen = kept.options(who.owner).get(CHECKPOINT)
    return await asyncio.to_thread(_described, None if chosen is None else str(chosen), behind)


@router.post("/v1/checkpoint", operation_id="sdnext_set_checkpoint", summary="Change your checkpoint")
async def set_checkpoint(
    sd_model_checkpoint: Annotated[str, Query(max_length=500, description="Name, title or hash.")],
    behind: Behind,
    who: Who,
    kept: Remembered,
) -> Done:
    """The same as the option sd_model_checkpoint."""
    await _choose({CHECKPOINT: sd_model_checkpoint}, behind, who, kept)
    return Done()


async def _choose(given: Options, behind: Backstage, who: Caller, kept: Callers) -> Options:
    new = await asyncio.to_thread(checked, given, kept.options(who.owner), behind.service.settings)
    kept.choose(who.owner, new)
    return new


def _described(name: str | None, behind: Backstage) -> CheckpointBody:
    settings = behind.service.settings
    title, digest = checkpoints.shown(name, settings)
    family = checkpoints.chosen(name, settings).family
    plain = name or own_name(settings)
    return CheckpointBody(
        type=family.title if family else None,
        checkpoint=plain,
        title=title,
        name=plain,
        filename=plain,
        hash=digest and digest[:10],
    )
