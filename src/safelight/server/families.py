"""The three API families and the format of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from safelight.errors import (
    BlockedError,
    CheckpointMissingError,
    ClassifierUnknownError,
    DeniedError,
    FieldError,
    KeyInvalidError,
    LimitedError,
    SafelightError,
)


class Family(StrEnum):
    """The API that a path belongs to."""

    OURS = "safelight"
    OPENAI = "openai"
    A1111 = "a1111"


_PREFIXES = (
    ("/v1/images/", Family.OPENAI),
    ("/v1/moderations", Family.OPENAI),
    ("/sdapi/", Family.A1111),
    ("/internal/", Family.A1111),
)
_OPENAI_CODES: Mapping[type[SafelightError], str] = {
    CheckpointMissingError: "model_not_found",
    ClassifierUnknownError: "model_not_found",
    BlockedError: "moderation_blocked",
    KeyInvalidError: "invalid_api_key",
}


def family_of(path: str) -> Family:
    """The API family of a path; the native one if no prefix of another matches."""
    return next((family for prefix, family in _PREFIXES if path.startswith(prefix)), Family.OURS)


class OurError(BaseModel):
    """An error of the catalogue."""

    code: str = Field(description="Stable: programs may rely on it.", examples=["job.missing"])
    message: str = Field(description="What was wrong with this very request.")
    hint: str | None = Field(None, description="What would be right.")


class OurErrorBody(BaseModel):
    """What our own API answers when it refuses or fails."""

    error: OurError


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(BaseModel):
    """What OpenAI's API answers when it refuses or fails."""

    error: OpenAIError


class A1111ErrorBody(BaseModel):
    """What A1111's API answers when it refuses or fails."""

    error: str = Field(description="The error's stable code.")
    detail: str = Field(description="What was wrong.")
    errors: str = Field(description="What would be right.")


ERROR_BODIES: Mapping[Family, type[BaseModel]] = {
    Family.OURS: OurErrorBody,
    Family.OPENAI: OpenAIErrorBody,
    Family.A1111: A1111ErrorBody,
}


def error_responses(family: Family) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` argument that documents a family's errors in OpenAPI."""
    return {"default": {"model": ERROR_BODIES[family], "description": "Refused or failed."}}


def status_of(error: SafelightError, family: Family) -> int:
    """The HTTP status of an error: the catalogue's, except where OpenAI's clients expect 400."""
    if family is Family.OPENAI and (isinstance(error, BlockedError) or error.http_status == 422):
        return 400
    return error.http_status


def body_of(error: SafelightError, family: Family, field: str | None = None) -> dict[str, object]:
    """The body of an error response in the format of an API family.

    Args:
        error: The error.
        family: The API family.
        field: The name of the invalid field, if the error is about one.
    """
    if family is Family.A1111:
        return {"error": error.code, "detail": error.message, "errors": error.hint}
    if family is Family.OPENAI:
        if field is None and isinstance(error, FieldError):
            field = error.field or None
        code = next((code for kind, code in _OPENAI_CODES.items() if isinstance(error, kind)), error.code)
        message = f"{error.message} {error.hint}".strip()
        return {"error": {"message": message, "type": _openai_type(error), "param": field, "code": code}}
    return {"error": error.to_dict()}


def _openai_type(error: SafelightError) -> str:
    if isinstance(error, LimitedError):
        return "rate_limit_error"
    if isinstance(error, DeniedError):
        return "authentication_error" if error.http_status == 401 else "permission_error"
    return "server_error" if error.http_status >= 500 else "invalid_request_error"
