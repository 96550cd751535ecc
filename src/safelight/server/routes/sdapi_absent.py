"""What A1111's and SD.Next's clients may ask for in vain: each gets the reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request

from safelight.errors import AbsentError

router = APIRouter(include_in_schema=False)

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "controlnet": "There is no ControlNet.",
        "promptgen": "Prompts are not made up.",
        "rembg": "Backgrounds are not removed.",
        "sam": "Pictures are not segmented.",
        "tagger": "Pictures are not tagged.",
        "model_keyword": "Checkpoints have no keywords.",
    }
)
"""Extensions of A1111 with paths of their own."""


@router.post("/sdapi/v1/interrogate")
async def interrogate() -> None:
    """There is no model that puts pictures into words.

    Raises:
        AbsentError: Always.
    """
    raise AbsentError("Pictures are not put into words: there is no model for it.")


async def extension(request: Request) -> None:
    """There are no extensions.

    Raises:
        AbsentError: Always.
    """
    raise AbsentError(EXTENSIONS[request.url.path.split("/")[1]])


for _name in EXTENSIONS:
    for _path in (f"/{_name}", f"/{_name}/{{rest:path}}"):
        router.add_api_route(_path, extension, methods=["GET", "POST"])
