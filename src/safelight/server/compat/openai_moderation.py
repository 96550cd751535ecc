"""OpenAI's moderation, with our classifier: of its categories the one that our labels tell something about."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from safelight.errors import FieldError
from safelight.moderation.verdict import Verdict

SEXUAL = "sexual"
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    SEXUAL,
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MOST_INPUTS = 64


class ImageUrl(BaseModel):
    """Where a picture is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, description="A data URI; an address where the server allows it.")


class ImageInput(BaseModel):
    """A picture to be judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["image_url"]
    image_url: ImageUrl


class TextInput(BaseModel):
    """A text, which is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: str


Input = Annotated[ImageInput | TextInput, Field(discriminator="type")]


class ModerationBody(BaseModel):
    """The body of /v1/moderations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | list[str] | list[Input] = Field(description="Pictures, at most 64. Texts are refused.")
    model: Annotated[str, Field(max_length=300)] | None = Field(
        None, description="A classifier that /v1/models lists; the server's own when not given."
    )


class ModerationItem(BaseModel):
    """What is said of one picture."""

    flagged: bool = Field(description="Whether the policy decides anything but allow.")
    categories: dict[str, bool]
    category_scores: dict[str, float] = Field(description="0 to 1; 0 for what is not judged.")
    category_applied_input_types: dict[str, list[str]] = Field(description="Empty for what is not judged.")
    verdict: dict[str, JsonValue] = Field(description="Ours, as /v1/moderate gives it.")


class ModerationAnswer(BaseModel):
    """One result for each picture, in their order."""

    id: str
    model: str
    results: list[ModerationItem]


def addresses(body: ModerationBody) -> list[str]:
    """The pictures of a body, as data URIs or addresses.

    Raises:
        FieldError: There is a text among them, or nothing at all, or too many.
    """
    given = [body.input] if isinstance(body.input, str) else body.input
    if not 1 <= len(given) <= MOST_INPUTS:
        raise FieldError(f"input: 1 to {MOST_INPUTS} pictures at a time; {len(given)} came.", field="input")
    found = [each.image_url.url for each in given if isinstance(each, ImageInput)]
    if len(found) < len(given):
        raise FieldError(
            "input: texts are not judged, there is no classifier for them.",
            field="input",
            hint='Send only pictures, as {"type": "image_url", "image_url": {"url": "data:…"}}.',
        )
    return found


def answer(verdicts: Sequence[Verdict]) -> ModerationAnswer:
    """The answer for judged pictures."""
    return ModerationAnswer(
        id=f"modr-{uuid.uuid4().hex}",
        model=verdicts[0].classifier.name,
        results=[_item(verdict) for verdict in verdicts],
    )


def _item(verdict: Verdict) -> ModerationItem:
    body: dict[str, Any] = verdict.to_dict()
    return ModerationItem(
        flagged=verdict.flagged,
        categories={name: name == SEXUAL and verdict.flagged for name in CATEGORIES},
        category_scores={name: verdict.unsafe if name == SEXUAL else 0.0 for name in CATEGORIES},
        category_applied_input_types={name: ["image"] if name == SEXUAL else [] for name in CATEGORIES},
        verdict=body,
    )
