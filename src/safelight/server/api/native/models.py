"""``/v1/models`` and other names that requests take: samplers, schedules, styles."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from safelight.errors import ModelMissingError, PromptError
from safelight.generation.prompts.styles import load_styles
from safelight.generation.solvers.registry import SAMPLERS, PredictionProcess
from safelight.server.api.native.catalog import build_catalog
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.models import (
    Model,
    ModelList,
    SamplerList,
    SamplerView,
    ScheduleList,
    ScheduleView,
    StyleList,
    StyleView,
)
from safelight.server.api.openai_model_names import openai_model_kind
from safelight.server.api.openapi_examples import MODEL, MODELS, SAMPLER_LIST, SCHEDULES, STYLES
from safelight.server.core.app_state import AppState, CurrentAppState

router = APIRouter(prefix="/v1", tags=["models"])
KindFilter = Annotated[
    PredictionProcess | None, Query(description="Only those that fit checkpoints of this kind.")
]


@router.get(
    "/models",
    operation_id="list_models",
    summary="List models",
    responses=error_responses() | example_response(MODELS),
)
async def list_models(
    app_state: CurrentAppState,
    kind: Annotated[
        Literal["checkpoint", "classifier", "upscaler"] | None, Query(description="Only models of this kind.")
    ] = None,
) -> ModelList:
    """Checkpoints, classifiers and upscalers. OpenAI's clients read it too."""
    found = await asyncio.to_thread(_list_models, app_state)
    return ModelList(data=[model for model in found if kind in (None, model.kind)])


@router.get(
    "/models/{name:path}",
    operation_id="get_model",
    summary="Get a model",
    responses=error_responses(ModelMissingError) | example_response(MODEL),
)
async def get_model(
    name: Annotated[str, Path(max_length=300, description="Its id; it may contain slashes.")],
    app_state: CurrentAppState,
) -> Model:
    """A model by its id; OpenAI's own names mean the server's default checkpoint or classifier."""
    found, kind = await asyncio.to_thread(_list_models, app_state), openai_model_kind(name)
    for model in found:
        if model.id == name:
            return model
    for model in found:
        if model.default and model.kind == kind:
            return model
    raise ModelMissingError(f"There is no model {name!r} on this server.")


@router.get(
    "/samplers",
    operation_id="list_samplers",
    summary="List samplers",
    responses=error_responses() | example_response(SAMPLER_LIST),
)
async def list_samplers(kind: KindFilter = None) -> SamplerList:
    """The samplers, with the sigma schedules they support."""
    rows = [
        sampler.to_dict()
        for sampler in SAMPLERS.values()
        if kind is None or kind in sampler.prediction_processes
    ]
    return SamplerList(samplers=[SamplerView.model_validate(row) for row in rows])


@router.get(
    "/schedules",
    operation_id="list_schedules",
    summary="List sigma schedules",
    responses=error_responses() | example_response(SCHEDULES),
)
async def list_schedules(kind: KindFilter = None) -> ScheduleList:
    """The sigma schedules, and the kinds of checkpoints that each fits."""
    fitting: dict[str, set[PredictionProcess]] = {}
    for sampler in SAMPLERS.values():
        for name in sampler.schedules:
            fitting.setdefault(name, set()).update(sampler.prediction_processes)
    rows = [ScheduleView(name=name, kinds=sorted(kinds)) for name, kinds in fitting.items()]
    return ScheduleList(schedules=[row for row in rows if kind is None or kind in row.kinds])


@router.get(
    "/styles",
    operation_id="list_styles",
    summary="List prompt styles",
    responses=error_responses(PromptError) | example_response(STYLES),
)
async def list_styles(app_state: CurrentAppState) -> StyleList:
    """Named texts that are put around a prompt."""
    found = await asyncio.to_thread(load_styles, app_state.service.settings.home / "styles")
    return StyleList(styles=[StyleView.model_validate(style) for style in found.values()])


def _list_models(app_state: AppState) -> list[Model]:
    return build_catalog(app_state.service.settings, app_state.service.workers())
