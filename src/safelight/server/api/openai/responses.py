"""Answers of OpenAI's image routes, whole or as events."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from safelight.images import DecodeLimits
from safelight.jobs.result import GeneratedImage
from safelight.server.api.openai.requests import quality_of
from safelight.server.api.openai.schemas import CommonFields, GenerationFields
from safelight.server.api.outcomes import JobOutcome, OutputImage, unsupported_parts
from safelight.server.core.content_negotiation import convert_image
from safelight.server.core.executors.image_cost import convert_cost
from safelight.server.core.executors.image_executor import ImageCost

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


class ImagesResponse(BaseModel):
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


def images_response(
    form: CommonFields, outcome: JobOutcome, items: Sequence[ImageItem], checkpoint: str
) -> ImagesResponse:
    """The complete answer.

    Args:
        form: The body.
        outcome: The outcome of the job.
        items: Its images.
        checkpoint: The checkpoint that generated them.
    """
    drawing = form if isinstance(form, GenerationFields) else None
    return ImagesResponse(
        created=int(outcome.job.created.timestamp()),
        data=list(items),
        output_format=drawing.file_format if drawing else "png",
        quality=quality_of(drawing) if drawing else None,
        size=size_text(outcome.visible[0]),
        safety_identifier=drawing.returned_identifier if drawing else form.user,
        checkpoint=checkpoint,
        blocked=len(outcome.blocked) or None,
        ignored_fields=ignored_fields(form, outcome) or None,
    )


def encode_image(form: CommonFields, data: bytes, limits: DecodeLimits) -> str:
    """Convert an image file to the requested format and encode it as base64."""
    if not isinstance(form, GenerationFields):
        return _base64(data)
    quality = 100 if form.output_compression is None else max(1, form.output_compression)
    return _base64(convert_image(data, form.file_format, limits, quality=quality))


def encode_cost(form: CommonFields, data: bytes, limits: DecodeLimits) -> ImageCost:
    """The cost of ``encode_image`` with the same arguments."""
    return convert_cost(data, form.file_format, limits) if isinstance(form, GenerationFields) else ImageCost()


def partial_event(name: str, form: GenerationFields, number: int, image: str) -> dict[str, Any]:
    """The event of a preview.

    Args:
        name: image_generation or image_edit.
        form: The body.
        number: Index of the preview, from 0.
        image: Base64.
    """
    body = _event(f"{name}.partial_image", form, image, form.size or "auto")
    return body | {"partial_image_index": number}


def ignored_fields(form: CommonFields, outcome: JobOutcome) -> list[str]:
    """Names of fields that are set and had no effect, and the unsupported parts of prompts."""
    fields = {"moderation": (None, "auto"), "style": (None,)}
    names = [name for name, idle in fields.items() if getattr(form, name, None) not in idle]
    return names + unsupported_parts(outcome)


def completed_event(
    name: str,
    form: GenerationFields,
    image: OutputImage,
    encoded: str,
    checkpoint: str,
    ignored: Sequence[str] = (),
) -> dict[str, Any]:
    """The event of a finished image; see ``partial_event`` and ``images_response``."""
    body = _event(f"{name}.completed", form, encoded, size_text(image.metadata)) | {"checkpoint": checkpoint}
    body |= {"ignored_fields": list(ignored)} if ignored else {}
    return (
        body
        | {"usage": NO_USAGE}
        | ({"safety_identifier": form.returned_identifier} if form.returned_identifier else {})
    )


def size_text(metadata: GeneratedImage) -> str:
    """Width and height of a picture."""
    return f"{metadata.width}x{metadata.height}"


def _event(event_type: str, form: GenerationFields, image: str, size: str) -> dict[str, Any]:
    return {
        "type": event_type,
        "b64_json": image,
        "background": "opaque",
        "created_at": int(time.time()),
        "output_format": form.file_format,
        "quality": quality_of(form),
        "size": size,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
