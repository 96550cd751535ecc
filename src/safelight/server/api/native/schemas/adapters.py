"""Schemas of adapters."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.server.api.native.schemas.base import EntryIdText, ResponseModel


class AdapterView(ResponseModel):
    """An adapter or a textual inversion that requests can name."""

    id: str = Field(description="What the other routes call it.")
    name: str = Field(description="Its file's name without suffix, by which requests and prompts name it.")
    place: str = Field(description="The same with its folders, for where two files have one name.")
    alias: str = Field(description="The name that its trainer gave it, which works too; empty for none.")
    kind: Literal["LoRA", "embedding"]
    family: str | None = Field(description="The family that it is for; null where its file does not say.")
    fits: bool | None = Field(
        description="Whether it is for the family of the checkpoint; null where its file does not say."
    )
    types: list[str] = Field(
        description="How it changes layers: LoRA, LoCon, LoHa, LoKr …; textual inversion."
    )
    rank: int | None = Field(description="Its largest rank, or number of vectors; null where it has none.")
    trigger_words: list[str] = Field(description="Words that prompts are to have with it.")
    size: int = Field(description="Bytes.")
    modified: datetime = Field(description="When its file was changed.")
    digest: str | None = Field(description="SHA-256 of its file, if it is known already.")
    preview: str | None = Field(
        description="The address of its preview, which changes with it; null where it has none."
    )
    preview_set: bool = Field(description="Whether the preview was set here or by A1111, and can be removed.")
    favourite: bool = Field(description="Whether the user has marked it.")
    pictures: int = Field(description="How many of the user's pictures were made with it.")


class AdapterList(ResponseModel):
    """All adapters of this server."""

    adapters: list[AdapterView]


class TrainingTag(ResponseModel):
    """A word that stood in the captions of the pictures that an adapter was trained with."""

    tag: str
    count: int


class AdapterDetails(AdapterView):
    """An adapter with all that its file says."""

    file: str = Field(description="The file's name below its folder; for administrators its path.")
    hash: str | None = Field(description="The hash by which A1111 knows it, if it is known already.")
    key_style: str = Field(description="Whose names its layers have; empty for textual inversions.")
    components: list[str] = Field(description="The networks that it changes.")
    layers: int = Field(description="How many layers it changes.")
    training_tags: list[TrainingTag] = Field(description="The most frequent first, at most 100.")
    metadata: dict[str, Any] = Field(description="What its trainer wrote into it.")


class AdapterPreviewSource(BaseModel):
    """The picture that becomes an adapter's preview."""

    model_config = ConfigDict(extra="forbid")

    entry: EntryIdText = Field(description="The picture's id in the gallery.")
