"""OpenAI's moderation with our classifier and a blocklist; of its categories only ``sexual`` is judged."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from safelight.errors import TextModerationError, UnsupportedFieldError
from safelight.moderation.blocklist import Blocklist, TextVerdict
from safelight.moderation.verdict import Verdict
from safelight.server.api.openai_model_names import openai_model_kind

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
BLOCKLIST_MODEL = "text-blocklist"
"""The model that answers name where only texts were judged."""
MAX_INPUTS, MOST_CHARACTERS = 64, 100_000
"""Maximum number of parts in a request, and of characters in all its texts."""


class ImageUrl(BaseModel):
    """The address of a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, description="A data URI; an address where the server allows it.")


class ImageInput(BaseModel):
    """A picture to judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["image_url"]
    image_url: ImageUrl


class TextInput(BaseModel):
    """A text to judge, where the server has a blocklist."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: str


Part = Annotated[ImageInput | TextInput, Field(discriminator="type")]


class ModerationBody(BaseModel):
    """The body of /v1/moderations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | list[str] | list[Part] = Field(
        description="Pictures, with texts beside them or without, or texts alone; at most 64, "
        f"and {MOST_CHARACTERS} characters in all."
    )
    model: Annotated[str, Field(max_length=300)] | None = Field(
        None,
        description="A classifier that /v1/models lists; the server's default for OpenAI's names, or when not given.",
    )

    @property
    def classifier(self) -> str | None:
        """The requested classifier; None for the server's default, which OpenAI's model names mean too."""
        return None if openai_model_kind(self.model or "") == "classifier" else self.model


class ModerationItem(BaseModel):
    """The result for one picture, for one text, or for a picture and the texts beside it."""

    flagged: bool = Field(
        description="Whether the policy decides anything but allow, or a text matches the blocklist."
    )
    categories: dict[str, bool]
    category_scores: dict[str, float] = Field(description="0 to 1; 0 for categories that are not judged.")
    category_applied_input_types: dict[str, list[str]] = Field(
        description="Empty for categories that are not judged."
    )
    verdict: dict[str, JsonValue] = Field(
        description="Ours: the picture's verdict as /v1/moderate gives it; under text the blocklist's, with its digest."
    )
    unjudged: list[str] = Field([], description="Ours: [text] where texts were not judged.")


class ModerationResponse(BaseModel):
    """One result per picture, or per text where there are no pictures, in their order."""

    id: str
    model: str = Field(description="The classifier that judged, or text-blocklist.")
    results: list[ModerationItem]


@dataclass(frozen=True)
class ModerationInputs:
    """What to judge.

    Args:
        images: Data URIs or addresses.
        texts: Groups of texts that are judged together: all texts beside pictures, or each text alone.
    """

    images: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]


def moderation_inputs(body: ModerationBody) -> ModerationInputs:
    """The inputs of a body. A list of parts is one input, as with OpenAI; a list of texts is many.

    Raises:
        UnsupportedFieldError: There is no input, or too much.
    """
    given = [body.input] if isinstance(body.input, str) else body.input
    if not 1 <= len(given) <= MAX_INPUTS:
        raise UnsupportedFieldError(
            f"input: 1 to {MAX_INPUTS} parts at a time; {len(given)} came.", field="input"
        )
    pictures = tuple(each.image_url.url for each in given if isinstance(each, ImageInput))
    single = tuple((each,) for each in given if isinstance(each, str))
    if (
        sum(
            len(each if isinstance(each, str) else each.text)
            for each in given
            if not isinstance(each, ImageInput)
        )
        > MOST_CHARACTERS
    ):
        raise UnsupportedFieldError(
            f"input: all texts together may have {MOST_CHARACTERS} characters.",
            field="input",
            hint="Send them in several requests.",
        )
    parts = tuple(each.text for each in given if isinstance(each, TextInput))
    return ModerationInputs(pictures, single or ((parts,) if parts else ()))


def check_inputs(inputs: ModerationInputs, blocklist: Blocklist | None) -> None:
    """Check, before anything is judged, that texts without pictures can be judged.

    Raises:
        TextModerationError: There are texts only, and no blocklist.
    """
    if blocklist is None and not inputs.images:
        raise _text_unjudged()


def moderation_response(
    inputs: ModerationInputs,
    verdicts: Sequence[Verdict],
    blocklist: Blocklist | None,
    *,
    skip_texts: bool = False,
) -> ModerationResponse:
    """Build the answer.

    Args:
        inputs: The inputs.
        verdicts: One per picture.
        blocklist: The blocklist that judges texts.
        skip_texts: Whether texts beside pictures may stay unjudged.

    Raises:
        TextModerationError: A picture is not flagged, and the text beside it cannot be judged.
    """
    found = [None if blocklist is None else blocklist.judge(texts) for texts in inputs.texts]
    if not verdicts:
        items = [_item(None, text) for text in found]
    else:
        beside = found[0] if found else None
        passed_over = bool(inputs.texts) and beside is None
        items = [_item(verdict, beside, passed_over=passed_over) for verdict in verdicts]
    if not skip_texts and any(item.unjudged and not item.flagged for item in items):
        raise _text_unjudged()
    model = verdicts[0].classifier.name if verdicts else BLOCKLIST_MODEL
    return ModerationResponse(id=f"modr-{uuid.uuid4().hex}", model=model, results=items)


def _item(verdict: Verdict | None, text: TextVerdict | None, *, passed_over: bool = False) -> ModerationItem:
    hit = text is not None and text.hit
    flagged = hit or (verdict is not None and verdict.flagged)
    score = max(verdict.unsafe if verdict else 0.0, 1.0 if hit else 0.0)
    kinds = ["text"] * (text is not None) + ["image"] * (verdict is not None)
    body: dict[str, Any] = verdict.to_dict() if verdict else {}
    return ModerationItem(
        flagged=flagged,
        categories={name: name == SEXUAL and flagged for name in CATEGORIES},
        category_scores={name: score if name == SEXUAL else 0.0 for name in CATEGORIES},
        category_applied_input_types={name: kinds if name == SEXUAL else [] for name in CATEGORIES},
        verdict=body | ({"text": text.to_dict()} if text else {}),
        unjudged=["text"] * passed_over,
    )


def _text_unjudged() -> TextModerationError:
    return TextModerationError("input: this server cannot judge texts.", field="input")
