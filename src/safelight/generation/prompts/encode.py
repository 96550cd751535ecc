"""Encode prompts with CLIP text encoders into the embeddings a denoiser is conditioned on.

Without weights and within one chunk the result equals, bit for bit, what diffusers' pipelines compute. Beyond that it
follows AUTOMATIC1111's web UI: long prompts are split into chunks, and weights multiply the embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from safelight.errors import CheckpointInvalidError, RequestError
from safelight.generation.prompts.chunks import Chunk, Tokenizer, chunk_capacity, split_into_chunks
from safelight.generation.prompts.embedding_cache import EmbeddingCache
from safelight.generation.prompts.inversions import NO_INVERSIONS, Inversions
from safelight.generation.prompts.schedule import Phase, Segments
from safelight.generation.prompts.tree import Break
from safelight.runtime.component import Patch
from safelight.runtime.patching import patched

CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The text embeddings of a prompt.

    Attributes:
        embeddings: (1, tokens, width); tokens is a multiple of the chunk's length.
        pooled: (1, width), of the first chunk; None if the encoder has no projection.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(int(each.nbytes) for each in (self.embeddings, self.pooled) if each is not None)

    def to(self, dtype: torch.dtype) -> Conditioning:
        """Return the conditioning in another data type."""
        pooled = None if self.pooled is None else self.pooled.to(dtype)
        return Conditioning(self.embeddings.to(dtype), pooled)

    def zeros(self) -> Conditioning:
        """Return a conditioning of the same shapes, all zeros."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.embeddings), pooled)


@dataclass(frozen=True, slots=True)
class ConditioningPhase:
    """Consecutive steps with the same conditioning.

    Attributes:
        first_step: The first step, from 0; the phase lasts until the next one.
        positive: Conditioning of the prompt.
        negative: Conditioning of the negative prompt, of the same shapes.
    """

    first_step: int
    positive: Conditioning
    negative: Conditioning


class TextEncoder(Protocol):
    """The part of a transformers CLIPTextModel that is used here, with or without a projection."""

    config: CLIPConfig
    device: torch.device
    dtype: torch.dtype

    def __call__(self, input_ids: torch.Tensor, *, output_hidden_states: bool) -> TextEncoderOutput:
        """Encode token ids (1, tokens) to hidden states."""


class CLIPConfig(Protocol):
    """The part of a CLIPTextConfig that is used here."""

    num_hidden_layers: int
    max_position_embeddings: int


class TextEncoderOutput(Protocol):
    """The part of the text encoder's output that is used here; with a projection also ``text_embeds`` (1, width)."""

    last_hidden_state: torch.Tensor
    hidden_states: Sequence[torch.Tensor]


