"""How many tokens a prompt has, and how many chunks they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safelight.generation.prompts.chunks import Tokenizer, chunk_room, chunked
from safelight.generation.prompts.schedule import phases
from safelight.generation.prompts.tree import ParsedPrompt


@dataclass(frozen=True, slots=True)
class Count:
    """How long a prompt is for its text encoders.

    Attributes:
        tokens: Of the longest phase, without those that frame and fill up chunks.
        chunks: That it fills, at least 1.
        room: How many tokens of words a chunk holds.
    """

    tokens: int
    chunks: int
    room: int


def count(parsed: ParsedPrompt, steps: int, tokenizers: Sequence[Tokenizer]) -> Count:
    """Count a prompt as it is drawn: of several phases, and for several text encoders, the longest.

    Args:
        parsed: The prompt.
        steps: For how many steps, at least 1.
        tokenizers: One for each text encoder, at least one.
    """
    segments = {phase.segments for phase in phases(parsed, steps)}
    cut = [chunked(each, tokenizer) for each in segments for tokenizer in tokenizers]
    return Count(
        tokens=max(sum(len(chunk.ids) for chunk in chunks) for chunks in cut),
        chunks=max(len(chunks) for chunks in cut),
        room=min(chunk_room(tokenizer) for tokenizer in tokenizers),
    )
