"""Read request fields from Safelight's own formats: reproduction records and requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from safelight.generation.prompts.inversions import escape_required
from safelight.generation.prompts.unsupported import escape_unsupported
from safelight.generation.quality import DEFAULT_QUALITY
from safelight.generation.recall.field_builder import (
    IMAGE_NOT_IN_FILE,
    NESTED_FIELDS,
    NO_SUCH_FIELD,
    FieldBuilder,
)
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import DEFAULT_NOISE_SOURCE, Adapter, GenerationRequest
from safelight.images.fields import find_images, image_fields
from safelight.validation import first_problem

IMAGES = frozenset(image_fields(GenerationRequest))
_SEPARATE_FIELDS = frozenset(
    {
        "prompt",
        "negative_prompt",
        "adapters",
        "control",
        "references",
        "regions",
        "styles",
        "ignore_unsupported",
        "checkpoint",
        "sampler",
        "schedule",
    }
    | {*IMAGES, *NESTED_FIELDS}
)
"""Fields that are handled separately."""
_JOB_FIELDS = frozenset({"kind", "priority", "timeout"})


def set_fields_from_record(builder: FieldBuilder, record: ReproductionRecord) -> None:
    """Set the fields of a record, with the expanded prompts, so that the same image is generated again."""
    body = record.to_dict()
    fields = {name: body[name] for name in GenerationRequest.model_fields if body.get(name) is not None}
    fields.setdefault("quality", DEFAULT_QUALITY)
    fields.setdefault("noise_source", DEFAULT_NOISE_SOURCE)
    # Older versions treated unsupported parts as plain text, so they are escaped; newer records contain none.
    used = {each.name for each in record.embeddings}
    builder.set_prompts(
        escape_required(escape_unsupported(record.expanded_prompt, composes=record.composed), used),
        escape_required(escape_unsupported(record.expanded_negative_prompt), used),
        [each.adapter.model_dump() for each in record.adapters],
        {each.name: each.digest for each in record.adapters},
    )
    for embedding in record.embeddings:
        builder.check_embedding(embedding.name, embedding.digest)
    if record.prompt != record.expanded_prompt:
        reason = "The prompt is filled in as it was used, with styles and wildcards expanded."
        builder.add_unfilled("prompt as it was written", record.prompt, reason)
    builder.set_checkpoint(record.checkpoint.name, record.checkpoint.digest)
    later = {"hires": record.hires_checkpoint, "refiner": record.refiner_checkpoint}
    _set_fields(
        builder,
        fields,
        {name: ref.digest for name, ref in later.items() if ref is not None},
        [each.adapter.model_dump() for each in record.hires_adapters],
        {each.name: each.digest for each in record.hires_adapters},
    )
    for name in GenerationRequest.model_fields:
        if name in IMAGES and name in fields:
            builder.add_unfilled(name, f"sha256 of its pixels {fields[name]}", IMAGE_NOT_IN_FILE)
    for number, control in enumerate(record.control):
        digests = {"image": control.image, "mask": control.mask}
        builder.add_control(
            number, control.options() | {k: v and f"sha256 of its pixels {v}" for k, v in digests.items()}
        )
    for number, each in enumerate(record.references):
        name, pixels = f"references[{number}].image", f"sha256 of its pixels {each.image}"
        builder.add_unfilled(name, pixels, IMAGE_NOT_IN_FILE)
    for number, region in enumerate(record.regions):
        text = escape_required(escape_unsupported(region.expanded_prompt), used)
        builder.add_region(number, {"prompt": text, "weight": region.weight})
    for part in record.left_out:
        builder.add_unfilled("left out", part, "The picture was generated without it.")


def set_fields_from_request(builder: FieldBuilder, request: Mapping[str, Any]) -> None:
    """Set the fields of a request, or of a job's request."""
    named = _items(request.get("adapters"))
    adapters = [fields for each in named if (fields := _adapter(builder, each)) is not None]
    builder.set_prompts(request.get("prompt"), request.get("negative_prompt"), adapters)
    if request.get("styles"):
        builder.set_styles(request["styles"])
    builder.set_checkpoint(request.get("checkpoint"))
    second = request.get("hires")
    theirs = second.get("adapters") if isinstance(second, Mapping) else None
    own = [fields for each in _items(theirs) if (fields := _adapter(builder, each)) is not None]
    _set_fields(builder, request, hires_adapters=own)
    for number, control in enumerate(_items(request.get("control"))):
        if isinstance(control, Mapping):
            builder.add_control(number, {k: v for k, v in control.items() if k not in ("image", "mask")})
        else:
            builder.add_unfilled(f"control[{number}]", control, "It has fields of its own.")
    for number, region in enumerate(_items(request.get("regions"))):
        part = {k: v for k, v in region.items() if k != "mask"} if isinstance(region, Mapping) else region
        builder.add_region(number, part)
    for found in find_images(GenerationRequest, request):
        builder.add_unfilled(found.name, "", "Pictures are not taken from text: add it again.")
    for name in request.keys() - GenerationRequest.model_fields.keys() - _JOB_FIELDS:
        builder.add_unfilled(name, request[name], NO_SUCH_FIELD)


def _items(given: object) -> Sequence[object]:
    """The items of a list; a single value is its only item."""
    if isinstance(given, list | tuple):
        return given
    return [given] if given else []


def _adapter(builder: FieldBuilder, given: object) -> dict[str, Any] | None:
    """The fields of an adapter of a request; None, and recorded, if they are not valid."""
    try:
        return Adapter.model_validate(given).model_dump()
    except ValidationError as error:
        builder.add_unfilled("adapter", given, f"{first_problem(error)}.")
        return None


def _set_fields(
    builder: FieldBuilder,
    fields: Mapping[str, Any],
    digests: Mapping[str, str] = MappingProxyType({}),
    hires_adapters: Sequence[Mapping[str, Any]] = (),
    hashes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Set fields.

    Args:
        builder: Gets them.
        fields: The fields of a request.
        digests: The digests of later passes' checkpoints, by the part that names them.
        hires_adapters: The fields of the second pass's own adapters.
        hashes: Their hashes by name.
    """
    builder.set_sampler(fields.get("sampler"), fields.get("schedule"))
    for name in GenerationRequest.model_fields:
        if name in fields and name == "vae":
            builder.set_vae(fields[name])
        elif name in fields and name == "text_encoders":
            builder.set_text_encoders(fields[name])
        elif name in fields and name not in _SEPARATE_FIELDS:
            builder.set_field(name, fields[name])
    for name in NESTED_FIELDS:
        part = fields.get(name)
        named = part.get("checkpoint") if isinstance(part, Mapping) else None
        checkpoint = (named, digests.get(name)) if isinstance(named, str) else None
        if isinstance(part, Mapping) and name == "hires":
            builder.set_hires(part, hires_adapters, hashes, checkpoint)
        elif name == "refiner" and isinstance(part, Mapping) and checkpoint is not None:
            builder.set_refiner(part, checkpoint)
        elif isinstance(part, Mapping):
            builder.set_nested(name, part)
        elif part is not None:
            builder.add_unfilled(name, part, "It has fields of its own.")
