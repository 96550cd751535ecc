"""Explain how a prompt is parsed: its tree, its phases, and the tokens of each chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from safelight.generation.prompts.chunks import Chunk, Tokenizer, chunk_capacity, split_into_chunks
from safelight.generation.prompts.grammar import parse_prompt
from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions
from safelight.generation.prompts.schedule import Phase, Segments, prompt_phases
from safelight.generation.prompts.tree import (
    Alternation,
    Break,
    Emphasis,
    Node,
    ParsedPrompt,
    Schedule,
    Text,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a chunk: its text and its weight."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class PromptExplanation:
    """The interpretation of a prompt; ``str()`` is for people, ``to_dict()`` for programs.

    Attributes:
        parsed: The parsed prompt.
        steps: Number of steps.
        phases: The text of each phase of the steps.
        chunks: The token chunks of each phase; empty without a tokenizer.
        chunk_capacity: Number of tokens that fit into a chunk; None without a tokenizer.
    """

    parsed: ParsedPrompt
    steps: int
    phases: tuple[Phase, ...]
    chunks: tuple[tuple[tuple[Token, ...], ...], ...]
    chunk_capacity: int | None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def to_dict(self) -> dict[str, object]:
        """Return the explanation as JSON values."""
        return {
            "prompt": self.parsed.text,
            "steps": self.steps,
            "tree": [_node_dict(node) for node in self.parsed.tree],
            "notes": [{"at": note.position, "message": note.message} for note in self.parsed.notes],
            "tokens_per_chunk": self.chunk_capacity,
            "phases": [
                {"first_step": phase.first_step, "segments": _segment_dicts(phase.segments), "chunks": chunks}
                for phase, chunks in zip(self.phases, self._chunk_dicts(), strict=True)
            ],
        }

    def _chunk_dicts(self) -> list[list[list[dict[str, object]]] | None]:
        if self.chunk_capacity is None:
            return [None] * len(self.phases)
        return [
            [[{"text": token.text, "weight": token.weight} for token in chunk] for chunk in chunks]
            for chunks in self.chunks
        ]

    def _lines(self) -> Iterator[str]:
        yield from _tree_lines(self.parsed.tree, "") if self.parsed.tree else ["(nothing)"]
        for note in self.parsed.notes:
            yield f"note at character {note.position}: {note.message}"
        ends = [phase.first_step for phase in self.phases[1:]] + [self.steps]
        for index, (phase, end) in enumerate(zip(self.phases, ends, strict=True)):
            first = phase.first_step + 1
            yield f"{f'step {end}' if first == end else f'steps {first} to {end}'} of {self.steps}:"
            yield from (f"  {line}" for line in _segment_lines(phase.segments))
            for number, chunk in enumerate(self.chunks[index] if self.chunk_capacity else (), 1):
                words = " ".join(_format_weighted(token.text, token.weight) for token in chunk)
                yield f"  chunk {number}, {len(chunk)} of {self.chunk_capacity} tokens: {words}".rstrip()


def explain_prompt(
    prompt: str | ParsedPrompt,
    steps: int = 20,
    tokenizer: Tokenizer | None = None,
    inversions: Inversions = NO_INVERSIONS,
) -> PromptExplanation:
    """Explain how a prompt is parsed.

    Args:
        prompt: The prompt, with wildcards and variants already expanded.
        steps: Number of steps, at least 1.
        tokenizer: If given, the token chunks are included.
        inversions: The textual inversions that the prompt may name.

    Raises:
        PromptError: The prompt cannot be parsed.
        RequestError: steps is not positive.
    """
    parsed = parse_prompt(inversions.mark(prompt)) if isinstance(prompt, str) else prompt
    found = tuple(prompt_phases(parsed, steps))
    shown = replace(parsed, tree=_with_names(parsed.tree, inversions))
    if isinstance(prompt, str):
        shown = replace(shown, text=prompt)
    phases = tuple(replace(phase, segments=_named_segments(phase.segments, inversions)) for phase in found)
    if tokenizer is None:
        return PromptExplanation(shown, steps, phases, (), None)
    chunks = tuple(
        tuple(
            _decode_tokens(chunk, tokenizer, inversions)
            for chunk in split_into_chunks(phase.segments, tokenizer, inversions)
        )
        for phase in found
    )
    return PromptExplanation(shown, steps, phases, chunks, chunk_capacity(tokenizer))


def _decode_tokens(chunk: Chunk, tokenizer: Tokenizer, inversions: Inversions) -> tuple[Token, ...]:
    pairs = zip(chunk.ids, chunk.weights, strict=True)
    return tuple(
        Token(inversions.name_of(each) if each < 0 else tokenizer.decode([each]).strip(), weight)
        for each, weight in pairs
    )


def _with_names(nodes: Sequence[Node], inversions: Inversions) -> tuple[Node, ...]:
    """Nodes with the names of textual inversions in place of their marks."""
    return tuple(_with_names_in(node, inversions) for node in nodes)


def _with_names_in(node: Node, inversions: Inversions) -> Node:
    match node:
        case Text(text):
            return replace(node, text=inversions.readable(text))
        case Break():
            return node
        case Emphasis(children):
            return replace(node, children=_with_names(children, inversions))
        case Schedule(before, after):
            return replace(node, before=_with_names(before, inversions), after=_with_names(after, inversions))
        case Alternation(options):
            return replace(node, options=tuple(_with_names(option, inversions) for option in options))


def _named_segments(segments: Segments, inversions: Inversions) -> Segments:
    return tuple(
        part if isinstance(part, Break) else replace(part, text=inversions.readable(part.text))
        for part in segments
    )


def _format_weighted(text: str, weight: float) -> str:
    return text if weight == 1 else f"{text}*{weight:.4g}"


def _segment_dicts(segments: Segments) -> list[dict[str, object]]:
    return [
        {"break": True} if isinstance(part, Break) else {"text": part.text, "weight": part.weight}
        for part in segments
    ]


def _segment_lines(segments: Segments) -> Iterator[str]:
    if not segments:
        yield "(nothing)"
    for part in segments:
        yield "BREAK" if isinstance(part, Break) else _format_weighted(repr(part.text), part.weight)


def _node_dict(node: Node) -> dict[str, object]:
    match node:
        case Text(text):
            return {"text": text}
        case Break():
            return {"break": True}
        case Emphasis(children, weight):
            return {"weight": weight, "of": _node_dicts(children)}
        case Schedule(before, after, when):
            moment: dict[str, object] = {"share" if when.is_fraction else "step": when.value}
            return {"until": moment, "before": _node_dicts(before), "after": _node_dicts(after)}
        case Alternation(options):
            return {"alternate": [_node_dicts(option) for option in options]}


def _node_dicts(nodes: Sequence[Node]) -> list[dict[str, object]]:
    return [_node_dict(node) for node in nodes]


def _tree_lines(nodes: Sequence[Node], indent: str) -> Iterator[str]:
    for node in nodes:
        match node:
            case Text(text):
                yield f"{indent}{text!r}"
            case Break():
                yield f"{indent}BREAK"
            case Emphasis(children, weight):
                yield f"{indent}weight {weight:.4g}"
                yield from _tree_lines(children, indent + "  ")
            case Schedule(before, after, when):
                moment = f"{when} of the steps" if when.is_fraction else f"step {when}"
                yield from _branch_lines(f"until {moment}", before, indent)
                yield from _branch_lines("from then on", after, indent)
            case Alternation(options):
                yield f"{indent}in turn, one step each"
                for number, option in enumerate(options, 1):
                    yield from _branch_lines(str(number), option, indent + "  ")


def _branch_lines(name: str, nodes: Sequence[Node], indent: str) -> Iterator[str]:
    yield f"{indent}{name}{'' if nodes else ' (nothing)'}"
    yield from _tree_lines(nodes, indent + "  ")
