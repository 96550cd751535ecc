"""Who makes a request, as every route sees them. ``middleware.access`` finds it out before the request is read."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.errors import RoleError
from safelight.server.roles import LOCAL, Caller, Role

__all__ = ["LOCAL", "Admin", "Caller", "Role", "Who", "administrator", "caller"]


def caller(connection: HTTPConnection) -> Caller:
    """Who made the request or opened the WebSocket."""
    found: Caller = connection.state.caller
    return found


def administrator(connection: HTTPConnection) -> Caller:
    """The same, where only administrators may go.

    Raises:
        RoleError: They are none.
    """
    who = caller(connection)
    if who.role is not Role.ADMIN:
        raise RoleError
    return who


Who = Annotated[Caller, Depends(caller)]
Admin = Annotated[Caller, Depends(administrator)]
