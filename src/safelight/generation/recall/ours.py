"""Read request fields from Safelight's own formats: reproduction records and requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.generation.prompts.unsupported import as_words
from safelight.generation.recall.filling import ADAPTERS, NO_FIELD, NOT_HELD, PARTS, Filling
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.images.fields import find_images, image_fields

IMAGES = frozenset(image_fields(GenerationRequest))
_APART = frozenset(
    {"prompt", "negative_prompt", "styles", "ignore_unsupported", "checkpoint", "sampler", "schedule"}
    | {*IMAGES, *PARTS}
)
"""Fields that are handled separately."""
_ABOUT_THE_JOB = frozenset({"kind", "priority", "timeout"})


def fill_from_record(filling: Filling, record: ReproductionRecord) -> None:
    """Set the fields of a record, with the expanded prompts, so that the same image is generated again."""
    body = record.to_dict()
    fields = {name: body[name] for name in GenerationRequest.model_fields if body.get(name) is not None}
    # Older versions treated unsupported parts as plain text, so they are escaped; newer records contain none.
    filling.put_prompts(as_words(record.expanded_prompt), as_words(record.expanded_negative_prompt))
    if record.prompt != record.expanded_prompt:
        reason = "The prompt is filled in as it was used, with styles and wildcards expanded."
        filling.leave("prompt as it was written", record.prompt, reason)
    filling.put_checkpoint(record.checkpoint.name, record.checkpoint.digest)
    _put_most(filling, fields)
    for name in GenerationRequest.model_fields:
        if name in IMAGES and name in fields:
            filling.leave(name, f"sha256 of its pixels {fields[name]}", NOT_HELD)
    for part in record.left_out:
        filling.leave("left out", part, "The picture was generated without it.")
    for adapter in record.adapters:
        filling.leave("adapter", f"{adapter.name} at {adapter.weight:g}", ADAPTERS)


def fill_from_request(filling: Filling, request: Mapping[str, Any]) -> None:
    """Set the fields of a request, or of a job's request."""
    filling.put_prompts(request.get("prompt"), request.get("negative_prompt"))
    if request.get("styles"):
        filling.put_styles(request["styles"])
    filling.put_checkpoint(request.get("checkpoint"))
    _put_most(filling, request)
    for found in find_images(GenerationRequest, request):
        filling.leave(found.name, "", "Pictures are not taken from text: add it again.")
    for name in request.keys() - GenerationRequest.model_fields.keys() - _ABOUT_THE_JOB:
        filling.leave(name, request[name], NO_FIELD)


def _put_most(filling: Filling, fields: Mapping[str, Any]) -> None:
    filling.put_sampler(fields.get("sampler"), fields.get("schedule"))
    for name in GenerationRequest.model_fields:
        if name in fields and name not in _APART:
            filling.put(name, fields[name])
    for name in PARTS:
        part = fields.get(name)
        if isinstance(part, Mapping) and name == "hires":
            filling.put_hires(part)
        elif isinstance(part, Mapping):
            filling.put_part(name, part)
        elif part is not None:
            filling.leave(name, part, "It has fields of its own.")
