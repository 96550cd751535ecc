"""From what a front door was given to a job's request, and back: pictures lie in the database as blobs."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy import Connection

from safelight.database import blobs
from safelight.errors import RequestError
from safelight.generation.request import GenerationRequest, Name, Part
from safelight.jobs.job import JobKind, JsonObject

PICTURES = ("init_image", "mask", "image", "images")
"""Fields of requests that hold pictures."""


class UpscaleRequest(Part):
    """What to enlarge, and how."""

    image: bytes
    by: float = Field(2.0, ge=1, le=8, allow_inf_nan=False, description="Factor on width and height.")
    upscaler: Name = Field("lanczos", description="Its name; safelight upscale lists them.")


class ScanRequest(Part):
    """What to judge."""

    images: tuple[bytes, ...] = Field(min_length=1, max_length=10_000)


REQUESTS: Mapping[JobKind, type[Part]] = {
    JobKind.GENERATE: GenerationRequest,
    JobKind.UPSCALE: UpscaleRequest,
    JobKind.SCAN: ScanRequest,
}


def checked(kind: JobKind, fields: Mapping[str, Any]) -> Part:
    """A request from loose values, with pictures as bytes.

    Raises:
        RequestError: A field is unknown, of the wrong type or out of range.
    """
    if kind is JobKind.GENERATE:
        return GenerationRequest.parse(**fields)
    try:
        return REQUESTS[kind](**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"{name}: {first['msg']}.") from error


def with_seed(request: GenerationRequest, key: str | None = None) -> GenerationRequest:
    """The request with its seed drawn, so that the job gives the same pictures however often it is begun.

    Args:
        request: What to draw.
        key: An idempotency key: the same one gives the same seed.
    """
    if request.seed is not None:
        return request
    lot = secrets.token_bytes(4) if key is None else hashlib.sha256(key.encode()).digest()[:4]
    return request.model_copy(update={"seed": int.from_bytes(lot, "big")})


def separated(request: Part) -> tuple[JsonObject, dict[str, bytes]]:
    """A request as JSON, with the names of its pictures in their place; and the pictures, by name."""
    fields = request.model_dump(exclude_unset=True, exclude=set(PICTURES))
    pictures: dict[str, bytes] = {}

    def named(data: bytes) -> dict[str, str]:
        digest = blobs.digest_of(data)
        pictures[digest] = data
        return {"blob": digest}

    for name in PICTURES:
        value = getattr(request, name, None)
        if isinstance(value, bytes):
            fields[name] = named(value)
        elif isinstance(value, tuple):
            fields[name] = [named(data) for data in value]
    loaded: JsonObject = json.loads(json.dumps(fields))
    return loaded, pictures


def restored(connection: Connection, kind: JobKind, request: JsonObject) -> Part:
    """The request that was ``separated``, with its pictures as bytes.

    Raises:
        BlobMissingError: A picture is gone.
    """
    fields: dict[str, Any] = dict(request)
    for name in PICTURES:
        value = fields.get(name)
        if isinstance(value, Mapping):
            fields[name] = blobs.get(connection, value["blob"])
        elif isinstance(value, list):
            fields[name] = tuple(blobs.get(connection, part["blob"]) for part in value)
    return checked(kind, fields)


def digests(request: JsonObject) -> Iterable[str]:
    """The blobs that a stored request needs."""
    for name in PICTURES:
        value = request.get(name)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping) and isinstance(part.get("blob"), str):
                yield str(part["blob"])


def single(request: GenerationRequest, index: int) -> GenerationRequest:
    """Picture `index` of a request, as a request of its own; it gives the same picture."""
    assert request.seed is not None
    variation = request.variation
    if variation is not None:
        variation = variation.of(index)
    seed = request.seed + request.counted(index)
    return request.model_copy(update={"seed": seed, "count": 1, "variation": variation})
