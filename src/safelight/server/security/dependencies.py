"""FastAPI dependencies that give the principal of a request, which ``middleware.authentication`` has set."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.errors import RoleRequiredError
from safelight.server.security.principal import LOCAL, Principal, Role

__all__ = [
    "LOCAL",
    "CurrentAdmin",
    "CurrentPrincipal",
    "Principal",
    "Role",
    "current_admin",
    "current_principal",
]


def current_principal(connection: HTTPConnection) -> Principal:
    """The principal that made the request or opened the WebSocket."""
    found: Principal = connection.state.principal
    return found


def current_admin(connection: HTTPConnection) -> Principal:
    """The principal, who must be an administrator.

    Raises:
        RoleRequiredError: The principal is no administrator.
    """
    who = current_principal(connection)
    if who.role is not Role.ADMIN:
        raise RoleRequiredError
    return who


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
CurrentAdmin = Annotated[Principal, Depends(current_admin)]
