"""``/sdapi/v1/control``, ``preprocess`` and ``preprocessors``: the operations of SD.Next's Control tab."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from safelight.errors import UnsupportedFieldError
from safelight.generation.control.preprocessors import PREPROCESSORS, Preprocessor
from safelight.generation.control.units import bare_name, module_of
from safelight.generation.request import MAX_CONTROLS
from safelight.models.controls.discovery import find_controls
from safelight.models.controls.kinds import kinds_in
from safelight.models.inventory.kind_folders import weights_folders
from safelight.server.api.a1111.client_state import CurrentClientState
from safelight.server.api.a1111.ip_adapters import ip_adapter_controls
from safelight.server.api.a1111.requests import img2img_fields, txt2img_fields
from safelight.server.api.a1111.routes.generate import generate_and_wait, image_fields, resolve_options
from safelight.server.api.a1111.schemas import (
    Base64,
    GenerationParameters,
    Img2ImgBody,
    LenientBody,
    Txt2ImgBody,
)
from safelight.server.api.preprocessing import preprocess
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT, CurrentClient
from safelight.server.security.allowlist import check_controls
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/sdapi/v1", tags=["A1111"], route_class=JsonRoute)

UNIT_TYPES = ("controlnet", "t2i adapter", "lite", "reference")
"""SD.Next's types of units that Safelight has; a model's own file says which of them it is."""
FROM_CONTROL = 1
"""``input_type``: the control picture is the initial picture too."""
Name = Annotated[str, Field(max_length=500)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ControlItem(LenientBody):
    """A unit."""

    process: Name = Field("", description="A preprocessor; empty for none.")
    model: Name = Field("", description="A control network.")
    strength: float = Field(1.0, ge=0, le=4, allow_inf_nan=False, description="How much it counts.")
    start: Share = Field(0.0, description="Share of the steps after which it begins.")
    end: Share = Field(1.0, description="Share of the steps after which it ends.")
    override: Base64 | None = Field(None, description="Its own picture, instead of the first of inputs.")


class ControlBody(GenerationParameters):
    """The body of control."""

    control: list[ControlItem] = Field(
        default_factory=list, max_length=MAX_CONTROLS, description="The units."
    )
    unit_type: Name = Field("controlnet", description="One of controlnet, t2i adapter, lite, reference.")
    inputs: list[Base64] = Field(default_factory=list, max_length=1, description="The control picture.")
    inits: list[Base64] = Field(default_factory=list, max_length=1, description="The initial picture.")
    input_type: int = Field(0, ge=0, le=2, description="1: the control picture is the initial picture too.")
    mask: Base64 | None = Field(None, description="White where the initial picture is repainted.")
    denoising_strength: Share = Field(0.3, description="With an initial picture.")
    width_before: int = Field(0, ge=0, le=16384, description="SD.Next's name of width here.")
    height_before: int = Field(0, ge=0, le=16384, description="Likewise.")


class ControlResponse(BaseModel):
    """Pictures, and what the preprocessors made."""

    images: list[str] = Field(description="Base64, with the infotext inside.")
    processed: list[str] = Field(description="Base64, PNG: the maps of units with a preprocessor.")
    params: dict[str, JsonValue] = Field(description="The request, with defaults filled in.")
    info: str = Field(description="JSON, as that of txt2img.")


class PreprocessBody(LenientBody):
    """A picture to preprocess."""

    image: Base64
    model: Name = Field(description="From /sdapi/v1/preprocessors.")
    params: dict[str, JsonValue] = Field({}, description="Its parameters.")


class PreprocessResponse(BaseModel):
    """The result."""

    model: str
    image: str = Field(description="Base64, PNG.")


class PreprocessorItem(BaseModel):
    """A preprocessor."""

    name: str
    group: str
    params: dict[str, JsonValue] = Field(description="Its parameters with their defaults.")


@router.get("/ip-adapters", operation_id="sdnext_ip_adapters", summary="List IP-Adapters")
async def ip_adapters(app_state: CurrentAppState) -> list[str]:
    """The names of the IP-Adapters in the model folders."""
    settings = app_state.service.settings
    folders = weights_folders(settings.home, settings.current_model_folders)
    models = await asyncio.to_thread(find_controls, folders)
    return [model.name for model in models if model.architecture.is_ip_adapter]


@router.get("/preprocessors", operation_id="sdnext_preprocessors", summary="List preprocessors")
async def preprocessors() -> list[PreprocessorItem]:
    """The preprocessors, with the defaults of their parameters."""
    return [
        PreprocessorItem(name=each.name, group=each.control_type, params=_defaults(each))
        for each in PREPROCESSORS.values()
    ]


@router.post(
    "/preprocess",
    operation_id="sdnext_preprocess",
    summary="Preprocess a picture",
    dependencies=CANCEL_ON_DISCONNECT,
)
async def preprocess_picture(
    body: PreprocessBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    judge: CurrentModerationService,
) -> PreprocessResponse:
    """What a preprocessor makes of a picture; both are judged. A preprocessor that fails is an error."""
    data = await decode_image(body.image, app_state)
    result = await preprocess(app_state, principal, judge, data, body.model, body.params, None)
    return PreprocessResponse(model=body.model, image=_encoded(result))


@router.post("/control", operation_id="sdnext_control", summary="Generate with control pictures")
async def control(
    body: ControlBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    client_state: CurrentClientState,
    client: CurrentClient,
    judge: CurrentModerationService,
) -> ControlResponse:
    """Generate from control pictures, and from an initial picture if one is given, and wait."""
    _check_type(body)
    chose, checkpoint = await resolve_options(body, app_state, principal, client_state)
    controls = [await _control(unit, body, app_state) for unit in body.control]
    controls += await ip_adapter_controls(body, app_state)
    await asyncio.to_thread(check_controls, controls, app_state.service.settings)
    init = body.inits[0] if body.inits else None
    if init is None and body.input_type == FROM_CONTROL and body.inputs:
        init = body.inputs[0]
    given = _given(body)
    if init is None:
        fields = txt2img_fields(Txt2ImgBody.model_validate(given), chose, checkpoint, ())
    else:
        own = {"init_images": [init], "denoising_strength": body.denoising_strength, "mask": body.mask}
        edit = Img2ImgBody.model_validate(given | own)
        fields = img2img_fields(edit, chose, checkpoint) | await image_fields(edit, app_state)
    if controls:
        fields["control"] = controls
    processed = [
        _encoded(
            await preprocess(
                app_state, principal, judge, each["image"], each["preprocessor"]["name"], {}, None
            )
        )
        for each in controls
        if "preprocessor" in each and "image" in each
    ]
    result = await generate_and_wait(
        body, fields, chose, checkpoint, app_state, principal, client_state, client
    )
    return ControlResponse(
        images=result.images, processed=processed, params=result.parameters, info=result.info
    )


def _check_type(body: ControlBody) -> None:
    if body.unit_type.casefold() not in UNIT_TYPES:
        raise UnsupportedFieldError(
            f"unit_type: {body.unit_type!r} is none of {', '.join(UNIT_TYPES)}.", field="unit_type"
        )


def _given(body: ControlBody) -> dict[str, Any]:
    """The fields that txt2img and img2img have too."""
    given = body.model_dump(exclude_unset=True, include=set(GenerationParameters.model_fields))
    sides = {"width": body.width_before, "height": body.height_before}
    return given | {name: side for name, side in sides.items() if side and name not in given}


async def _control(unit: ControlItem, body: ControlBody, app_state: AppState) -> dict[str, Any]:
    """The fields of a control."""
    fields: dict[str, Any] = {"weight": unit.strength, "start": unit.start, "end": unit.end}
    if body.unit_type.casefold() == "reference":
        return fields | {"kind": "reference"} | await _picture(unit, body, app_state)
    module, model = module_of(unit.process), bare_name(unit.model)
    if model:
        fields["model"] = model
    kinds = kinds_in(unit.process) if not kinds_in(model) else ()
    if kinds:
        fields["kind"] = kinds[0]
    if not model and not kinds:
        raise UnsupportedFieldError("control: a unit has no model.", field="control")
    if module is not None:
        fields["preprocessor"] = {"name": module.name}
    return fields | await _picture(unit, body, app_state)


async def _picture(unit: ControlItem, body: ControlBody, app_state: AppState) -> dict[str, bytes]:
    """The picture of a unit; empty where the initial picture takes its place."""
    encoded = unit.override or (body.inputs[0] if body.inputs else None)
    return {} if encoded is None else {"image": await decode_image(encoded, app_state)}


def _defaults(preprocessor: Preprocessor) -> dict[str, JsonValue]:
    schema: Mapping[str, Any] = preprocessor.parameters.model_json_schema().get("properties", {})
    return {name: field.get("default") for name, field in schema.items()}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
