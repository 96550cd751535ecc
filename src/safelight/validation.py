"""The first problem that pydantic found, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Invalid(Protocol):
    """A ``pydantic.ValidationError``, or FastAPI's error of the same kind."""

    def errors(self) -> Sequence[Any]:
        """The problems."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value; as text ``field: message``.

    Args:
        field: The field's path with dots; empty for the value as a whole.
        message: What is wrong with it.
        type: Pydantic's name for it, for example ``extra_forbidden``.
        given: The value.
    """

    field: str
    message: str
    type: str
    given: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def first_problem(error: Invalid, *, skip: int = 0) -> Problem:
    """The first problem of a validation error.

    Args:
        error: The error.
        skip: How many parts to leave out at the front of the field's path.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][skip:])
    return Problem(field, first["msg"], first["type"], first.get("input"))
