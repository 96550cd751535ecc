"""``/sdapi/v1/txt2img`` and ``img2img``: the request waits for its job."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from safelight.errors import FieldError
from safelight.generation.recall.filling import sound
from safelight.generation.upscaling.finding import find_upscalers
from safelight.jobs.job import JobKind
from safelight.server.auth import Caller, Who
from safelight.server.bodies import JsonRoute
from safelight.server.compat import results
from safelight.server.compat.a1111_fields import Drawing, PictureDrawing, TextDrawing
from safelight.server.compat.a1111_info import as_text, echo, info_of
from safelight.server.compat.a1111_options import CHECKPOINT, Choices, checked, choices, unknown
from safelight.server.compat.a1111_request import check, ignored, picture_fields, size_of, text_fields
from safelight.server.compat.a1111_start import Start, start, start_cost
from safelight.server.compat.callers import Callers, Remembered
from safelight.server.compat.checkpoints import Chosen, chosen
from safelight.server.fields import taken_in
from safelight.server.formats import in_format
from safelight.server.middleware.disconnects import Client, TheClient
from safelight.server.picture_cost import converting
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import submit

router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], route_class=JsonRoute)


class Drawn(BaseModel):
    """Pictures and their generation info."""

    images: list[str] = Field(
        description="Base64, with the infotext inside; pictures that the policy blocks are left out."
    )
    parameters: dict[str, JsonValue] = Field(description="The request, with defaults filled in.")
    info: str = Field(
        description="JSON: lists with the seed, prompt and infotext of each picture; blocked_seeds, ignored_fields."
    )


@router.post("/txt2img", operation_id="a1111_txt2img", summary="Generate from a prompt")
async def txt2img(
    drawing: TextDrawing, behind: Behind, who: Who, kept: Remembered, client: TheClient
) -> Drawn:
    """Generate pictures and wait. The job continues when the client disconnects; its pictures go to the gallery."""
    settings = behind.service.settings
    chose, checkpoint = await _settled(drawing, behind, who, kept)
    upscalers = await asyncio.to_thread(find_upscalers, settings.home)
    fields = text_fields(drawing, chose, checkpoint, upscalers)
    return await _drawn(drawing, fields, chose, checkpoint, behind, who, kept, client)


@router.post("/img2img", operation_id="a1111_img2img", summary="Generate from a picture")
async def img2img(
    drawing: PictureDrawing, behind: Behind, who: Who, kept: Remembered, client: TheClient
) -> Drawn:
    """Generate from a picture, all of it or what a mask marks, and wait; otherwise like txt2img."""
    if len(drawing.init_images) != 1:
        raise FieldError("init_images: one picture at a time.", field="init_images")
    chose, checkpoint = await _settled(drawing, behind, who, kept)
    fields = picture_fields(drawing, chose, checkpoint)
    begin = await _start(drawing, behind)
    fields |= {"init_image": begin.init} | ({"mask": begin.mask} if begin.mask is not None else {})
    return await _drawn(drawing, fields, chose, checkpoint, behind, who, kept, client)


async def _settled(drawing: Drawing, behind: Backstage, who: Caller, kept: Callers) -> tuple[Choices, Chosen]:
    """Check a body, and resolve its options and its checkpoint."""
    check(drawing)
    before, settings = kept.options(who.owner), behind.service.settings
    given = dict(drawing.override_settings)
    if drawing.sd_model_checkpoint:
        given[CHECKPOINT] = drawing.sd_model_checkpoint

    def settled() -> tuple[Mapping[str, JsonValue], Choices, Chosen]:
        new = checked(given, before, settings)
        chose = choices({**before, **new})
        return new, chose, chosen(chose.checkpoint, settings)

    new, chose, checkpoint = await asyncio.to_thread(settled)
    if not drawing.override_settings_restore_afterwards:
        kept.choose(who.owner, new)
    return chose, checkpoint


async def _start(drawing: PictureDrawing, behind: Backstage) -> Start:
    init = await taken_in(drawing.init_images[0], behind)
    mask = None if drawing.mask is None else await taken_in(drawing.mask, behind)
    size, limits = size_of(drawing), behind.studio.limits
    whole = mask is None or not drawing.inpaint_full_res
    cost = await behind.threads.picture(start_cost, init, mask, limits, size=size, whole=whole)
    return await behind.threads.pixels(
        cost,
        start,
        init,
        mask,
        limits,
        mode=drawing.resize_mode,
        size=size,
        whole=whole,
        hard=drawing.mask_round,
    )


async def _drawn(
    drawing: Drawing,
    fields: Mapping[str, Any],
    chose: Choices,
    checkpoint: Chosen,
    behind: Backstage,
    who: Caller,
    kept: Callers,
    client: Client,
) -> Drawn:
    job = await submit(behind, who, JobKind.GENERATE, fields)
    if drawing.force_task_id:
        kept.begin(who.owner, drawing.force_task_id, job.id)
    client.end_work_with_them()
    outcome = await results.ended(behind, job)
    passed_over = [f"override_settings.{sound(name)}" for name in unknown(drawing.override_settings)]
    info = info_of(outcome, drawing.batch_size, ignored(drawing, checkpoint) + passed_over)
    made = await results.read(behind, outcome) if drawing.send_images else []
    images = [await _encoded(each.data, chose, behind) for each in made]
    return Drawn(images=images, parameters=echo(drawing, info), info=as_text(info))


async def _encoded(data: bytes, chose: Choices, behind: Backstage) -> str:
    """An image file as base64, in the format that the owner's options set."""
    limits = behind.studio.limits

    def encoded() -> str:
        file = in_format(data, chose.kind, limits, quality=chose.quality, lossless=chose.lossless)
        return base64.b64encode(file).decode("ascii")

    cost = await behind.threads.picture(converting, data, chose.kind, limits)
    return await behind.threads.pixels(cost, encoded)
