"""Split a prompt of any length into chunks that fit a CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions
from safelight.generation.prompts.schedule import Segments
from safelight.generation.prompts.tree import Break

# In tokens, as in A1111: a phrase that would be split moves to the next chunk if the comma before it is this near.
COMMA_BACKTRACK = 20


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    @property
    def model_max_length(self) -> int:
        """Number of tokens the text encoder takes at once, including the start and end tokens."""

    @property
    def bos_token_id(self) -> int:
        """The start token of every chunk."""

    @property
    def eos_token_id(self) -> int:
        """The end token after the text of a chunk."""

    @property
    def pad_token_id(self) -> int:
        """The token that pads a chunk."""

    @property
    def added_tokens_encoder(self) -> Mapping[str, int]:
        """Tokens beyond the vocabulary, such as textual inversions."""

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> Mapping[str, list[int]]:
        """Return the text's tokens under ``input_ids``."""

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of tokens."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one chunk, without start and end tokens and without padding.

    Attributes:
        ids: Token ids, at most ``chunk_capacity``; negative ones are vectors of textual inversions.
        weights: One weight for each token, 0 to 100.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def chunk_capacity(tokenizer: Tokenizer) -> int:
    """Return how many text tokens fit into a chunk: all but the start and end tokens."""
    return tokenizer.model_max_length - 2


def split_into_chunks(
    segments: Segments, tokenizer: Tokenizer, inversions: Inversions = NO_INVERSIONS
) -> tuple[Chunk, ...]:
    """Split weighted text into chunks, at least one.

    A break starts a new chunk. A phrase is not split if the comma before it is near enough, and neither is a textual
    inversion of several vectors: one that is marked in the text, or one of the tokenizer's (its tokens are ``name``,
    ``name_1``, ``name_2`` …, as diffusers adds them).
    """
    cutter = _ChunkBuilder(tokenizer)
    vectors = _multi_vector_tokens(tokenizer)
    for part in segments:
        if isinstance(part, Break):
            cutter.flush()
            continue
        for piece in inversions.split(part.text):
            if not isinstance(piece, str):
                cutter.add(piece, part.weight)
                continue
            for token in tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]:
                cutter.add(vectors.get(token, (token,)), part.weight)
    return cutter.finish()


class _ChunkBuilder:
    """Builds chunks: holds the chunk that is being filled and the complete ones."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._capacity = chunk_capacity(tokenizer)
        comma = tokenizer(",", add_special_tokens=False, verbose=False)["input_ids"]
        self._comma = comma[0] if len(comma) == 1 else None
        self._chunks: list[Chunk] = []
        self._ids: list[int] = []
        self._weights: list[float] = []

    def add(self, ids: Sequence[int], weight: float) -> None:
        """Add tokens that stay in one chunk, unless there are more than a chunk can hold."""
        if len(ids) > self._capacity:
            for each in ids:
                self.add((each,), weight)
            return
        if len(self._ids) + len(ids) > self._capacity:
            self.flush(self._split_position(ids[0]))
        if len(self._ids) + len(ids) > self._capacity:
            self.flush()
        self._ids += ids
        self._weights += [weight] * len(ids)

    def flush(self, count: int | None = None) -> None:
        """Complete the chunk after ``count`` tokens; the others start the next one."""
        count = len(self._ids) if count is None else count
        self._chunks.append(Chunk(tuple(self._ids[:count]), tuple(self._weights[:count])))
        del self._ids[:count], self._weights[:count]

    def finish(self) -> tuple[Chunk, ...]:
        if self._ids or not self._chunks:
            self.flush()
        return tuple(self._chunks)

    def _split_position(self, incoming: int) -> int:
        """Return where a full chunk ends: after the last comma, if it is near and the phrase after it continues."""
        if incoming == self._comma:
            return len(self._ids)
        reach = min(COMMA_BACKTRACK, self._capacity // 2)
        first = max(0, len(self._ids) - reach)
        places = (i + 1 for i in range(len(self._ids) - 1, first - 1, -1) if self._ids[i] == self._comma)
        return next(places, len(self._ids))


def _multi_vector_tokens(tokenizer: Tokenizer) -> dict[int, tuple[int, ...]]:
    """Map the first token of each textual inversion of several vectors to all of its tokens."""
    added = tokenizer.added_tokens_encoder
    return {
        first: _inversion_tokens(name, first, added) for name, first in added.items() if f"{name}_1" in added
    }


def _inversion_tokens(name: str, first: int, added: Mapping[str, int]) -> tuple[int, ...]:
    ids = [first]
    while (following := added.get(f"{name}_{len(ids)}")) is not None:
        ids.append(following)
    return tuple(ids)
