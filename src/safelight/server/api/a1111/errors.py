"""The format of errors of A1111's API."""

from __future__ import annotations

from pydantic import BaseModel, Field

from safelight.errors import BodyInvalidError, FieldError, SafelightError


class A1111ErrorBody(BaseModel):
    """What A1111's API answers when it refuses or fails."""

    error: str = Field(description="The error's stable code.")
    detail: str = Field(description="What was wrong.")
    errors: str = Field(description="What would be right.")


def error_body(error: SafelightError, field: str | None = None) -> dict[str, object]:  # noqa: ARG001  named in the message
    """The body of an error response: code, message and hint under A1111's names."""
    code = (
        BodyInvalidError.code if isinstance(error, FieldError) else error.code
    )  # the message names the field
    return {"error": code, "detail": error.message, "errors": error.hint}
