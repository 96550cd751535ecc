"""Count the tokens of a prompt and the chunks they fill."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from safelight.generation.prompts.chunks import Tokenizer, chunk_room, chunked
from safelight.generation.prompts.schedule import nodes_of, segments_at
from safelight.generation.prompts.tree import Alternation, Emphasis, Node, ParsedPrompt, Schedule, Text

MOST_PHASES, MOST_CHARACTERS = 32, 20_000
"""Limits of what is tokenized: phases, and characters of them. Ten thousand take a few hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Count:
    """The length of a prompt for its text encoders.

    Attributes:
        tokens: Number of tokens of the longest phase, without start, end and padding tokens.
        chunks: Number of chunks it fills, at least 1.
        room: Number of text tokens that fit into a chunk.
    """

    tokens: int
    chunks: int
    room: int


def count(parsed: ParsedPrompt, steps: int, tokenizers: Sequence[Tokenizer]) -> Count:
    """Count the tokens of a prompt: those of the longest of its phases, for the text encoder with the most.

    If there are more than ``MOST_PHASES`` different phases (fewer for a long prompt, see ``most_phases``), only those
    with the most characters are counted. The time grows with the prompt and with the steps, but not with their product.

    Args:
        parsed: The prompt.
        steps: Number of steps, at least 1.
        tokenizers: One for each text encoder, at least one.
    """
    lengths = _lengths(parsed, steps)
    longest = nlargest(
        most_phases(parsed.text), _different(parsed, steps), key=lambda step: int(lengths[step])
    )
    phases = dict.fromkeys(segments_at(parsed, step, steps) for step in longest)
    cut = [chunked(phase, tokenizer) for phase in phases for tokenizer in tokenizers]
    return Count(
        tokens=max(sum(len(chunk.ids) for chunk in chunks) for chunks in cut),
        chunks=max(len(chunks) for chunks in cut),
        room=min(chunk_room(tokenizer) for tokenizer in tokenizers),
    )


def most_phases(prompt: str) -> int:
    """Return how many phases of a prompt are counted: 2 to ``MOST_PHASES``, limited by ``MOST_CHARACTERS``."""
    return min(MOST_PHASES, max(2, MOST_CHARACTERS // max(1, len(prompt))))


def _different(parsed: ParsedPrompt, steps: int) -> list[int]:
    """Return one step for each state of the schedules and alternations: steps in the same state have the same text."""
    nodes = list(nodes_of(parsed.tree))
    begins = sorted({node.when.step(steps, 0) for node in nodes if isinstance(node, Schedule)})
    period = lcm(*(len(node.options) for node in nodes if isinstance(node, Alternation)))
    return list({(bisect_right(begins, step), step % period): step for step in range(steps)}.values())


def _lengths(parsed: ParsedPrompt, steps: int) -> NDArray[np.int64]:
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
