"""``/v1/adapters``: the LoRAs, other adapters and textual inversions that requests and prompts can name."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import get_args

from fastapi import APIRouter

from safelight.models.adapters.adapter_names import AdapterKind
from safelight.server.api.adapter_lists import ListedAdapter, listed_adapters
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.adapters import AdapterList, AdapterView
from safelight.server.api.openapi_examples import ADAPTERS
from safelight.server.core.app_state import CurrentAppState

router = APIRouter(prefix="/v1", tags=["models"])


@router.get(
    "/adapters",
    operation_id="list_adapters",
    summary="List adapters",
    responses=error_responses() | example_response(ADAPTERS),
)
async def list_adapters(app_state: CurrentAppState) -> AdapterList:
    """What changes networks or their vocabulary.

    LoRAs and the like are named in a request's ``adapters`` or in its prompt, textual inversions in both prompts.
    """
    settings, kinds = app_state.service.settings, get_args(AdapterKind)
    found = [await asyncio.to_thread(listed_adapters, settings, kind) for kind in kinds]
    return AdapterList(adapters=[_view(each) for each in chain.from_iterable(found)])


def _view(adapter: ListedAdapter) -> AdapterView:
    named, file, description = adapter.named, adapter.file, adapter.description
    return AdapterView(
        name=named.name,
        place=named.place,
        alias=named.alias,
        kind=adapter.kind,
        family=file.found.family or None,
        types=list(description.kinds),
        rank=description.rank,
        trigger_words=list(file.trigger_words),
        size=file.size,
        digest=adapter.digest,
        metadata=dict(adapter.metadata),
    )
