"""FastAPI dependencies that give the principal of a request, which ``middleware.authentication`` has set."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.errors import RoleError
from safelight.server.roles import LOCAL, Caller, Role

__all__ = ["LOCAL", "Admin", "Caller", "Role", "Who", "administrator", "caller"]


def caller(connection: HTTPConnection) -> Caller:
    """The principal that made the request or opened the WebSocket."""
    found: Caller = connection.state.caller
    return found


def administrator(connection: HTTPConnection) -> Caller:
    """The principal, who must be an administrator.

    Raises:
        RoleError: The principal is no administrator.
    """
    who = caller(connection)
    if who.role is not Role.ADMIN:
        raise RoleError
    return who


Who = Annotated[Caller, Depends(caller)]
Admin = Annotated[Caller, Depends(administrator)]
