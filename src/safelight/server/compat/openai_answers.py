"""Answers of OpenAI's image routes, whole or as events."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from safelight.images import DecodeLimits
from safelight.jobs.result import DrawnPicture
from safelight.server.compat.openai_fields import Common, Drawing
from safelight.server.compat.openai_request import quality_of
from safelight.server.compat.results import Made, Outcome, left_out
from safelight.server.formats import in_format
from safelight.server.picture_cost import converting
from safelight.server.picture_threads import Cost

NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Tokens are not counted here; clients expect the field in events."""


class ImageItem(BaseModel):
    """One picture: its data or its address."""

    b64_json: str | None = None
    url: str | None = Field(None, description="Address in the gallery; it takes the same API key.")


class ImagesBody(BaseModel):
    """The pictures of a request."""

    created: int = Field(description="Seconds since 1970.")
    data: list[ImageItem] = Field(description="Pictures that the policy blocks are left out.")
    background: str = "opaque"
    output_format: str = "png"
    quality: str | None = None
    size: str
    safety_identifier: str | None = None
    checkpoint: str | None = Field(None, description="Ours: the checkpoint that generated the pictures.")
    blocked: int | None = Field(None, description="Ours: how many pictures the policy blocked, if any.")
    ignored_fields: list[str] | None = Field(
        None, description="Ours: fields and parts of the prompts (<lora:…>, AND) that had no effect, if any."
    )


def images_body(form: Common, outcome: Outcome, items: Sequence[ImageItem], checkpoint: str) -> ImagesBody:
    """The complete answer.

    Args:
        form: The body.
        outcome: The outcome of the job.
        items: Its images.
        checkpoint: The checkpoint that generated them.
    """
    drawing = form if isinstance(form, Drawing) else None
    return ImagesBody(
        created=int(outcome.job.created.timestamp()),
        data=list(items),
        output_format=drawing.kind if drawing else "png",
        quality=quality_of(drawing) if drawing else None,
        size=size_text(outcome.shown[0]),
        safety_identifier=drawing.safety if drawing else form.user,
        checkpoint=checkpoint,
        blocked=len(outcome.blocked) or None,
        ignored_fields=ignored(form, outcome) or None,
    )


def encoded(form: Common, data: bytes, limits: DecodeLimits) -> str:
    """Convert an image file to the requested format and encode it as base64."""
    if not isinstance(form, Drawing):
        return _base64(data)
    quality = 100 if form.output_compression is None else max(1, form.output_compression)
    return _base64(in_format(data, form.kind, limits, quality=quality))


def encoded_cost(form: Common, data: bytes, limits: DecodeLimits) -> Cost:
    """The cost of ``encoded`` with the same arguments."""
    return converting(data, form.kind, limits) if isinstance(form, Drawing) else Cost()


def partial_event(name: str, form: Drawing, number: int, picture: str) -> dict[str, Any]:
    """The event of a preview.

    Args:
        name: image_generation or image_edit.
        form: The body.
        number: Index of the preview, from 0.
        picture: Base64.
    """
    body = _event(f"{name}.partial_image", form, picture, form.size or "auto")
    return body | {"partial_image_index": number}


def ignored(form: Common, outcome: Outcome) -> list[str]:
    """Names of fields that are set and had no effect, and the unsupported parts of prompts."""
    fields = {"moderation": (None, "auto"), "style": (None,)}
    names = [name for name, idle in fields.items() if getattr(form, name, None) not in idle]
    return names + left_out(outcome)


def completed_event(
    name: str, form: Drawing, made: Made, picture: str, checkpoint: str, passed_over: Sequence[str] = ()
) -> dict[str, Any]:
    """The event of a finished image; see ``partial_event`` and ``images_body``."""
    body = _event(f"{name}.completed", form, picture, size_text(made.facts)) | {"checkpoint": checkpoint}
    body |= {"ignored_fields": list(passed_over)} if passed_over else {}
    return body | {"usage": NO_USAGE} | ({"safety_identifier": form.safety} if form.safety else {})


def size_text(facts: DrawnPicture) -> str:
    """Width and height of a picture."""
    return f"{facts.width}x{facts.height}"


def _event(kind: str, form: Drawing, picture: str, size: str) -> dict[str, Any]:
    return {
        "type": kind,
        "b64_json": picture,
        "background": "opaque",
        "created_at": int(time.time()),
        "output_format": form.kind,
        "quality": quality_of(form),
        "size": size,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
