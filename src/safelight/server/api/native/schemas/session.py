"""Schemas of sessions: signing in, and the current principal."""

from __future__ import annotations

from pydantic import Field

from safelight.generation.request import RequestPart
from safelight.server.api.native.schemas.base import ResponseModel
from safelight.server.security.principal import Role


class SignIn(RequestPart):
    """A key to sign in with."""

    key: str = Field(max_length=200, description="A key of `safelight keys add`.")
    name: str | None = Field(None, max_length=64, description="The name that the key must have.")


class SessionView(ResponseModel):
    """The principal of the request."""

    owner: str = Field(
        description="The owner of the jobs and pictures: the key's name, or local without keys."
    )
    role: Role = Field(description="user: what is their own; admin: everything.")
    keys: bool = Field(description="Whether this server requires a key.")
    cookie: bool = Field(description="Whether it is a browser that is signed in, which can sign out.")
