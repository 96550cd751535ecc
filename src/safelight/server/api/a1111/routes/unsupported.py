"""A1111's operations that Safelight does not support: each answers with the reason.

Operations of A1111's extensions are not listed here: they are a 404, as where the extension is not installed, and
clients detect features in this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request

from safelight.errors import UnsupportedRouteError

router = APIRouter(prefix="/sdapi/v1", include_in_schema=False)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "interrogate": "Captioning is not supported: there is no model for it.",
        "create/embedding": "Textual inversions are not trained.",
        "create/hypernetwork": "Hypernetworks are not trained.",
        "train/embedding": "Textual inversions are not trained.",
        "train/hypernetwork": "Hypernetworks are not trained.",
    }
)
"""Unsupported operations of A1111 by their paths, with the reasons."""


async def raise_unsupported(request: Request) -> None:
    """Refuse the operation.

    Raises:
        UnsupportedRouteError: Always.
    """
    raise UnsupportedRouteError(UNSUPPORTED[request.url.path.partition("/sdapi/v1/")[2]])


for _path in UNSUPPORTED:
    router.add_api_route(f"/{_path}", raise_unsupported, methods=["POST"])
