"""The format of errors of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from safelight.errors import (
    BlockedError,
    BodyInvalidError,
    CheckpointMissingError,
    ClassifierUnknownError,
    DeniedError,
    FieldError,
    KeyInvalidError,
    LimitError,
    SafelightError,
    UnsupportedFieldError,
)

_CODES: Mapping[type[SafelightError], str] = {
    CheckpointMissingError: "model_not_found",
    ClassifierUnknownError: "model_not_found",
    BlockedError: "moderation_blocked",
    KeyInvalidError: "invalid_api_key",
    FieldError: BodyInvalidError.code,
}


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(BaseModel):
    """What OpenAI's API answers when it refuses or fails."""

    error: OpenAIError


def http_status(error: SafelightError) -> int:
    """The catalogue's status, except where OpenAI's clients expect 400."""
    return 400 if isinstance(error, BlockedError) or error.http_status == 422 else error.http_status


def error_body(error: SafelightError, field: str | None = None) -> dict[str, object]:
    """The body of an error response, with OpenAI's own codes where it has them.

    Args:
        error: The error.
        field: The name of the invalid field, if the error is about one.
    """
    if field is None and isinstance(error, UnsupportedFieldError):
        field = error.field or None
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), error.code)
    message = f"{error.message} {error.hint}".strip()
    return {"error": {"message": message, "type": _type(error), "param": field, "code": code}}


def _type(error: SafelightError) -> str:
    if isinstance(error, LimitError):
        return "rate_limit_error"
    if isinstance(error, DeniedError):
        return "authentication_error" if error.http_status == 401 else "permission_error"
    return "server_error" if error.http_status >= 500 else "invalid_request_error"
