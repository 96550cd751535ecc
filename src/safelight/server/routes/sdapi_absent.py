"""What A1111 itself has and Safelight has not: each gets the reason.

What only extensions of A1111 have is not here: it is a 404, as where the extension is not installed, and clients find
out in this way what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request

from safelight.errors import AbsentError

router = APIRouter(prefix="/sdapi/v1", include_in_schema=False)

ABSENT: Mapping[str, str] = MappingProxyType(
    {
        "interrogate": "Pictures are not put into words: there is no model for it.",
        "create/embedding": "Textual inversions are not trained.",
        "create/hypernetwork": "Hypernetworks are not trained.",
        "train/embedding": "Textual inversions are not trained.",
        "train/hypernetwork": "Hypernetworks are not trained.",
    }
)
"""Operations of A1111 by their paths, with the reasons why they are not done."""


async def absent(request: Request) -> None:
    """There is nothing behind this.

    Raises:
        AbsentError: Always.
    """
    raise AbsentError(ABSENT[request.url.path.partition("/sdapi/v1/")[2]])


for _path in ABSENT:
    router.add_api_route(f"/{_path}", absent, methods=["POST"])
