"""Schemas of gallery entries."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from safelight.gallery.bulk import MAX_ENTRIES, BulkChange
from safelight.gallery.collections import CollectionName
from safelight.gallery.entry import MAX_TAGS, Relation, Tag
from safelight.jobs.job import JsonObject
from safelight.moderation.policy import Decision
from safelight.server.api.native.errors import NativeError
from safelight.server.api.native.schemas.base import ResponseModel

EntryIdGiven = Annotated[str, StringConstraints(max_length=100)]
"""An id in a list: one that is none is reported like one that does not exist, so that the others are not refused."""


class EntryView(ResponseModel):
    """A picture in the gallery."""

    id: str
    job_id: str | None
    index: int
    owner: str | None
    created: datetime
    width: int
    height: int
    decision: Decision
    unsafe: float | None
    scores: dict[str, float]
    policy: str | None
    prompt: str
    negative_prompt: str
    mode: str | None
    seed: int | None
    steps: int | None
    sampler: str | None
    checkpoint: str | None
    checkpoint_digest: str | None
    family: str | None
    infotext: str | None
    kind: Literal["png", "jpeg", "webp"] | None = Field(
        description="The file's format; null where there is none."
    )
    size: int = Field(description="The file's, in bytes; 0 where there is none.")
    sha256: str | None
    missing: bool = Field(description="There was a file, and it is gone.")
    favourite: bool
    tags: list[str]
    collections: list[str] = Field(description="Ids of the collections that it is in.")
    parent_id: str | None = Field(
        description="The picture that it was made from; null where there is none, or no longer."
    )
    relation: Relation | None = Field(description="How it was made from its parent.")


class EntryRecord(EntryView):
    """A picture in the gallery with its reproduction record."""

    record: JsonObject | None = Field(description="The reproduction record.")


class EntryPage(ResponseModel):
    """A page of the entries that were found."""

    entries: list[EntryView]
    next: str | None = Field(description="What to give as after for the next page; null on the last.")


class FacetsView(ResponseModel):
    """Number of entries by each filter's values."""

    checkpoints: dict[str, int]
    samplers: dict[str, int]
    decisions: dict[str, int]
    days: dict[date, int]
    tags: dict[str, int] = Field(description="The 1,000 most frequent.")
    collections: dict[str, int] = Field(description="By the collection's id.")


class EntryIds(BaseModel):
    """Pictures in the gallery."""

    model_config = ConfigDict(extra="forbid")

    ids: list[EntryIdGiven] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="Their ids; repeated ones count once."
    )


class BulkMarks(BulkChange, EntryIds):
    """A change of the marks on several pictures; fields that are left out do not change."""


class EntryOutcome(ResponseModel):
    """What happened to one picture."""

    id: str
    error: NativeError | None = Field(None, description="Why nothing was done; null where it was done.")


class MarkedEntry(EntryOutcome):
    """What happened to one picture, and its marks now; they are null where there is an error."""

    favourite: bool | None = None
    tags: list[str] | None = None
    collections: list[str] | None = None


class MarkedEntries(ResponseModel):
    """What happened to each picture, in the order of the ids."""

    results: list[MarkedEntry]


class DeletedEntries(ResponseModel):
    """What happened to each picture, in the order of the ids."""

    results: list[EntryOutcome]


class CollectionView(ResponseModel):
    """A collection of pictures."""

    id: str
    owner: str
    name: str
    created: datetime
    pictures: int = Field(description="How many pictures are in it.")
    cover: str | None = Field(description="The newest of them that has a file; null where there is none.")


class CollectionList(ResponseModel):
    """The collections, by owner and name."""

    collections: list[CollectionView]


class CollectionFields(BaseModel):
    """What a collection's owner chooses."""

    model_config = ConfigDict(extra="forbid")

    name: CollectionName = Field(description="A name that no other collection of the owner has.")


class EntryMarks(BaseModel):
    """The user's marks of an entry; fields that are left out do not change."""

    model_config = ConfigDict(extra="forbid")

    favourite: bool | None = Field(None, description="Kept whatever its age.")
    tags: list[Tag] | None = Field(None, max_length=MAX_TAGS, description="All its tags from now on.")
