"""Conversion of a job's request to JSON for storage, with references to blobs in place of images, and back."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from sqlalchemy import Connection

from safelight.database import blobs
from safelight.errors import field_error
from safelight.generation.control.preprocessors.resolution import MAX_RESOLUTION, MIN_RESOLUTION
from safelight.generation.request import MAX_UPSCALE, GenerationRequest, Name, RequestPart
from safelight.images.fields import FoundImage, ImageField, replace_images
from safelight.jobs.job import JsonObject
from safelight.jobs.task import TASKS
from safelight.validation import first_problem

JudgedImage = Annotated[bytes, ImageField()]
ParameterValue = StrictBool | StrictInt | StrictFloat | StrictStr
"""A value of a preprocessor's parameter."""
MAX_PARAMETERS = 100


class UpscaleRequest(RequestPart):
    """A picture to upscale."""

    image: JudgedImage
    by: float = Field(
        2.0, ge=1, le=MAX_UPSCALE, allow_inf_nan=False, description="Factor on width and height."
    )
    upscaler: Name = Field("lanczos", description="Its name; GET /v1/models?kind=upscaler lists them.")


class PreprocessRequest(RequestPart):
    """A picture, and what is to be made of it to steer a generation."""

    image: JudgedImage
    preprocessor: Name = Field(description="Its name, or an alias; GET /v1/preprocessors lists them.")
    parameters: dict[Name, ParameterValue] = Field(
        {}, max_length=MAX_PARAMETERS, description="By name; those that are not given have their defaults."
    )
    resolution: int | None = Field(
        None,
        ge=MIN_RESOLUTION,
        le=MAX_RESOLUTION,
        description="The result's shorter side, in pixels; null: as large as the picture.",
    )


class ScanRequest(RequestPart):
    """Pictures to judge."""

    images: tuple[JudgedImage, ...] = Field(min_length=1, max_length=10_000)


def parse_request(kind: str, fields: Mapping[str, Any]) -> RequestPart:
    """Make a request from untyped values, with pictures as bytes.

    Raises:
        RequestError: A field is unknown, of the wrong type or out of range.
        JobKindUnknownError: There is no such job kind.
    """
    model = TASKS[kind].request
    if issubclass(model, GenerationRequest):
        return model.parse(**fields)
    try:
        request: RequestPart = model(**fields)
    except ValidationError as error:
        problem = first_problem(error)
        raise field_error(problem, f"{problem}.") from error
    return request


def with_seed(request: GenerationRequest, key: str | None = None) -> GenerationRequest:
    """The request with a seed, random if it has none, so that each attempt of the job gives the same pictures.

    Args:
        request: What to generate.
        key: An idempotency key; the same key always gives the same seed.
    """
    if request.seed is not None:
        return request
    seed = secrets.token_bytes(4) if key is None else hashlib.sha256(key.encode()).digest()[:4]
    return request.model_copy(update={"seed": int.from_bytes(seed, "big")})


def store_request(request: RequestPart) -> tuple[JsonObject, dict[str, bytes]]:
    """A request as JSON, with ``{"blob": digest}`` in place of each image, and the images by digest."""
    images: dict[str, bytes] = {}

    def reference(found: FoundImage) -> dict[str, str]:
        digest = blobs.digest_of(found.value)
        images[digest] = found.value
        return {"blob": digest}

    fields = replace_images(type(request), request.model_dump(exclude_unset=True), reference)
    loaded: JsonObject = json.loads(json.dumps(fields))
    return loaded, images


def load_request(connection: Connection, kind: str, request: JsonObject) -> RequestPart:
    """The request that ``store_request`` converted, with its images as bytes.

    Raises:
        BlobMissingError: An image has been deleted.
    """
    model = TASKS[kind].request
    return parse_request(
        kind, replace_images(model, request, lambda found: blobs.get(connection, found.value["blob"]))
    )


def blob_digests(request: JsonValue) -> Iterator[str]:
    """The digests of the blobs in a stored request; no other object in it has the key ``blob``."""
    if isinstance(request, dict):
        if isinstance(digest := request.get("blob"), str):
            yield digest
        for value in request.values():
            yield from blob_digests(value)
    elif isinstance(request, list):
        for value in request:
            yield from blob_digests(value)
