"""``/sdapi/v1/extra-*-image(s)``: upscaling; ``png-info``: the metadata of an image."""

from __future__ import annotations

import asyncio
import base64
from html import escape

from fastapi import APIRouter
from pydantic import BaseModel, Field

from safelight.generation.upscaling.finding import find_upscalers
from safelight.images.metadata import read_metadata
from safelight.jobs.job import Job, JobKind
from safelight.server.auth import Caller, Who
from safelight.server.bodies import JsonRoute
from safelight.server.compat import results
from safelight.server.compat.a1111_extras import (
    BatchExtras,
    Extras,
    Plan,
    SingleExtras,
    check,
    cropped,
    cropped_cost,
    plan,
    plan_cost,
)
from safelight.server.compat.a1111_fields import Base64
from safelight.server.compat.a1111_info import png_items
from safelight.server.compat.a1111_refusals import without_effect
from safelight.server.fields import taken_in
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER, TheClient
from safelight.server.state import Backstage, Behind
from safelight.server.submitting import submit

router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], route_class=JsonRoute)


class Enlarged(BaseModel):
    """An upscaled picture."""

    html_info: str
    image: str = Field(description="Base64, PNG.")


class AllEnlarged(BaseModel):
    """Several upscaled pictures."""

    html_info: str
    images: list[str] = Field(description="Base64, PNG, in the order of the request.")


class PictureBody(BaseModel):
    """A picture to read the metadata of."""

    image: Base64


class PictureInfo(BaseModel):
    """The metadata of a picture."""

    info: str = Field(description="The infotext; empty where there is none.")
    items: dict[str, str] = Field(description="All texts of the file.")
    parameters: dict[str, str] = Field(description="The parsed infotext.")


@router.post("/extra-single-image", operation_id="a1111_extra_single_image", summary="Upscale a picture")
async def extra_single_image(extras: SingleExtras, behind: Behind, who: Who, client: TheClient) -> Enlarged:
    """Upscale a picture and wait. The policy applies before and after; the gallery keeps the uncropped result."""
    check(extras)
    planned = await _planned(extras, extras.image, behind)
    job = await _begun(*planned, behind, who)
    client.end_work_with_them()
    image = await _finished(behind, job, planned[1])
    return Enlarged(html_info=_html(planned[1], extras), image=image)


@router.post(
    "/extra-batch-images", operation_id="a1111_extra_batch_images", summary="Upscale several pictures"
)
async def extra_batch_images(extras: BatchExtras, behind: Behind, who: Who, client: TheClient) -> AllEnlarged:
    """Upscale pictures, a job each. The first error is the answer; the other jobs' pictures are in the gallery."""
    check(extras)
    planned = [await _planned(extras, picture.data, behind) for picture in extras.image_list]
    jobs = [await _begun(*each, behind, who) for each in planned]
    client.end_work_with_them()
    pairs = zip(jobs, planned, strict=True)
    images = [await _finished(behind, job, steps) for job, (_, steps) in pairs]
    return AllEnlarged(html_info=_html(planned[0][1], extras), images=images)


@router.post(
    "/png-info",
    operation_id="a1111_png_info",
    summary="Read a picture's metadata",
    dependencies=ENDS_WITH_CALLER,
)
async def png_info(body: PictureBody, behind: Behind) -> PictureInfo:
    """The infotext in a PNG, JPEG or WebP, as text and parsed."""
    data = await taken_in(body.image, behind)
    found = await behind.threads.picture(read_metadata, data, limits=behind.studio.limits)
    items = dict(found.others) | ({"parameters": found.parameters} if found.parameters else {})
    return PictureInfo(info=found.parameters or "", items=items, parameters=png_items(found.parameters))


async def _planned(extras: Extras, text: str, behind: Backstage) -> tuple[bytes, Plan]:
    data = await taken_in(text, behind)
    limits = behind.studio.limits
    upscalers = await asyncio.to_thread(find_upscalers, behind.service.settings.home)
    cost = await behind.threads.picture(plan_cost, extras, data, limits)
    return data, await behind.threads.pixels(cost, plan, extras, data, upscalers, limits)


async def _begun(data: bytes, steps: Plan, behind: Backstage, who: Caller) -> Job:
    fields = {"image": data, "by": steps.by, "upscaler": steps.upscaler}
    return await submit(behind, who, JobKind.UPSCALE, fields)


async def _finished(behind: Backstage, job: Job, steps: Plan) -> str:
    made = await results.read(behind, await results.ended(behind, job))
    data, crop, limits = made[0].data, steps.crop, behind.studio.limits
    cost = await behind.threads.picture(cropped_cost, data, crop, limits)
    return await behind.threads.pixels(cost, lambda: _base64(cropped(data, crop, limits)))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _html(steps: Plan, extras: Extras) -> str:
    lines = [", ".join(f"{key}: {value}" for key, value in steps.summary.items())]
    if names := without_effect(extras.model_extra or {}):
        lines.append(f"Ignored: {', '.join(names)}")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
