"""``/v1/controls``: the networks that steer a generation, and the kinds of pictures that they take."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from safelight.generation.control.planning import has_reference
from safelight.generation.control.preprocessors import PREPROCESSORS
from safelight.models.checkpoints.discovery import STARTER
from safelight.models.controls.discovery import ControlModel, find_controls
from safelight.models.controls.kinds import KINDS, ControlKind
from safelight.models.controls.packaged import control_folders, is_packaged
from safelight.models.families import FAMILIES
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.controls import ControlKindView, ControlList, ControlModelView
from safelight.server.api.openapi_examples import CONTROL_LIST
from safelight.server.core.app_state import AppState, CurrentAppState

router = APIRouter(prefix="/v1", tags=["control"])


@router.get(
    "/controls",
    operation_id="list_controls",
    summary="List control networks",
    responses=error_responses() | example_response(CONTROL_LIST),
)
async def list_controls(app_state: CurrentAppState) -> ControlList:
    """The ControlNets and adapters of this machine, the checkpoints that each is for, and all kinds of pictures."""
    return await asyncio.to_thread(_list, app_state)


def _list(app_state: AppState) -> ControlList:
    settings = app_state.service.settings
    found = find_controls(control_folders(settings.home, settings.current_model_folders))
    return ControlList(controls=[_model(each) for each in found], kinds=[_kind(each) for each in KINDS])


def _model(model: ControlModel) -> ControlModelView:
    modes = list(model.architecture.modes(model.name))
    family = FAMILIES.get(model.family)
    return ControlModelView(
        name=model.name,
        title=model.architecture.title,
        family=model.family or None if family is None else family.key,
        family_title=model.family or None if family is None else family.title,
        checkpoint=STARTER if is_packaged(model.path) else None,
        kinds=modes or list(model.kinds),
        several=bool(modes),
    )


def _kind(kind: ControlKind) -> ControlKindView:
    makers = [each.name for each in PREPROCESSORS.values() if each.control_type == KINDS[kind].title]
    families = [each.key for each in FAMILIES.values() if kind == "reference" and has_reference(each)]
    return ControlKindView(name=kind, preprocessors=makers, families=families)
