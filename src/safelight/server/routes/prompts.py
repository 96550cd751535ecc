"""``/v1/prompts`` and ``/v1/wildcards``: how a prompt is parsed, for editors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI
from fastapi.requests import HTTPConnection

from safelight.errors import CheckpointInvalidError, CheckpointMissingError, PromptError
from safelight.generation.prompts import parse
from safelight.generation.prompts.chunks import Tokenizer
from safelight.generation.prompts.counting import count
from safelight.generation.prompts.spans import weighted_spans
from safelight.generation.prompts.unsupported import refuse_unsupported
from safelight.generation.prompts.wildcards import find_wildcards, named_in
from safelight.jobs.job import Failure
from safelight.jobs.sizes import DEFAULT_STEPS
from safelight.server.counting import Counting
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER
from safelight.server.routes.describing import errors, shown
from safelight.server.routes.examples import EXPLAINED, PROMPTS, WILDCARDS
from safelight.server.schemas.prompts import (
    ExplainedPrompt,
    ExplainedPrompts,
    PromptsToExplain,
    SpanView,
    WildcardList,
    WildcardView,
)
from safelight.server.state import Behind
from safelight.settings import Settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Counting]]:
    """Keep the tokenizers for as long as the server runs."""
    yield {"counting": Counting()}


router = APIRouter(prefix="/v1", tags=["prompts"], lifespan=lifespan)


def counting(connection: HTTPConnection) -> Counting:
    """The tokenizers of the server that handles a request."""
    found: Counting = connection.state.counting
    return found


@router.post(
    "/prompts/explain",
    operation_id="explain_prompts",
    dependencies=ENDS_WITH_CALLER,
    summary="Explain prompts",
    responses=errors(CheckpointMissingError, CheckpointInvalidError) | shown(EXPLAINED),
)
async def explain_prompts(
    body: Annotated[PromptsToExplain, Body(openapi_examples=dict(PROMPTS))],
    behind: Behind,
    tokens: Annotated[Counting, Depends(counting)],
) -> ExplainedPrompts:
    """Token counts of both prompts for the checkpoint's tokenizers, and their weighted spans.

    A prompt that cannot be parsed has its error in its own part of the answer.
    """
    return await behind.threads.prompt(_explained, body, behind.service.settings, tokens)


@router.get(
    "/wildcards",
    operation_id="list_wildcards",
    summary="List wildcards",
    responses=errors() | shown(WILDCARDS),
)
async def list_wildcards(behind: Behind) -> WildcardList:
    """The names that prompts use between two pairs of underscores: files of ``wildcards/`` in the data directory."""
    found = await asyncio.to_thread(find_wildcards, behind.service.settings.home / "wildcards")
    return WildcardList(wildcards=[WildcardView.model_validate(wildcard) for wildcard in found])


def _explained(body: PromptsToExplain, settings: Settings, tokens: Counting) -> ExplainedPrompts:
    tokenizers, steps = tokens.tokenizers(body.checkpoint, settings), body.steps or DEFAULT_STEPS
    return ExplainedPrompts(
        prompt=_part(body.prompt, "prompt", steps, tokenizers),
        negative_prompt=_part(body.negative_prompt, "negative prompt", steps, tokenizers),
    )


def _part(prompt: str, name: str, steps: int, tokenizers: Sequence[Tokenizer]) -> ExplainedPrompt:
    wildcards = named_in(prompt)
    try:
        refuse_unsupported(prompt, name)
        parsed = parse(prompt)
    except PromptError as error:
        return ExplainedPrompt(wildcards=wildcards, error=Failure(**error.to_dict()))
    found = count(parsed, steps, tokenizers) if tokenizers else None
    return ExplainedPrompt(
        tokens=found and found.tokens,
        chunks=found and found.chunks,
        per_chunk=found and found.room,
        spans=[SpanView.model_validate(span) for span in weighted_spans(parsed)],
        wildcards=wildcards,
    )
