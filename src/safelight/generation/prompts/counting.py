"""How many tokens a prompt has, and how many chunks they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from safelight.generation.prompts.chunks import Tokenizer, chunk_room, chunked
from safelight.generation.prompts.schedule import Segment, Segments, segments_at, turns
from safelight.generation.prompts.tree import ParsedPrompt

MOST_PHASES = 32
"""How many are cut into tokens, which takes up to a hundredth of a second each."""


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

    Of more than MOST_PHASES different phases, those with the most characters are counted.

    Args:
        parsed: The prompt.
        steps: For how many steps, at least 1.
        tokenizers: One for each text encoder, at least one.
    """
    different = dict.fromkeys(segments_at(parsed, step, steps) for step in turns(parsed, steps))
    longest = nlargest(MOST_PHASES, different, key=_characters)
    cut = [chunked(each, tokenizer) for each in longest for tokenizer in tokenizers]
    return Count(
        tokens=max(sum(len(chunk.ids) for chunk in chunks) for chunks in cut),
        chunks=max(len(chunks) for chunks in cut),
        room=min(chunk_room(tokenizer) for tokenizer in tokenizers),
    )


def _characters(segments: Segments) -> int:
    return sum(len(part.text) for part in segments if isinstance(part, Segment))
