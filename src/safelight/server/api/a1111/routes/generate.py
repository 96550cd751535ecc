"""``/sdapi/v1/txt2img`` and ``img2img``: the request waits for its job."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from safelight.errors import ModelError, UnsupportedFieldError
from safelight.generation.recall.field_builder import replace_surrogates
from safelight.generation.upscaling.registry import find_upscalers
from safelight.jobs.job import JobKind
from safelight.server.api import outcomes
from safelight.server.api.a1111.client_state import ClientState, CurrentClientState
from safelight.server.api.a1111.controlnet import control_units, unit_fields
from safelight.server.api.a1111.info import echo_parameters, info_json, info_of
from safelight.server.api.a1111.init_image import PreparedImages, prepare_cost, prepare_images
from safelight.server.api.a1111.ip_adapters import ip_adapter_controls
from safelight.server.api.a1111.options import (
    CHECKPOINT,
    VAE,
    OptionValues,
    option_values,
    unknown_options,
    validate_options,
)
from safelight.server.api.a1111.requests import (
    are_references,
    check_body,
    ignored_fields,
    img2img_fields,
    requested_size,
    txt2img_fields,
)
from safelight.server.api.a1111.schemas import GenerationParameters, Img2ImgBody, Txt2ImgBody
from safelight.server.api.a1111.scripts import refiner_of
from safelight.server.api.a1111.soft_inpainting import is_soft
from safelight.server.api.checkpoint_names import SelectedCheckpoint, select_checkpoint
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.content_negotiation import convert_image
from safelight.server.core.executors.image_cost import convert_cost
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.core.submission import submit
from safelight.server.middleware.disconnects import ClientConnection, CurrentClient
from safelight.server.security.allowlist import check_controls, default_checkpoint_name
from safelight.server.security.dependencies import CurrentPrincipal, Principal
from safelight.settings import Settings

_NO_OTHER = frozenset({"", "none", "use same checkpoint"})
"""What A1111 sends where no other checkpoint is chosen."""
router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], route_class=JsonRoute)


class GenerationResponse(BaseModel):
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
    body: Txt2ImgBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    client: CurrentClient,
) -> GenerationResponse:
    """Generate pictures and wait. The job continues when the client disconnects; its pictures go to the gallery."""
    settings = app_state.service.settings
    chose, checkpoint = await resolve_options(body, app_state, principal, client_state)
    upscalers = await asyncio.to_thread(find_upscalers, settings.home)
    fields = txt2img_fields(body, chose, checkpoint, upscalers) | await _control_fields(body, app_state)
    return await generate_and_wait(
        body, fields, chose, checkpoint, app_state, principal, client_state, client
    )


@router.post("/img2img", operation_id="a1111_img2img", summary="Generate from a picture")
async def img2img(
    body: Img2ImgBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    client: CurrentClient,
) -> GenerationResponse:
    """Generate from a picture, all of it or what a mask marks, and wait; otherwise like txt2img."""
    chose, checkpoint = await resolve_options(body, app_state, principal, client_state)
    fields = img2img_fields(body, chose, checkpoint)
    if are_references(body, checkpoint):
        images = [await decode_image(each, app_state) for each in body.init_images]
        fields["references"] = [{"image": image} for image in images]
    elif len(body.init_images) > 1:
        raise UnsupportedFieldError("init_images: one picture at a time.", field="init_images")
    else:
        fields |= await image_fields(body, app_state)
    fields |= await _control_fields(body, app_state)
    return await generate_and_wait(
        body, fields, chose, checkpoint, app_state, principal, client_state, client
    )


async def _control_fields(body: GenerationParameters, app_state: AppState) -> dict[str, Any]:
    """The controls of a body's ControlNet units and IP-Adapters; empty without any."""
    controls = []
    for number, unit in enumerate(control_units(body)):
        image, mask = [None if each is None else await decode_image(each, app_state) for each in unit.encoded]
        controls.append(unit_fields(number, unit, image, mask))
    controls += await ip_adapter_controls(body, app_state)
    await asyncio.to_thread(check_controls, controls, app_state.service.settings)
    return {"control": controls} if controls else {}


