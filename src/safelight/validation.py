"""What pydantic found wrong with a value, each problem in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
        context: Pydantic's values for the message, such as the range.
    """

    field: str
    message: str
    type: str
    given: Any
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def first_problem(error: Invalid, *, skip: int = 0) -> Problem:
    """The first problem of a validation error.

    Args:
        error: The error.
        skip: How many parts to leave out at the front of the field's path.
    """
    return all_problems(error, skip=skip)[0]


def all_problems(error: Invalid, *, skip: int = 0) -> list[Problem]:
    """All problems of a validation error, in order.

    Args:
        error: The error.
        skip: How many parts to leave out at the front of the fields' paths.
    """
    return [
        Problem(
            ".".join(str(part) for part in found["loc"][skip:]),
            found["msg"],
            found["type"],
            found.get("input"),
            found.get("ctx", {}),
        )
        for found in error.errors()
    ]
