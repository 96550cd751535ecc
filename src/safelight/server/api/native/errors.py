"""The format of errors of our own API."""

from __future__ import annotations

from pydantic import BaseModel, Field, JsonValue

from safelight.errors import BodyInvalidError, SafelightError


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(
        description="Its path with dots, such as hires.scale; empty for the request as a whole."
    )
    code: str
    message: str
    context: dict[str, JsonValue] = {}


class NativeError(BaseModel):
    """An error of the catalogue."""

    code: str = Field(description="Stable: programs may rely on it.", examples=["job.missing"])
    message: str = Field(description="What was wrong with this very request.")
    hint: str | None = Field(None, description="What would be right.")
    field: str | None = Field(
        None, description="The request's field that is wrong: its path with dots, such as hires.scale."
    )
    context: dict[str, JsonValue] | None = Field(
        None, description="Values for a message of one's own, such as the range of the field: docs/errors.md."
    )
    problems: list[FieldProblem] | None = Field(
        None,
        description="Every field that is wrong, where several are; the first one is also in the other fields.",
    )


class NativeErrorBody(BaseModel):
    """What our own API answers when it refuses or fails."""

    error: NativeError


def error_body(error: SafelightError, field: str | None = None) -> dict[str, object]:  # noqa: ARG001  named in the message
    """The body of an error response: code, message, hint, field and context."""
    problems = list(error.problems) if isinstance(error, BodyInvalidError) else []
    return {"error": error.to_dict() | ({"problems": problems} if len(problems) > 1 else {})}
