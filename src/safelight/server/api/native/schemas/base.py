"""Base class and common types of the schemas."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

EntryIdText = Annotated[str, StringConstraints(pattern="^[0-9a-z]{22}$")]


class ResponseModel(BaseModel):
    """Base class of responses; an instance can be created from an object's attributes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
