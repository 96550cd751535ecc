"""The format of errors of our own API."""

from __future__ import annotations

from pydantic import BaseModel, Field

from safelight.errors import SafelightError


class NativeError(BaseModel):
    """An error of the catalogue."""

    code: str = Field(description="Stable: programs may rely on it.", examples=["job.missing"])
    message: str = Field(description="What was wrong with this very request.")
    hint: str | None = Field(None, description="What would be right.")


class NativeErrorBody(BaseModel):
    """What our own API answers when it refuses or fails."""

    error: NativeError


def error_body(error: SafelightError, field: str | None = None) -> dict[str, object]:  # noqa: ARG001  named in the message
    """The body of an error response: code, message and hint."""
    return {"error": error.to_dict()}
