"""``/sdapi/v1/extra-*-image(s)``: upscaling; ``png-info``: the metadata of an image."""

from __future__ import annotations

import asyncio
import base64
from html import escape

from fastapi import APIRouter
from pydantic import BaseModel, Field

from safelight.generation.upscaling.registry import find_upscalers
from safelight.images.metadata.file_metadata import read_metadata
from safelight.jobs.job import Job, JobKind
from safelight.server.api import outcomes
from safelight.server.api.a1111.extras import (
    ExtraBatchImagesBody,
    ExtrasBody,
    ExtraSingleImageBody,
    UpscalePlan,
    check_body,
    crop_cost,
    crop_to_size,
    plan_upscale,
    plan_upscale_cost,
)
from safelight.server.api.a1111.info import infotext_items
from safelight.server.api.a1111.schemas import Base64
from safelight.server.api.a1111.unsupported import ineffective_fields
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.core.submission import submit
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT, CurrentClient
from safelight.server.security.dependencies import CurrentPrincipal, Principal

router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], route_class=JsonRoute)


class ExtraSingleImageResponse(BaseModel):
    """An upscaled picture."""

    html_info: str
    image: str = Field(description="Base64, PNG.")


class ExtraBatchImagesResponse(BaseModel):
    """Several upscaled pictures."""

    html_info: str
    images: list[str] = Field(description="Base64, PNG, in the order of the request.")


class PngInfoBody(BaseModel):
    """A picture to read the metadata of."""

    image: Base64


class PngInfoResponse(BaseModel):
    """The metadata of a picture."""

    info: str = Field(description="The infotext; empty where there is none.")
    items: dict[str, str] = Field(description="All texts of the file.")
    parameters: dict[str, str] = Field(description="The parsed infotext.")


@router.post("/extra-single-image", operation_id="a1111_extra_single_image", summary="Upscale a picture")
async def extra_single_image(
    body: ExtraSingleImageBody, app_state: CurrentAppState, principal: CurrentPrincipal, client: CurrentClient
) -> ExtraSingleImageResponse:
    """Upscale a picture and wait. The policy applies before and after; the gallery keeps the uncropped result."""
    check_body(body)
    planned = await _plan(body, body.image, app_state)
    job = await _submit(*planned, app_state, principal)
    client.cancel_on_disconnect()
    image = await _wait_for_image(app_state, job, planned[1])
    return ExtraSingleImageResponse(html_info=_html(planned[1], body), image=image)


@router.post(
    "/extra-batch-images", operation_id="a1111_extra_batch_images", summary="Upscale several pictures"
)
async def extra_batch_images(
    body: ExtraBatchImagesBody, app_state: CurrentAppState, principal: CurrentPrincipal, client: CurrentClient
) -> ExtraBatchImagesResponse:
    """Upscale pictures, a job each. The first error is the answer; the other jobs' pictures are in the gallery."""
    check_body(body)
    planned = [await _plan(body, picture.data, app_state) for picture in body.image_list]
    jobs = [await _submit(*each, app_state, principal) for each in planned]
    client.cancel_on_disconnect()
    pairs = zip(jobs, planned, strict=True)
    images = [await _wait_for_image(app_state, job, steps) for job, (_, steps) in pairs]
    return ExtraBatchImagesResponse(html_info=_html(planned[0][1], body), images=images)


@router.post(
    "/png-info",
    operation_id="a1111_png_info",
    summary="Read a picture's metadata",
    dependencies=CANCEL_ON_DISCONNECT,
)
async def png_info(body: PngInfoBody, app_state: CurrentAppState) -> PngInfoResponse:
    """The infotext in a PNG, JPEG or WebP, as text and parsed."""
    data = await decode_image(body.image, app_state)
    found = await app_state.threads.run_inspect(read_metadata, data, limits=app_state.studio.limits)
    items = dict(found.other_texts) | ({"parameters": found.infotext} if found.infotext else {})
    return PngInfoResponse(info=found.infotext or "", items=items, parameters=infotext_items(found.infotext))


async def _plan(body: ExtrasBody, image: str, app_state: AppState) -> tuple[bytes, UpscalePlan]:
    data = await decode_image(image, app_state)
    limits = app_state.studio.limits
    upscalers = await asyncio.to_thread(find_upscalers, app_state.service.settings.home)
    cost = await app_state.threads.run_inspect(plan_upscale_cost, body, data, limits)
    return data, await app_state.threads.run_image(cost, plan_upscale, body, data, upscalers, limits)


async def _submit(data: bytes, upscale_plan: UpscalePlan, app_state: AppState, principal: Principal) -> Job:
    fields = {"image": data, "by": upscale_plan.factor, "upscaler": upscale_plan.upscaler}
    return await submit(app_state, principal, JobKind.UPSCALE, fields)


async def _wait_for_image(app_state: AppState, job: Job, upscale_plan: UpscalePlan) -> str:
    made = await outcomes.read_images(app_state, await outcomes.wait_for_outcome(app_state, job))
    data, crop, limits = made[0].data, upscale_plan.crop, app_state.studio.limits
    cost = await app_state.threads.run_inspect(crop_cost, data, crop, limits)
    return await app_state.threads.run_image(cost, lambda: _base64(crop_to_size(data, crop, limits)))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _html(upscale_plan: UpscalePlan, body: ExtrasBody) -> str:
    lines = [", ".join(f"{key}: {value}" for key, value in upscale_plan.summary.items())]
    if names := ineffective_fields(body.model_extra or {}):
        lines.append(f"Ignored: {', '.join(names)}")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
