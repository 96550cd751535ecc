"""Schemas of settings that are changed while the server runs, and of users' preferences."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from safelight.generation.request import Name, RequestPart
from safelight.server.api.native.schemas.base import ResponseModel
from safelight.settings import Language, Source

MIN_TILE, MAX_TILE = 96, 512
"""Smallest and largest side of the gallery's tiles, in pixels."""


class SettingView(ResponseModel):
    """A setting."""

    name: str
    group: str | None = Field(
        description="generation, moderation, limits, retention or page; null if a change needs a restart."
    )
    description: str
    value: JsonValue = Field(description="The value in use.")
    configured: JsonValue = Field(description="The value without changes while the server runs.")
    default: JsonValue
    source: Source = Field(description="Where the value comes from.")
    stored: str | None = Field(
        description="What holds it: a file, a variable, the database; null for a default."
    )
    changeable: bool = Field(description="Whether PATCH /v1/settings can change it.")
    rules: dict[str, JsonValue] = Field(
        description="Its type and range as JSON Schema: type, minimum, maximum, exclusiveMinimum, enum …"
    )
    choices: list[str] | None = Field(
        description="The values that there are; null where they are not listed."
    )


class SettingList(ResponseModel):
    """The settings, those that can be changed first."""

    settings: list[SettingView]


class Preferences(RequestPart):
    """How the page is for one user. What is null is as the page decides."""

    language: Language | None = Field(None, description="One of languages.")
    look: Literal["light", "dark"] | None = Field(None, description="null: as the browser prefers.")
    tile_size: Annotated[int, Field(ge=MIN_TILE, le=MAX_TILE)] | None = Field(
        None, description="Height of the gallery's tiles, in pixels."
    )
    notify_when_done: bool | None = Field(
        None, description="Whether the browser shows a notice when a job ends."
    )
    default_checkpoint: Name | None = Field(
        None, description="The checkpoint that the form begins with, by a name that GET /v1/models lists."
    )


class PreferencesView(Preferences):
    """A user's preferences, and the languages that can be chosen."""

    languages: list[str] = Field(description="The languages that the server offers.")
