"""The gallery's data types: entries, searches and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from safelight.errors import GalleryError
from safelight.file_formats import SUFFIXES, FileFormat
from safelight.generation.request import MAX_SEED
from safelight.moderation.policy import Decision
from safelight.validation import first_problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LIMIT, MAX_TAGS = 500, 50
Tag = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00]*$")
]
Name = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Pixels = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Relation(StrEnum):
    """How a picture was made from its parent."""

    UPSCALE = "upscale"
    EDIT = "edit"
    """From the parent as initial picture."""
    VARIATION = "variation"
    """With the parent's noise mixed with another seed's."""
    AGAIN = "again"
    """With the parent's settings, changed or not."""


@dataclass(frozen=True, kw_only=True)
class EntryFields:
    """The fields of a picture, before and after its entry is added. None: unknown, or not applicable.

    Args:
        job_id: The job that made it; None for a file that the gallery found without knowing its origin.
        index: Which of the job's pictures it is, from 0.
        owner: The owner's name.
        created: When it was made.
        width: In pixels.
        height: In pixels.
        decision: What the policy decided.
        unsafe: Probability that it is unsafe, 0 to 1.
        scores: Probability by label name, each 0 to 1.
        policy: The name of the policy.
        prompt: As the user wrote it.
        negative_prompt: As the user wrote it.
        mode: text-to-image, image-to-image, inpainting, upscale …
        seed: The picture's seed.
        steps: Steps of the sampler.
        sampler: The sampler's name.
        checkpoint: The checkpoint's name.
        checkpoint_digest: SHA-256 of the checkpoint's weights.
        family: The checkpoint's family.
        infotext: As stored in the file.
        record: The reproduction record's JSON.
        parent_id: The entry whose picture it was made from; None if that was deleted.
        relation: How it was made from its parent.
    """

    job_id: str | None
    index: int = 0
    owner: str | None = None
    created: datetime
    width: int
    height: int
    decision: Decision
    unsafe: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    policy: str | None = None
    prompt: str = ""
    negative_prompt: str = ""
    mode: str | None = None
    seed: int | None = None
    steps: int | None = None
    sampler: str | None = None
    checkpoint: str | None = None
    checkpoint_digest: str | None = None
    family: str | None = None
    infotext: str | None = None
    record: str | None = None
    parent_id: str | None = None
    relation: Relation | None = None


@dataclass(frozen=True)
class Embedding:
    """A classifier's embedding of a picture. Only embeddings by the same classifier can be compared.

    Args:
        digest: SHA-256 of the classifier's weights, in hexadecimal.
        classifier: The classifier's name; None if it is unknown, and then the digest is
            ``embeddings.UNKNOWN_CLASSIFIER``.
        vector: float32 [dimension].
    """

    digest: str
    classifier: str | None
    vector: NDArray[np.float32] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError("an embedding has one dimension")


@dataclass(frozen=True, kw_only=True)
class NewEntry(EntryFields):
    """A picture to be added to the gallery.

    Args:
        job_id: Identifies the picture together with ``index``: the same picture is added only once.
        created: Best the time when the job was accepted, which is the same for each attempt: id and file name contain
            it.
        data: The file: PNG, JPEG or WebP with embedded metadata. None for a blocked picture, and only for that.
        embedding: The classifier's embedding of it.
        favourite: Never deleted because of its age.
        tags: The user's tags.
        adapters: SHA-256 of each LoRA and textual inversion that it was made with.
    """

    data: bytes | None
    embedding: Embedding | None = field(default=None, repr=False, compare=False)
    favourite: bool = False
    tags: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.data is None) != (self.decision is Decision.BLOCK):
            raise ValueError("what is blocked has no file, and everything else has one")