class CLIPEncoder:
    """One CLIP text encoder with its tokenizer.

    Args:
        tokenizer: A CLIPTokenizer.
        text_encoder: A CLIPTextModel or CLIPTextModelWithProjection.
        layer: The layer the checkpoint was trained with, counted from the end: 1 is the last. A clip skip below it
            has no effect.
        final_norm: Whether the final layer norm is applied to that layer.
        restore_mean: Whether the embeddings' mean is restored after weighting.

    Raises:
        CheckpointInvalidError: The tokenizer returns more tokens than the text encoder takes.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        text_encoder: TextEncoder,
        *,
        layer: int = 1,
        final_norm: bool = True,
        restore_mean: bool = True,
    ) -> None:
        positions = text_encoder.config.max_position_embeddings
        if not 3 <= tokenizer.model_max_length <= positions:
            raise CheckpointInvalidError(
                f"The tokenizer's model_max_length is {tokenizer.model_max_length}; "
                f"the text encoder reads 3 to {positions} tokens.",
                hint="Set model_max_length in tokenizer/tokenizer_config.json to what the text encoder reads.",
            )
        self._tokenizer = tokenizer
        self._encoder = text_encoder
        self._layer = layer
        self._final_norm = final_norm
        self._restore_mean = restore_mean
        self.patches: tuple[Patch, ...] = ()
        self._inversions = NO_INVERSIONS

    def patched(self, patches: tuple[Patch, ...], inversions: Inversions = NO_INVERSIONS) -> CLIPEncoder:
        """The same encoder with patches of its network, which are in effect while it encodes.

        Args:
            patches: The patches, among them those with the vectors of textual inversions.
            inversions: The textual inversions that are marked in the text.
        """
        encoder = copy.copy(self)
        encoder.patches, encoder._inversions = patches, inversions
        return encoder

    def chunks(self, segments: Segments) -> tuple[Chunk, ...]:
        """Split weighted text into chunks of this encoder's tokens, at least one."""
        return split_into_chunks(segments, self._tokenizer, self._inversions)

    def check_clip_skip(self, clip_skip: int) -> None:
        """Check that the text encoder has the layer of a clip skip.

        Raises:
            RequestError: There is no such layer.
        """
        layers = self._encoder.config.num_hidden_layers
        if not 1 <= clip_skip <= layers:
            raise RequestError(
                f"clip_skip {clip_skip}: this checkpoint's text encoder has layers 1 to {layers}.",
                field="clip_skip",
                context={"minimum": 1, "maximum": layers},
            )

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        """Encode each chunk and concatenate them: (1, chunks x length, width).

        Gradients are recorded unless the caller is in ``torch.no_grad``.

        Args:
            chunks: At least one.
            clip_skip: The layer to use, counted from the end; 1 is the last.

        Raises:
            RequestError: There is no such layer.
        """
        self.check_clip_skip(clip_skip)
        with patched(self._encoder, self.patches):
            hidden, pooled = zip(*(self._encode_chunk(chunk, clip_skip) for chunk in chunks), strict=True)
        return Conditioning(torch.cat(hidden, dim=1), pooled[0])

    def _encode_chunk(self, chunk: Chunk, clip_skip: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        layer = max(clip_skip, self._layer)
        wants_states = layer > 1 or not self._final_norm
        ids = torch.tensor([self._with_special_tokens(chunk)], device=self._encoder.device)
        output = self._encoder(ids, output_hidden_states=wants_states)
        hidden = output.hidden_states[-layer] if wants_states else output.last_hidden_state
        if wants_states and self._final_norm:
            hidden = self._apply_final_norm(hidden)
        return self._apply_weights(hidden, chunk.weights), getattr(output, "text_embeds", None)

    def _with_special_tokens(self, chunk: Chunk) -> list[int]:
        fill = [self._tokenizer.pad_token_id] * (chunk_capacity(self._tokenizer) - len(chunk.ids))
        return [self._tokenizer.bos_token_id, *chunk.ids, self._tokenizer.eos_token_id, *fill]

    def _apply_final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        # The layer norm is in the model itself, or in text_model for models with a projection and older versions.
        inner: Any = getattr(self._encoder, "text_model", self._encoder)
        norm: Any = inner.final_layer_norm
        return norm(hidden.to(norm.weight.device)).to(hidden.device)  # the encoder may be on another device

    def _apply_weights(self, hidden: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
        """Multiply each token's embedding by its weight, then all by one factor that restores the mean.

        The factor lies between 1/largest and 1/smallest weight if the tokens' means have the same sign, as they do in
        the usual CLIP models. If they cancel out, the factor would be a quotient of noise, so it is clamped to that
        range.
        """
        if all(weight == 1 for weight in weights):
            return hidden
        factors = torch.ones(hidden.shape[1], device=hidden.device)
        factors[1 : 1 + len(weights)] = torch.tensor(weights, device=hidden.device)
        exact = hidden.float()
        weighed = exact * factors[None, :, None]
        if self._restore_mean:
            ratio = torch.nan_to_num(exact.mean() / weighed.mean(), nan=1.0)
            weighed = weighed * ratio.clamp(1 / max(1.0, *weights), 1 / max(0.1, min(1.0, *weights)))
        return weighed.to(hidden.dtype)


class PromptEncoder:
    """All CLIP text encoders of a checkpoint: their embeddings are concatenated, the last one's pooled output is used.

    Args:
        encoders: One, or two for SDXL.
        zeros_for_empty: Whether an empty negative prompt is encoded as zeros instead of an empty text's embedding
            (``force_zeros_for_empty_prompt`` in an SDXL checkpoint's model_index.json).
        cache: Cache of embeddings; by default a new one of 64 MiB.
        identity: Identity of the encoders' weights, part of every cache key.
    """

    def __init__(
        self,
        encoders: Sequence[CLIPEncoder],
        *,
        zeros_for_empty: bool = False,
        cache: EmbeddingCache[Conditioning] | None = None,
        identity: Hashable = (),
    ) -> None:
        self._encoders = tuple(encoders)
        self._zeros_for_empty = zeros_for_empty
        self._identity = identity
        self.cache = EmbeddingCache[Conditioning](CACHE_BYTES) if cache is None else cache

    def patched(
        self, patches: Sequence[tuple[Patch, ...]], inversions: Inversions = NO_INVERSIONS
    ) -> PromptEncoder:
        """The same encoder with patches of its networks, those of each text encoder in order; it shares the cache.

        The inversions are part of the patches' identities.
        """
        encoder, pairs = copy.copy(self), zip(self._encoders, patches, strict=True)
        encoder._encoders = tuple(one.patched(own, inversions) for one, own in pairs)
        return encoder

    def count_chunks(self, segments: Segments) -> int:
        """Return how many chunks the text needs, at least 1."""
        return max(len(encoder.chunks(segments)) for encoder in self._encoders)

    def encode(self, segments: Segments, *, clip_skip: int = 1, min_chunks: int = 1) -> Conditioning:
        """Encode weighted text.

        Args:
            segments: Text with weights and breaks; empty for the empty prompt.
            clip_skip: Layer of the text encoders, counted from the end; 1 is the last.
            min_chunks: Minimum number of chunks; empty chunks are added.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(min_chunks, self.count_chunks(segments))
        patches = tuple(tuple(patch.identity for patch in encoder.patches) for encoder in self._encoders)
        key = (self._identity, patches, segments, clip_skip, count)

        def compute() -> Conditioning:
            with torch.no_grad():
                return self._encode(segments, clip_skip, count)

        return self.cache.get_or_compute(key, compute)

    def encode_with_gradients(self, segments: Segments, *, min_chunks: int = 1) -> Conditioning:
        """Encode weighted text without the cache, so that what the patches contain can be trained."""
        return self._encode(segments, 1, max(min_chunks, self.count_chunks(segments)))

    def encode_pair(
        self, positive: Segments, negative: Segments, *, clip_skip: int = 1, min_chunks: int = 1
    ) -> tuple[Conditioning, Conditioning]:
        """Encode a prompt and a negative prompt, both with as many chunks as the longer one needs.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(min_chunks, self.count_chunks(positive), self.count_chunks(negative))
        drawn = self.encode(positive, clip_skip=clip_skip, min_chunks=count)
        if self._zeros_for_empty and all(isinstance(part, Break) for part in negative):
            return drawn, drawn.zeros()
        return drawn, self.encode(negative, clip_skip=clip_skip, min_chunks=count)

    def encode_phases(
        self,
        positive: Sequence[Phase],
        negative: Sequence[Phase],
        *,
        clip_skip: int = 1,
        others: Sequence[Phase] = (),
    ) -> list[ConditioningPhase]:
        """Encode a whole pass: a new phase starts wherever either prompt changes, and all have the same shapes.

        Args:
            positive: The prompt's phases, the first from step 0 (``phases``).
            negative: The negative prompt's phases.
            clip_skip: Layer of the text encoders, counted from the end; 1 is the last.
            others: Phases of other prompts, whose embeddings are to have the same shapes too.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(self.count_chunks(phase.segments) for phase in (*positive, *negative, *others))
        found = []
        for step in sorted({phase.first_step for phase in (*positive, *negative)}):
            words = _segments_at(positive, step), _segments_at(negative, step)
            found.append(
                ConditioningPhase(step, *self.encode_pair(*words, clip_skip=clip_skip, min_chunks=count))
            )
        return found

    def _encode(self, segments: Segments, clip_skip: int, count: int) -> Conditioning:
        parts = []
        for encoder in self._encoders:
            chunks = encoder.chunks(segments)
            empty = encoder.chunks(())
            parts.append(encoder.encode((*chunks, *empty * (count - len(chunks))), clip_skip))
        embeddings = torch.cat([part.embeddings for part in parts], dim=-1)
        return Conditioning(embeddings.to(parts[-1].embeddings.dtype), parts[-1].pooled)


def sd_encoder(
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    *,
    cache: EmbeddingCache[Conditioning] | None = None,
    identity: Hashable = (),
) -> PromptEncoder:
    """Return the encoder of Stable Diffusion 1 and 2: one CLIP text encoder, its last layer by default.

    Raises:
        CheckpointInvalidError: The tokenizer does not match the text encoder.
    """
    return PromptEncoder([CLIPEncoder(tokenizer, text_encoder)], cache=cache, identity=identity)


def sdxl_encoder(
    tokenizers: Sequence[Tokenizer],
    text_encoders: Sequence[TextEncoder],
    *,
    zeros_for_empty: bool = True,
    cache: EmbeddingCache[Conditioning] | None = None,
    identity: Hashable = (),
) -> PromptEncoder:
    """Return the encoder of SDXL: two text encoders (refiner: the second only), penultimate layer, no final norm.

    Clip skip 1 and 2 are the same, since no SDXL checkpoint was trained with the last layer.

    Raises:
        CheckpointInvalidError: A tokenizer does not match its text encoder.
    """
    pairs = zip(tokenizers, text_encoders, strict=True)
    encoders = [CLIPEncoder(*pair, layer=2, final_norm=False) for pair in pairs]
    return PromptEncoder(encoders, zeros_for_empty=zeros_for_empty, cache=cache, identity=identity)


def _segments_at(phases: Sequence[Phase], step: int) -> Segments:
    return [phase.segments for phase in phases if phase.first_step <= step][-1]
