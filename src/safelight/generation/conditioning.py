"""Conversion of prompts to a pipeline's input: our own embeddings for CLIP text encoders, plain text for all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Protocol

import torch

from safelight.errors import UnsupportedError
from safelight.generation.plan import ExpandedPrompts
from safelight.generation.prompts import Break, parse_prompt, plain_text, prompt_phases
from safelight.generation.prompts.embedding_cache import EmbeddingCache
from safelight.generation.prompts.encode import (
    Conditioning,
    ConditioningPhase,
    PromptEncoder,
    sd_encoder,
    sdxl_encoder,
)
from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions, with_plain_names
from safelight.generation.prompts.schedule import is_scheduled, is_weighted, segments_at
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.models.tokenizers.prompt_limit import PromptLimit, prompt_limit_of
from safelight.runtime.component import Patch


@dataclass(frozen=True)
class EncoderCall:
    """What the text encoders encode for one pass.

    Args:
        prompts: Prompt and negative prompt.
        steps: Steps of this pass.
        clip_skip: 1 is the text encoder's last layer.
        previous_steps: Steps of the previous pass.
        patches: Patches of the text encoders that are in effect, by component.
        inversions: The textual inversions that the prompts may name.
        others: Other prompts of the pass, whose embeddings are to have the same shapes.
    """

    prompts: ExpandedPrompts
    steps: int
    clip_skip: int = 1
    previous_steps: int = 0
    patches: Mapping[str, tuple[Patch, ...]] = field(default_factory=dict)
    inversions: Inversions = NO_INVERSIONS
    others: tuple[str, ...] = ()


class PromptConditioning(Protocol):
    """How a checkpoint is conditioned on prompts."""

    def plain(self, prompts: ExpandedPrompts) -> tuple[str, str]:
        """Prompt and negative prompt as plain text, for pipelines that encode text themselves."""

    def phases(self, call: EncoderCall) -> Sequence[ConditioningPhase]:
        """Embeddings by step; empty for pipelines that encode text themselves."""

    def notes(self, prompts: ExpandedPrompts) -> tuple[str, ...]:
        """Notes on parts that have another effect than their syntax suggests."""


@dataclass(frozen=True)
class EmbeddingConditioning:
    """For CLIP text encoders: weights, chunks, breaks and schedules have an effect.

    Args:
        encoder: Encodes with all text encoders.
        components: The text encoders' component names, in the encoder's order.
        dtype: The denoiser's data type.
    """

    encoder: PromptEncoder
    components: tuple[str, ...]
    dtype: torch.dtype

    def plain(self, prompts: ExpandedPrompts) -> tuple[str, str]:
        """Prompt and negative prompt unchanged; the pipeline uses the embeddings."""
        return prompts.prompt, prompts.negative_prompt

    def phases(self, call: EncoderCall) -> Sequence[ConditioningPhase]:
        """Embeddings by step; of a composed prompt those of its first part."""
        texts = (call.prompts.parts[0].text, call.prompts.negative_prompt, *call.others)
        positive, negative, *others = (
            prompt_phases(
                parse_prompt(call.inversions.mark(text)), call.steps, previous_steps=call.previous_steps
            )
            for text in texts
        )
        patches = [call.patches.get(name, ()) for name in self.components]
        encoder = self.encoder.patched(patches, call.inversions)
        phases = encoder.encode_phases(
            positive, negative, clip_skip=call.clip_skip, others=list(chain.from_iterable(others))
        )
        return [
            replace(phase, positive=phase.positive.to(self.dtype), negative=phase.negative.to(self.dtype))
            for phase in phases
        ]

    def notes(self, prompts: ExpandedPrompts) -> tuple[str, ...]:
        """The parser's notes."""
        return _parser_notes(prompts)


