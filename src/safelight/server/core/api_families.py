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
    KeyInvalidError,
    LimitError,
    SafelightError,
    UnsupportedFieldError,
)


class ApiFamily(StrEnum):
    """The API that a path belongs to."""

    NATIVE = "safelight"
    OPENAI = "openai"
    A1111 = "a1111"


_PREFIXES = (
    ("/v1/images/", ApiFamily.OPENAI),
    ("/v1/moderations", ApiFamily.OPENAI),
    ("/sdapi/", ApiFamily.A1111),
    ("/internal/", ApiFamily.A1111),
)
_OPENAI_CODES: Mapping[type[SafelightError], str] = {
    CheckpointMissingError: "model_not_found",
    ClassifierUnknownError: "model_not_found",
    BlockedError: "moderation_blocked",
    KeyInvalidError: "invalid_api_key",
}


def api_family_of(path: str) -> ApiFamily:
    """The API family of a path; the native one if no prefix of another matches."""
    return next((family for prefix, family in _PREFIXES if path.startswith(prefix)), ApiFamily.NATIVE)


class NativeError(BaseModel):
    """An error of the catalogue."""

    code: str = Field(description="Stable: programs may rely on it.", examples=["job.missing"])
    message: str = Field(description="What was wrong with this very request.")
    hint: str | None = Field(None, description="What would be right.")


class NativeErrorBody(BaseModel):
    """What our own API answers when it refuses or fails."""

    error: NativeError


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


ERROR_BODIES: Mapping[ApiFamily, type[BaseModel]] = {
    ApiFamily.NATIVE: NativeErrorBody,
    ApiFamily.OPENAI: OpenAIErrorBody,
    ApiFamily.A1111: A1111ErrorBody,
}


def error_responses(api_family: ApiFamily) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` argument that documents a family's errors in OpenAPI."""
    return {"default": {"model": ERROR_BODIES[api_family], "description": "Refused or failed."}}


def http_status(error: SafelightError, api_family: ApiFamily) -> int:
    """The HTTP status of an error: the catalogue's, except where OpenAI's clients expect 400."""
    if api_family is ApiFamily.OPENAI and (isinstance(error, BlockedError) or error.http_status == 422):
        return 400
    return error.http_status


def error_body(error: SafelightError, api_family: ApiFamily, field: str | None = None) -> dict[str, object]:
    """The body of an error response in the format of an API family.

    Args:
        error: The error.
        api_family: The API family.
        field: The name of the invalid field, if the error is about one.
    """
    if api_family is ApiFamily.A1111:
        return {"error": error.code, "detail": error.message, "errors": error.hint}
    if api_family is ApiFamily.OPENAI:
        if field is None and isinstance(error, UnsupportedFieldError):
            field = error.field or None
        code = next((code for kind, code in _OPENAI_CODES.items() if isinstance(error, kind)), error.code)
        message = f"{error.message} {error.hint}".strip()
        return {"error": {"message": message, "type": _openai_type(error), "param": field, "code": code}}
    return {"error": error.to_dict()}


def _openai_type(error: SafelightError) -> str:
    if isinstance(error, LimitError):
        return "rate_limit_error"
    if isinstance(error, DeniedError):
        return "authentication_error" if error.http_status == 401 else "permission_error"
    return "server_error" if error.http_status >= 500 else "invalid_request_error"