async def resolve_options(
    body: GenerationParameters, app_state: AppState, principal: Principal, client_state: ClientState
) -> tuple[OptionValues, SelectedCheckpoint]:
    """Check a body, and resolve its options and its checkpoint."""
    check_body(body)
    before, settings = client_state.options(principal.owner), app_state.service.settings
    given = dict(body.override_settings)
    if body.sd_model_checkpoint:
        given[CHECKPOINT] = body.sd_model_checkpoint
    if body.sd_vae:
        given[VAE] = body.sd_vae

    def settled() -> tuple[Mapping[str, JsonValue], OptionValues, SelectedCheckpoint]:
        new = validate_options(given, before, settings)
        second = getattr(body, "hr_checkpoint_name", None) if getattr(body, "enable_hr", False) else None
        chose = replace(
            option_values({**before, **new}),
            second_checkpoint=later_checkpoint(second, "hr_checkpoint_name", settings),
            refiner=later_checkpoint(refiner_of(body)[0], "refiner_checkpoint", settings),
        )
        return new, chose, select_checkpoint(chose.checkpoint, settings)

    new, chose, checkpoint = await asyncio.to_thread(settled)
    if not body.override_settings_restore_afterwards:
        client_state.set_options(principal.owner, new)
    return chose, checkpoint


def later_checkpoint(name: str | None, field: str, settings: Settings) -> str | None:
    """The name of a checkpoint that a later pass uses; None where none is named.

    Raises:
        ModelError: There is none of that name, title or hash, or it cannot be used.
    """
    if name is None or name.casefold() in _NO_OTHER:
        return None
    try:
        return select_checkpoint(name, settings).name or default_checkpoint_name(settings)
    except ModelError as error:
        error.field = field
        raise


async def image_fields(body: Img2ImgBody, app_state: AppState) -> dict[str, Any]:
    """The initial picture of a body, and its mask, in the size that they are needed in."""
    begin = await _prepare_images(body, app_state)
    return {"init_image": begin.init} | ({"mask": begin.mask} if begin.mask is not None else {})


async def _prepare_images(body: Img2ImgBody, app_state: AppState) -> PreparedImages:
    init = await decode_image(body.init_images[0], app_state)
    mask = None if body.mask is None else await decode_image(body.mask, app_state)
    size, limits = requested_size(body), app_state.studio.limits
    whole = mask is None or not body.inpaint_full_res
    cost = await app_state.threads.run_inspect(prepare_cost, init, mask, limits, size=size, resize_init=whole)
    return await app_state.threads.run_image(
        cost,
        prepare_images,
        init,
        mask,
        limits,
        mode=body.resize_mode,
        size=size,
        resize_init=whole,
        binary_mask=body.mask_round and not is_soft(body),  # A1111's script switches rounding off
    )


async def generate_and_wait(
    body: GenerationParameters,
    fields: Mapping[str, Any],
    options: OptionValues,
    checkpoint: SelectedCheckpoint,
    app_state: AppState,
    principal: Principal,
    client_state: ClientState,
    client: ClientConnection,
) -> GenerationResponse:
    """Submit a job with the fields of a request, and wait for its pictures."""
    job = await submit(app_state, principal, JobKind.GENERATE, fields)
    if body.force_task_id:
        client_state.register_task(principal.owner, body.force_task_id, job.id)
    client.cancel_on_disconnect()
    outcome = await outcomes.wait_for_outcome(app_state, job)
    passed_over = [
        f"override_settings.{replace_surrogates(name)}" for name in unknown_options(body.override_settings)
    ]
    info = info_of(outcome, body.batch_size, ignored_fields(body, checkpoint) + passed_over)
    made = await outcomes.read_images(app_state, outcome) if body.send_images else []
    images = [await _encode_image(each.data, options, app_state) for each in made]
    return GenerationResponse(images=images, parameters=echo_parameters(body, info), info=info_json(info))


async def _encode_image(data: bytes, options: OptionValues, app_state: AppState) -> str:
    """An image file as base64, in the format that the owner's options set."""
    limits = app_state.studio.limits

    def encoded() -> str:
        file = convert_image(
            data, options.file_format, limits, quality=options.quality, lossless=options.lossless
        )
        return base64.b64encode(file).decode("ascii")

    cost = await app_state.threads.run_inspect(convert_cost, data, options.file_format, limits)
    return await app_state.threads.run_image(cost, encoded)
