"""Schemas of prompt explanations and wildcards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from safelight.generation.prompts.token_count import MAX_CHARACTERS, MAX_PHASES
from safelight.generation.request import DEFAULT_STEPS, PromptText, Steps
from safelight.jobs.job import Failure
from safelight.server.api.job_fields import ListedName
from safelight.server.api.native.schemas.base import ResponseModel


class ExplainPromptsRequest(BaseModel):
    """Prompts to explain, as the user wrote them."""

    model_config = ConfigDict(extra="forbid")

    prompt: PromptText = ""
    negative_prompt: PromptText = ""
    steps: Steps | None = Field(None, description=f"For how many steps; {DEFAULT_STEPS} when not given.")
    checkpoint: ListedName | None = Field(
        None, description="The checkpoint whose tokens are counted; the server's default when not given."
    )


class SpanView(ResponseModel):
    """A span of text with a weight other than 1, without its brackets."""

    start: int = Field(description="The start of the span, in UTF-16 code units, as JavaScript counts.")
    end: int
    weight: float = Field(description="0 to 100, and not 1; nested weights are multiplied.")


class ExplainedPrompt(ResponseModel):
    """How one prompt is parsed."""

    tokens: int | None = Field(
        None,
        description="Number of tokens, with wildcards and variants counted as written, and of a prompt that changes "
        f"during generation its longest phase (of more than {MAX_PHASES} phases, or of fewer in a prompt of more "
        f"than {MAX_CHARACTERS // MAX_PHASES} characters, those with the most characters are counted); null if "
        "the checkpoint's text encoder reads no chunks, or if the prompt cannot be parsed.",
    )
    chunks: int | None = Field(None, description="Number of chunks that the tokens fill, at least 1.")
    per_chunk: int | None = Field(None, description="Maximum tokens of a chunk.")
    spans: list[SpanView] = Field([], description="In the order of the text; no two overlap.")
    wildcards: list[str] = Field([], description="Names of the wildcards in it that have a file of choices.")
    missing_wildcards: list[str] = Field(
        [],
        description="Names of the wildcards in it that have no file; a picture for which one is chosen fails.",
    )
    error: Failure | None = Field(None, description="Why it cannot be parsed.")


class ExplainedPrompts(ResponseModel):
    """How both prompts are parsed."""

    prompt: ExplainedPrompt
    negative_prompt: ExplainedPrompt


class WildcardView(ResponseModel):
    """A wildcard: a named list of texts to choose from."""

    name: str
    lines: int = Field(description="Number of choices.")


class WildcardList(ResponseModel):
    """All wildcards."""

    wildcards: list[WildcardView]
