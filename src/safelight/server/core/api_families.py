"""What an API family is: the paths it answers, its routes, and the format of its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import APIRouter
from pydantic import BaseModel

from safelight.errors import RouteNotFoundError, SafelightError
from safelight.plugins import Registry


class ErrorBody(Protocol):
    """Formats an error."""

    def __call__(self, error: SafelightError, field: str | None = None) -> dict[str, object]:
        """Return the body of an error response.

        Args:
            error: The error.
            field: The name of the invalid field, if the error is about one.
        """


class HttpStatus(Protocol):
    """Chooses the HTTP status of an error."""

    def __call__(self, error: SafelightError) -> int:
        """Return the status, 400 to 599."""


def catalogue_status(error: SafelightError) -> int:
    """The status that the error's class states."""
    return error.http_status


@dataclass(frozen=True)
class ApiFamily:
    """An API: routes under some prefixes, whose errors have one format.

    Authentication, limits and the queue are the same for every family.

    Args:
        name: Its name.
        prefixes: The beginnings of the paths whose errors have its format; the longest prefix of a path counts.
        routers: Its routes, in the order in which they are matched.
        error_model: The schema of an error response, for OpenAPI.
        error_body: Formats an error.
        http_status: Chooses the HTTP status of an error.
    """

    name: str
    prefixes: tuple[str, ...]
    routers: Sequence[APIRouter]
    error_model: type[BaseModel]
    error_body: ErrorBody
    http_status: HttpStatus = catalogue_status

    @property
    def error_responses(self) -> dict[int | str, dict[str, Any]]:
        """The ``responses`` argument that documents its errors in OpenAPI."""
        return {"default": {"model": self.error_model, "description": "Refused or failed."}}


API_FAMILIES = Registry[ApiFamily](
    "API family",
    "register_api_families",
    RouteNotFoundError,
    tuple(f"safelight.server.api.{name}.family" for name in ("native", "openai", "a1111")),
    name_field="name",
)
"""Every API family; their routes are matched in this order."""


def api_family_of(path: str) -> ApiFamily:
    """The API family of a path; the native one if no prefix of another matches."""
    prefixes = {prefix: family for family in API_FAMILIES.values() for prefix in family.prefixes}
    return prefixes[max((prefix for prefix in prefixes if path.startswith(prefix)), key=len)]