@dataclass(frozen=True, kw_only=True)
class Entry(EntryFields):
    """A picture in the gallery.

    Args:
        id: 22 characters; sorting by id sorts by creation time.
        kind: The file's format; None if there is no file.
        size: The file's size in bytes; 0 if there is no file.
        sha256: The file's digest, in hexadecimal.
        missing: The file existed and has been lost.
        favourite: Never deleted because of its age.
        tags: The user's tags, sorted.
        collections: The ids of the collections it is in, of those that the reader may see; by name.
    """

    id: str
    kind: FileFormat | None
    size: int
    sha256: str | None
    missing: bool
    favourite: bool
    tags: tuple[str, ...]
    collections: tuple[str, ...] = ()

    @property
    def path(self) -> PurePosixPath | None:
        """The file's path in the gallery's folder; None if there is no file."""
        return None if self.kind is None else relative_path(self.id, self.created, self.kind)

    def to_dict(self) -> dict[str, Any]:
        """The entry for JSON output; the record is a string."""
        names = (name for name in self.__dataclass_fields__)
        body = {name: getattr(self, name) for name in names}
        return body | {
            "created": self.created.isoformat(),
            "decision": self.decision.value,
            "scores": dict(self.scores),
            "tags": list(self.tags),
            "collections": list(self.collections),
        }


def relative_path(entry_id: str, created: datetime, kind: FileFormat) -> PurePosixPath:
    """The path of an entry's file in the gallery's folder, which has a folder per day, UTC."""
    return PurePosixPath(f"{created.astimezone(UTC):%Y/%m/%d}") / f"{entry_id}{SUFFIXES[kind]}"


class Search(BaseModel):
    """A search of the gallery; an entry has to satisfy all given conditions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str = Field(
        "",
        max_length=1000,
        description="Words in prompt, negative prompt or infotext: all of them, in any order; the last may be a "
        'prefix. "Words in quotes" stand one after the other, -word is left out, and OR joins alternatives.',
    )
    sort: Literal["newest", "oldest", "largest", "smallest", "relevance"] = Field(
        "newest",
        description="largest and smallest by the number of pixels. relevance needs a query: first come those whose "
        "prompt has the words one after the other, then those whose prompt has them at all, then the others; each "
        "newest first.",
    )
    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Entries on a page.")
    after: str | None = Field(
        None, max_length=100, description="The page after the one that gave this as next."
    )

    checkpoint: Name | None = None
    sampler: Name | None = None
    decision: Decision | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    job_id: Name | None = None
    tag: Tag | None = None
    collection: Name | None = Field(None, description="The id of a collection.")
    parent: Name | None = Field(None, description="The id of the picture that they were made from.")
    favourite: bool | None = None
    min_width: Pixels | None = None
    max_width: Pixels | None = None
    min_height: Pixels | None = None
    max_height: Pixels | None = None
    since: AwareDatetime | None = Field(None, description="Made then or later.")
    until: AwareDatetime | None = Field(None, description="Made before.")

    @model_validator(mode="before")
    @classmethod
    def _rename_order(cls, given: Any) -> Any:
        """Accept the former name of ``sort``."""
        if isinstance(given, dict) and "order" in given and "sort" not in given:
            return {("sort" if name == "order" else name): value for name, value in given.items()}
        return given

    @classmethod
    def parse(cls, **fields: Any) -> Self:
        """Make a search from untyped values.

        Raises:
            GalleryError: A filter is unknown or out of range.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise GalleryError(f"{first_problem(error)}.") from error


@dataclass(frozen=True)
class Page:
    """One page of a search's results.

    Args:
        entries: In the requested order.
        next: The value of ``after`` for the next page; None on the last page.
    """

    entries: tuple[Entry, ...]
    next: str | None


@dataclass(frozen=True)
class Facets:
    """The number of entries per value of a filter, the most frequent first; days are sorted from the newest.

    Args:
        checkpoints: By name.
        samplers: By name.
        decisions: By decision.
        days: By day, UTC.
        tags: The most frequent tags.
        collections: By the collection's id.
    """

    checkpoints: Mapping[str, int]
    samplers: Mapping[str, int]
    decisions: Mapping[Decision, int]
    days: Mapping[date, int]
    tags: Mapping[str, int]
    collections: Mapping[str, int]
