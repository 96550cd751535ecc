"""``/v1/models`` and other names that requests take: samplers, schedules, styles."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from safelight.errors import ModelMissingError, PromptError
from safelight.generation.prompts.styles import load_styles
from safelight.generation.sampler_table import SAMPLERS, Kind
from safelight.server.compat.openai_models import openais_own
from safelight.server.listing import models
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import MODEL, MODELS, SAMPLER_LIST, SCHEDULES, STYLES
from safelight.server.schemas.models import (
    Model,
    ModelList,
    SamplerList,
    SamplerView,
    ScheduleList,
    ScheduleView,
    StyleList,
    StyleView,
)
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/v1", tags=["models"])
KindName = Annotated[Kind | None, Query(description="Only those that fit checkpoints of this kind.")]


@router.get("/models", operation_id="list_models", summary="List models", responses=errors() | shown(MODELS))
async def list_models(
    behind: Behind,
    kind: Annotated[
        Literal["checkpoint", "classifier", "upscaler"] | None, Query(description="Only models of this kind.")
    ] = None,
) -> ModelList:
    """Checkpoints, classifiers and upscalers. OpenAI's clients read it too."""
    found = await asyncio.to_thread(_models, behind)
    return ModelList(data=[model for model in found if kind in (None, model.kind)])


@router.get(
    "/models/{name:path}",
    operation_id="get_model",
    summary="Get a model",
    responses=errors(ModelMissingError) | shown(MODEL),
)
async def get_model(
    name: Annotated[str, Path(max_length=300, description="Its id; it may contain slashes.")],
    behind: Behind,
) -> Model:
    """A model by its id; OpenAI's own names mean the server's default checkpoint or classifier."""
    found, kind = await asyncio.to_thread(_models, behind), openais_own(name)
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
    responses=errors() | shown(SAMPLER_LIST),
)
async def list_samplers(kind: KindName = None) -> SamplerList:
    """The samplers, with the sigma schedules they support."""
    rows = [sampler.to_dict() for sampler in SAMPLERS if kind is None or kind in sampler.kinds]
    return SamplerList(samplers=[SamplerView.model_validate(row) for row in rows])


@router.get(
    "/schedules",
    operation_id="list_schedules",
    summary="List sigma schedules",
    responses=errors() | shown(SCHEDULES),
)
async def list_schedules(kind: KindName = None) -> ScheduleList:
    """The sigma schedules, and the kinds of checkpoints that each fits."""
    fitting: dict[str, set[Kind]] = {}
    for sampler in SAMPLERS:
        for name in sampler.schedules:
            fitting.setdefault(name, set()).update(sampler.kinds)
    rows = [ScheduleView(name=name, kinds=sorted(kinds)) for name, kinds in fitting.items()]
    return ScheduleList(schedules=[row for row in rows if kind is None or kind in row.kinds])


@router.get(
    "/styles",
    operation_id="list_styles",
    summary="List prompt styles",
    responses=errors(PromptError) | shown(STYLES),
)
async def list_styles(behind: Behind) -> StyleList:
    """Named texts that are put around a prompt."""
    found = await asyncio.to_thread(load_styles, behind.service.settings.home / "styles")
    return StyleList(styles=[StyleView.model_validate(style) for style in found.values()])


def _models(behind: Backstage) -> list[Model]:
    return models(behind.service.settings, behind.service.workers())