@dataclass(frozen=True)
class TextConditioning:
    """For all other text encoders: only plain text has an effect, and notes say what was ignored.

    Args:
        family: The title of the checkpoint's family.
        token_limit: The token limit of the text encoder; None if it is unknown.
    """

    family: str
    token_limit: PromptLimit | None = None

    def plain(self, prompts: ExpandedPrompts) -> tuple[str, str]:
        """Both prompts without weights and breaks; of a composed prompt its first part.

        Raises:
            UnsupportedError: A prompt changes from step to step.
        """
        for text in prompts.texts:
            self._plain_text(text)
        return self._plain_text(prompts.parts[0].text), self._plain_text(prompts.negative_prompt)

    def phases(self, call: EncoderCall) -> Sequence[ConditioningPhase]:  # noqa: ARG002  the protocol's
        """None: the pipeline encodes the text."""
        return ()

    def notes(self, prompts: ExpandedPrompts) -> tuple[str, ...]:
        """The parser's notes, and what was ignored: weights, breaks, the end of prompts that are too long."""
        found = [segments_at(parse_prompt(text), 0, 1) for text in prompts.texts]
        ignored = []
        if any(map(is_weighted, found)):
            ignored.append(f"{self.family} takes no weights: they had no effect.")
        if any(isinstance(part, Break) for segments in found for part in segments):
            ignored.append(f"{self.family} reads a prompt in one piece: BREAK had no effect.")
        return (*_parser_notes(prompts), *ignored, *self._truncation_notes(prompts))

    def _truncation_notes(self, prompts: ExpandedPrompts) -> Iterator[str]:
        if self.token_limit is None:
            return
        names = (*("prompt" for _ in prompts.parts), "negative prompt", *("region" for _ in prompts.regions))
        for name, text in zip(names, map(self._plain_text, prompts.texts), strict=True):
            if (count := self.token_limit.count_tokens(text)) > self.token_limit.max_tokens:
                yield (
                    f"The {name} has {count} tokens, of which "
                    f"{self.family} reads the first {self.token_limit.max_tokens}: "
                    "the rest had no effect."
                )

    def _plain_text(self, text: str) -> str:
        parsed = parse_prompt(text)
        if is_scheduled(parsed):
            raise UnsupportedError(
                f"{self.family} takes one prompt from the first step to the last.",
                hint="Leave out [from:to:when] and [a|b], or write the bracket with a backslash.",
            )
        return plain_text(parsed, 0, 1)


def make_conditioning(loaded: LoadedCheckpoint, cache: EmbeddingCache[Conditioning]) -> PromptConditioning:
    """The conditioning of a loaded checkpoint.

    Args:
        loaded: The checkpoint.
        cache: The embedding cache, shared by all checkpoints.

    Raises:
        CheckpointInvalidError: A tokenizer does not match its text encoder.
    """
    family, parts = loaded.family, loaded.components
    if family.text_encoding == "plain":
        return TextConditioning(family.title, prompt_limit_of(loaded))
    encoders: list[Any] = [parts[name] for name in family.text_encoders]
    tokenizers: list[Any] = [
        parts[name.replace("text_encoder", "tokenizer")] for name in family.text_encoders
    ]
    if family.text_encoding == "clip":
        encoder = sd_encoder(tokenizers[0], encoders[0], cache=cache, identity=loaded.text_identity)
        return EmbeddingConditioning(encoder, family.text_encoders, loaded.denoiser.dtype)
    zeros = bool(loaded.options.get("force_zeros_for_empty_prompt", True))
    encoder = sdxl_encoder(
        tokenizers, encoders, zeros_for_empty=zeros, cache=cache, identity=loaded.text_identity
    )
    return EmbeddingConditioning(encoder, family.text_encoders, loaded.denoiser.dtype)


def _parser_notes(prompts: ExpandedPrompts) -> tuple[str, ...]:
    found = [parse_prompt(with_plain_names(text)) for text in prompts.texts]
    return tuple(note.message for parsed in found for note in parsed.notes)
