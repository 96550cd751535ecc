"""Schemas of control networks."""

from __future__ import annotations

from pydantic import Field

from safelight.server.api.native.schemas.base import ResponseModel


class ControlModelView(ResponseModel):
    """A ControlNet or adapter on this machine."""

    name: str = Field(description="Its name in requests.")
    title: str = Field(description="What it is: a ControlNet, a T2I-Adapter …")
    family: str | None = Field(None, description="The family of the checkpoints that it is for; null: any.")
    family_title: str | None = Field(None, description="What that family is called.")
    checkpoint: str | None = Field(
        None, description="The only checkpoint that it is for; null: any of the family."
    )
    kinds: list[str] = Field(description="The kinds of pictures that it takes; none: nothing says which.")
    several: bool = Field(description="Whether it is for several kinds, so that a request has to say which.")


class ControlKindView(ResponseModel):
    """A kind of control picture."""

    name: str
    preprocessors: list[str] = Field(description="Those that make such a picture of another.")
    families: list[str] = Field(description="Families whose checkpoints need no network for it.")


class ControlList(ResponseModel):
    """Everything that can steer a generation."""

    controls: list[ControlModelView]
    kinds: list[ControlKindView]
