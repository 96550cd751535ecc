"""Count the tokens of a prompt and the chunks they fill."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from safelight.generation.prompts.chunks import Tokenizer, chunk_capacity, split_into_chunks
from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions
from safelight.generation.prompts.schedule import segments_at, walk
from safelight.generation.prompts.tree import Alternation, Emphasis, Node, ParsedPrompt, Schedule, Text

MAX_PHASES, MAX_CHARACTERS = 32, 20_000
"""Limits of what is tokenized: phases, and characters of them. Ten thousand take a few hundredths of a second."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The length of a prompt for its text encoders.

    Attributes:
        tokens: Number of tokens of the longest phase, without start, end and padding tokens.
        chunks: Number of chunks it fills, at least 1.
        chunk_capacity: Number of text tokens that fit into a chunk.
    """

    tokens: int
    chunks: int
    chunk_capacity: int


def count_tokens(
    parsed: ParsedPrompt,
    steps: int,
    tokenizers: Sequence[Tokenizer],
    inversions: Inversions = NO_INVERSIONS,
) -> TokenCount:
    """Count the tokens of a prompt: those of the longest of its phases, for the text encoder with the most.

    If there are more than ``MAX_PHASES`` different phases (fewer for a long prompt, see ``max_phases``), only those
    with the most characters are counted. The time grows with the prompt and with the steps, but not with their product.

    Args:
        parsed: The prompt.
        steps: Number of steps, at least 1.
        tokenizers: One for each text encoder, at least one.
        inversions: The textual inversions that are marked in the prompt.
    """
    lengths = _text_lengths(parsed, steps)
    longest = nlargest(
        max_phases(parsed.text), _distinct_steps(parsed, steps), key=lambda step: int(lengths[step])
    )
    phases = dict.fromkeys(segments_at(parsed, step, steps) for step in longest)
    cut = [split_into_chunks(phase, tokenizer, inversions) for phase in phases for tokenizer in tokenizers]
    return TokenCount(
        tokens=max(sum(len(chunk.ids) for chunk in chunks) for chunks in cut),
        chunks=max(len(chunks) for chunks in cut),
        chunk_capacity=min(chunk_capacity(tokenizer) for tokenizer in tokenizers),
    )


def max_phases(prompt: str) -> int:
    """Return how many phases of a prompt are counted: 2 to ``MAX_PHASES``, limited by ``MAX_CHARACTERS``."""
    return min(MAX_PHASES, max(2, MAX_CHARACTERS // max(1, len(prompt))))


def _distinct_steps(parsed: ParsedPrompt, steps: int) -> list[int]:
    """Return one step for each state of the schedules and alternations: steps in the same state have the same text."""
    nodes = list(walk(parsed.tree))
    begins = sorted({node.switch.step(steps, 0) for node in nodes if isinstance(node, Schedule)})
    period = lcm(*(len(node.options) for node in nodes if isinstance(node, Alternation)))
    return list({(bisect_right(begins, step), step % period): step for step in range(steps)}.values())


def _text_lengths(parsed: ParsedPrompt, steps: int) -> NDArray[np.int64]:
    """Return the number of characters of the text of each step: int64 [steps]."""
    lengths = np.zeros(steps, np.int64)

    def add(nodes: Sequence[Node], during: range) -> None:
        """Add the characters of nodes that apply during a range of steps; an alternation's option takes every nth."""
        plain = 0
        for node in nodes:
            match node:
                case Text(text):
                    plain += len(text)
                case Emphasis(children):
                    add(children, during)
                case Schedule(before, after, when):
                    turn = bisect_left(during, when.step(steps, 0))
                    add(before, during[:turn])
                    add(after, during[turn:])
                case Alternation(options):
                    number = len(options)
                    every = lcm(during.step, number)
                    for step in during[: number // gcd(during.step, number)]:
                        add(options[step % number], range(step, during.stop, every))
                case _:
                    pass
        lengths[during.start : during.stop : during.step] += plain

    add(parsed.tree, range(steps))
    return lengths
