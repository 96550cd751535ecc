"""``/controlnet/``: the operations of A1111's ControlNet extension."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from safelight.errors import BodyInvalidError
from safelight.generation.control.preprocessors import PREPROCESSORS, Preprocessor
from safelight.generation.control.units import (
    REFERENCE_MODULE,
    ip_adapter_modules,
    module_name,
    module_of,
    preprocessor_options,
)
from safelight.generation.request import MAX_CONTROLS
from safelight.models.controls.discovery import ControlModel, find_controls
from safelight.models.controls.kinds import KINDS
from safelight.models.controls.packaged import control_folders
from safelight.server.api.a1111.controlnet import control_types
from safelight.server.api.a1111.schemas import Base64, LenientBody
from safelight.server.api.preprocessing import preprocess
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import decode_image
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/controlnet", tags=["A1111"], route_class=JsonRoute)

VERSION = 3
"""Of the extension's API; clients check that it is at least 2."""
NONE = "none"


class VersionResponse(BaseModel):
    """Which version of the extension's API this is."""

    version: int


class ModelList(BaseModel):
    """Names of control networks."""

    model_list: list[str]


class Slider(BaseModel):
    """A parameter of a preprocessor."""

    name: str
    value: float
    min: float
    max: float
    step: float = 1


class ModuleDetail(BaseModel):
    """What a page has to know of a preprocessor."""

    model_free: bool = Field(description="Whether it is used without a control network; none is.")
    sliders: list[Slider]


class ModuleList(BaseModel):
    """Names of preprocessors."""

    module_list: list[str]
    module_detail: dict[str, ModuleDetail]


class ControlType(BaseModel):
    """What a page offers for a control type."""

    module_list: list[str]
    model_list: list[str]
    default_option: str
    default_model: str


class ControlTypes(BaseModel):
    """All control types by name."""

    control_types: dict[str, ControlType]


class ControlSettings(BaseModel):
    """The extension's settings."""

    control_net_unit_count: int


class DetectBody(LenientBody):
    """Pictures to preprocess."""

    controlnet_module: str = Field(NONE, max_length=500, description="From /controlnet/module_list.")
    controlnet_input_images: list[Base64] = Field(default_factory=list, max_length=16)
    controlnet_processor_res: int = 512
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1


class DetectResponse(BaseModel):
    """The results, in the order of the pictures."""

    images: list[str] = Field(description="Base64, PNG.")
    info: str


@router.get("/version", operation_id="controlnet_version", summary="Version of the ControlNet API")
async def version() -> VersionResponse:
    """The version of the extension's API that this is."""
    return VersionResponse(version=VERSION)


@router.get("/model_list", operation_id="controlnet_model_list", summary="List control networks")
async def model_list(
    app_state: CurrentAppState,
    update: bool = Query(True, description="Without effect: folders are always read again."),  # noqa: ARG001
) -> ModelList:
    """The names of the control networks in the model folders."""
    models = await asyncio.to_thread(_models, app_state)
    return ModelList(model_list=[model.name for model in models])


@router.get("/module_list", operation_id="controlnet_module_list", summary="List preprocessors")
async def module_list(
    alias_names: bool = Query(False, description="Return titles instead of names."),
) -> ModuleList:
    """The preprocessors by A1111's names, with their sliders."""
    modules: dict[str, Preprocessor | None] = dict.fromkeys((NONE, REFERENCE_MODULE, *ip_adapter_modules()))
    modules |= {(each.title if alias_names else module_name(each)): each for each in PREPROCESSORS.values()}
    return ModuleList(
        module_list=list(modules),
        module_detail={
            name: ModuleDetail(model_free=False, sliders=_sliders(module)) for name, module in modules.items()
        },
    )


@router.get("/control_types", operation_id="controlnet_control_types", summary="List control types")
async def list_control_types(app_state: CurrentAppState) -> ControlTypes:
    """The control types of the extension's page, each with its preprocessors and networks."""
    models = await asyncio.to_thread(_models, app_state)
    return ControlTypes(control_types={title: _control_type(title, models) for title in control_types()})


@router.get("/settings", operation_id="controlnet_settings", summary="Settings of the ControlNet API")
async def settings() -> ControlSettings:
    """How many units a request may have."""
    return ControlSettings(control_net_unit_count=MAX_CONTROLS)


@router.post(
    "/detect",
    operation_id="controlnet_detect",
    summary="Preprocess pictures",
    dependencies=CANCEL_ON_DISCONNECT,
)
async def detect(
    body: DetectBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    judge: CurrentModerationService,
) -> DetectResponse:
    """What a preprocessor makes of pictures; they and the results are judged. Nothing is stored."""
    module = module_of(body.controlnet_module)
    if module is None:
        raise BodyInvalidError("controlnet_module: give the name of a preprocessor.")
    if not body.controlnet_input_images:
        raise BodyInvalidError("controlnet_input_images: give a picture.")
    thresholds = body.controlnet_threshold_a, body.controlnet_threshold_b
    options = preprocessor_options(module, body.controlnet_processor_res, thresholds)
    images = []
    for encoded in body.controlnet_input_images:
        data = await decode_image(encoded, app_state)
        result = await preprocess(
            app_state,
            principal,
            judge,
            data,
            module.name,
            options.get("parameters", {}),
            options.get("resolution"),
        )
        images.append(base64.b64encode(result).decode("ascii"))
    return DetectResponse(images=images, info="Success")


def _models(app_state: AppState) -> list[ControlModel]:
    settings = app_state.service.settings
    return find_controls(control_folders(settings.home, settings.current_model_folders))


def _control_type(title: str, models: list[ControlModel]) -> ControlType:
    looking = ip_adapter_modules() if title in ("All", KINDS["ip-adapter"].title) else ()
    made = [module_name(each) for each in PREPROCESSORS.values() if title in ("All", each.control_type)]
    modules = [*looking, *made]
    kinds = [kind for kind, names in KINDS.items() if names.title == title]
    names = [model.name for model in models if title == "All" or any(model.has_kind(kind) for kind in kinds)]
    return ControlType(
        module_list=[NONE, *([REFERENCE_MODULE] if title in ("All", "Reference") else []), *modules],
        model_list=["None", *names],
        default_option=modules[0] if modules and title != "All" else NONE,
        default_model=names[0] if names and title != "All" else "None",
    )


def _sliders(module: Preprocessor | None) -> list[Slider]:
    if module is None:
        return []
    schema: Mapping[str, Any] = module.parameters.model_json_schema()["properties"]
    sliders = []
    for name in module.sliders:
        field = schema[name]
        whole = field.get("type") == "integer"
        sliders.append(
            Slider(
                name=field.get("title", name),
                value=field.get("default", 0),
                min=field.get("minimum", 0),
                max=field.get("maximum", 1),
                step=1 if whole else 0.01,
            )
        )
    return sliders
