"""``/v1/prompts`` and ``/v1/wildcards``: how a prompt is parsed, for editors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI
from fastapi.requests import HTTPConnection

from safelight.errors import CheckpointInvalidError, CheckpointMissingError, ModelError, PromptError
from safelight.generation.adapters.embeddings import described_inversions
from safelight.generation.prompts import parse_prompt
from safelight.generation.prompts.adapter_tags import remove_adapter_tags
from safelight.generation.prompts.chunks import Tokenizer
from safelight.generation.prompts.composition import prompt_parts
from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions
from safelight.generation.prompts.spans import weighted_spans
from safelight.generation.prompts.token_count import count_tokens
from safelight.generation.prompts.unsupported import check_supported
from safelight.generation.prompts.wildcards import find_wildcards, missing_wildcards, wildcard_names
from safelight.generation.request import DEFAULT_STEPS
from safelight.jobs.job import Failure
from safelight.server.api.checkpoint_names import select_checkpoint
from safelight.server.api.native.openapi_responses import error_responses, example_response
from safelight.server.api.native.schemas.prompts import (
    ExplainedPrompt,
    ExplainedPrompts,
    ExplainPromptsRequest,
    SpanView,
    WildcardList,
    WildcardView,
)
from safelight.server.api.openapi_examples import EXPLAINED_PROMPTS, PROMPTS, WILDCARDS
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.tokenizer_cache import TokenizerCache
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.settings import Settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, TokenizerCache]]:
    """Keep the tokenizers for as long as the server runs."""
    yield {"tokenizer_cache": TokenizerCache()}


router = APIRouter(prefix="/v1", tags=["prompts"], lifespan=lifespan)


def tokenizer_cache_of(connection: HTTPConnection) -> TokenizerCache:
    """The tokenizers of the server that handles a request."""
    found: TokenizerCache = connection.state.tokenizer_cache
    return found


@router.post(
    "/prompts/explain",
    operation_id="explain_prompts",
    dependencies=CANCEL_ON_DISCONNECT,
    summary="Explain prompts",
    responses=error_responses(CheckpointMissingError, CheckpointInvalidError)
    | example_response(EXPLAINED_PROMPTS),
)
async def explain_prompts(
    body: Annotated[ExplainPromptsRequest, Body(openapi_examples=dict(PROMPTS))],
    app_state: CurrentAppState,
    tokenizer_cache: Annotated[TokenizerCache, Depends(tokenizer_cache_of)],
) -> ExplainedPrompts:
    """Token counts of both prompts for the checkpoint's tokenizers, and their weighted spans.

    A prompt that cannot be parsed has its error in its own part of the answer.
    """
    return await app_state.threads.run_prompt(_explain, body, app_state.service.settings, tokenizer_cache)


@router.get(
    "/wildcards",
    operation_id="list_wildcards",
    summary="List wildcards",
    responses=error_responses() | example_response(WILDCARDS),
)
async def list_wildcards(app_state: CurrentAppState) -> WildcardList:
    """The names that prompts use between two pairs of underscores: files of ``wildcards/`` in the data directory."""
    found = await asyncio.to_thread(find_wildcards, app_state.service.settings.home / "wildcards")
    return WildcardList(wildcards=[WildcardView.model_validate(wildcard) for wildcard in found])


def _explain(
    body: ExplainPromptsRequest, settings: Settings, tokenizer_cache: TokenizerCache
) -> ExplainedPrompts:
    tokenizers, steps = tokenizer_cache.tokenizers(body.checkpoint, settings), body.steps or DEFAULT_STEPS
    family = select_checkpoint(body.checkpoint, settings).family
    folder = settings.home / "wildcards"

    def inversions(text: str) -> Inversions:
        return NO_INVERSIONS if family is None else described_inversions([text], family, settings)

    return ExplainedPrompts(
        prompt=_explain_part(body.prompt, "prompt", steps, tokenizers, folder, inversions),
        negative_prompt=_explain_part(
            body.negative_prompt, "negative_prompt", steps, tokenizers, folder, inversions
        ),
    )


def _explain_part(
    prompt: str,
    field: str,
    steps: int,
    tokenizers: Sequence[Tokenizer],
    folder: Path,
    inversions: Callable[[str], Inversions],
) -> ExplainedPrompt:
    names = wildcard_names(prompt)
    missing = missing_wildcards(names, folder)
    wildcards = [name for name in names if name not in missing]
    try:
        check_supported(prompt, field.replace("_", " "), field, negative=field != "prompt")
        parsed, known = parse_prompt(prompt), inversions(prompt)
        bare = remove_adapter_tags(prompt)
        texts = [part.text for part in prompt_parts(bare)] if field == "prompt" else [bare]
        parts = [parse_prompt(known.mark(text)) for text in texts]
    except (PromptError, ModelError) as error:
        error.field = field
        failure = Failure(**error.to_dict())
        return ExplainedPrompt(wildcards=wildcards, missing_wildcards=missing, error=failure)
    counts = [count_tokens(part, steps, tokenizers, known) for part in parts] if tokenizers else []
    found = max(counts, key=lambda count: count.tokens, default=None)
    return ExplainedPrompt(
        tokens=found and found.tokens,
        chunks=found and found.chunks,
        per_chunk=found and found.chunk_capacity,
        spans=[SpanView.model_validate(span) for span in weighted_spans(parsed)],
        wildcards=wildcards,
        missing_wildcards=missing,
    )
