"""What CLIP text encoders make of a prompt: the embeddings a denoiser is conditioned on.

Without weights and within one chunk this is, to the bit, what diffusers' own pipelines compute. Beyond that it
does what AUTOMATIC1111's web UI made common: long prompts in chunks, weights on the embeddings.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from safelight.errors import CheckpointInvalidError, RequestError
from safelight.generation.prompts.cache import EmbeddingCache
from safelight.generation.prompts.chunks import Chunk, Tokenizer, chunk_room, chunked
from safelight.generation.prompts.schedule import Phase, Segments
from safelight.generation.prompts.tree import Break

CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the denoiser gets for a prompt.

    Attributes:
        embeddings: (1, tokens, width); tokens is a multiple of the chunk's length.
        pooled: (1, width) of the first chunk, from encoders with a projection; None where there is none.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return sum(int(each.nbytes) for each in (self.embeddings, self.pooled) if each is not None)

    def zeros(self) -> Conditioning:
        """The same with nothing in it."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.embeddings), pooled)


@dataclass(frozen=True, slots=True)
class GuidedPhase:
    """Steps that follow each other and share their conditioning.

    Attributes:
        first_step: Where the phase begins, from 0; it lasts until the next one.
        positive: What to draw.
        negative: What to keep away from; of the same shapes as positive.
    """

    first_step: int
    positive: Conditioning
    negative: Conditioning


class TextEncoder(Protocol):
    """What is needed of a transformers CLIPTextModel, with or without a projection."""

    config: CLIPConfig
    device: torch.device
    dtype: torch.dtype

    def __call__(self, input_ids: torch.Tensor, *, output_hidden_states: bool) -> TextEncoderOutput:
        """Token ids (1, tokens) to hidden states."""


class CLIPConfig(Protocol):
    """What is needed of a CLIPTextConfig."""

    num_hidden_layers: int
    max_position_embeddings: int


class TextEncoderOutput(Protocol):
    """What is needed of its result; ``text_embeds`` (1, width) beside it, where there is a projection."""

    last_hidden_state: torch.Tensor
    hidden_states: Sequence[torch.Tensor]


class ClipEncoder:
    """One CLIP text encoder with its tokenizer.

    Args:
        tokenizer: A CLIPTokenizer.
        text_encoder: A CLIPTextModel or CLIPTextModelWithProjection.
        layer: Which layer the checkpoint was trained with, from the end: 1 is the last. A clip skip below it
            changes nothing.
        final_norm: Whether the final layer norm is applied to it.
        restore_mean: Whether the embeddings' mean is brought back after weighing.

    Raises:
        CheckpointInvalidError: The tokenizer makes longer texts than the text encoder reads.
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

    def chunks(self, segments: Segments) -> tuple[Chunk, ...]:
        """The words as chunks of this encoder's tokens, at least one."""
        return chunked(segments, self._tokenizer)

    def check_clip_skip(self, clip_skip: int) -> None:
        """See that there is such a layer.

        Raises:
            RequestError: There is none.
        """
        layers = self._encoder.config.num_hidden_layers
        if not 1 <= clip_skip <= layers:
            raise RequestError(
                f"clip_skip {clip_skip}: this checkpoint's text encoder has layers 1 to {layers}."
            )

    def encode(self, chunks: Sequence[Chunk], clip_skip: int = 1) -> Conditioning:
        """Each chunk on its own, then side by side: (1, chunks x length, width).

        Args:
            chunks: At least one.
            clip_skip: The layer to take, from the end; 1 is the last.

        Raises:
            RequestError: There is no such layer.
        """
        self.check_clip_skip(clip_skip)
        with torch.no_grad():
            hidden, pooled = zip(*(self._encode_chunk(chunk, clip_skip) for chunk in chunks), strict=True)
        return Conditioning(torch.cat(hidden, dim=1), pooled[0])

    def _encode_chunk(self, chunk: Chunk, clip_skip: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        layer = max(clip_skip, self._layer)
        wants_states = layer > 1 or not self._final_norm
        ids = torch.tensor([self._framed(chunk)], device=self._encoder.device)
        output = self._encoder(ids, output_hidden_states=wants_states)
        hidden = output.hidden_states[-layer] if wants_states else output.last_hidden_state
        if wants_states and self._final_norm:
            hidden = self._norm(hidden)
        return self._weighed(hidden, chunk.weights), getattr(output, "text_embeds", None)

    def _framed(self, chunk: Chunk) -> list[int]:
        fill = [self._tokenizer.pad_token_id] * (chunk_room(self._tokenizer) - len(chunk.ids))
        return [self._tokenizer.bos_token_id, *chunk.ids, self._tokenizer.eos_token_id, *fill]

    def _norm(self, hidden: torch.Tensor) -> torch.Tensor:
        # The layers lie in the model itself, or under text_model beside a projection and in older versions.
        inner: Any = getattr(self._encoder, "text_model", self._encoder)
        return inner.final_layer_norm(hidden)

    def _weighed(self, hidden: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
        """Each token's embedding times its weight, then all by one factor, so that the mean is as before.

        The factor lies between 1/greatest and 1/least weight wherever the tokens' means have one sign, as those
        of the usual CLIPs have. Where they cancel out it would be a quotient of noise, so it is kept in there.
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
    """All the CLIP text encoders of a checkpoint: their embeddings side by side, the last one's pooled.

    Args:
        encoders: One, or two for SDXL.
        zeros_for_empty: Whether an empty negative prompt is zeros instead of an empty text's embedding
            (``force_zeros_for_empty_prompt`` in an SDXL checkpoint's model_index.json).
        cache: Where embeddings are kept; one of 64 MiB of its own when not given.
        identity: What the encoders' weights are known by, adapters included: part of every key of the cache.
    """

    def __init__(
        self,
        encoders: Sequence[ClipEncoder],
        *,
        zeros_for_empty: bool = False,
        cache: EmbeddingCache[Conditioning] | None = None,
        identity: Hashable = (),
    ) -> None:
        self._encoders = tuple(encoders)
        self._zeros_for_empty = zeros_for_empty
        self._identity = identity
        self.cache = EmbeddingCache[Conditioning](CACHE_BYTES) if cache is None else cache

    def chunk_count(self, segments: Segments) -> int:
        """How many chunks the words need, at least 1."""
        return max(len(encoder.chunks(segments)) for encoder in self._encoders)

    def encode(self, segments: Segments, *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        """Words to embeddings.

        Args:
            segments: Words with their weights and breaks; none at all is the empty prompt.
            clip_skip: Which layer of the text encoders, from the end; 1 is the last.
            chunks: How many chunks there are to be at least; empty ones are added.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(chunks, self.chunk_count(segments))
        key = (self._identity, segments, clip_skip, count)
        return self.cache.get(key, lambda: self._encode(segments, clip_skip, count))

    def encode_pair(
        self, positive: Segments, negative: Segments, *, clip_skip: int = 1, chunks: int = 1
    ) -> tuple[Conditioning, Conditioning]:
        """A prompt and a negative prompt, with as many chunks as the longer of them needs.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(chunks, self.chunk_count(positive), self.chunk_count(negative))
        drawn = self.encode(positive, clip_skip=clip_skip, chunks=count)
        if self._zeros_for_empty and all(isinstance(part, Break) for part in negative):
            return drawn, drawn.zeros()
        return drawn, self.encode(negative, clip_skip=clip_skip, chunks=count)

    def encode_phases(
        self, positive: Sequence[Phase], negative: Sequence[Phase], *, clip_skip: int = 1
    ) -> list[GuidedPhase]:
        """A whole pass: a new phase wherever either prompt changes, all of the same shapes.

        Args:
            positive: The prompt's phases, the first from step 0 (``phases``).
            negative: Those of the negative prompt.
            clip_skip: Which layer of the text encoders, from the end; 1 is the last.

        Raises:
            RequestError: The text encoders have no such layer.
        """
        count = max(self.chunk_count(phase.segments) for phase in (*positive, *negative))
        found = []
        for step in sorted({phase.first_step for phase in (*positive, *negative)}):
            words = _words_at(positive, step), _words_at(negative, step)
            found.append(GuidedPhase(step, *self.encode_pair(*words, clip_skip=clip_skip, chunks=count)))
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
    """For Stable Diffusion 1 and 2: one CLIP text encoder, its last layer by default.

    Raises:
        CheckpointInvalidError: Tokenizer and text encoder do not fit.
    """
    return PromptEncoder([ClipEncoder(tokenizer, text_encoder)], cache=cache, identity=identity)


def sdxl_encoder(
    tokenizers: Sequence[Tokenizer],
    text_encoders: Sequence[TextEncoder],
    *,
    zeros_for_empty: bool = True,
    cache: EmbeddingCache[Conditioning] | None = None,
    identity: Hashable = (),
) -> PromptEncoder:
    """For SDXL: two text encoders (the refiner: the second alone), the layer before the last, without final norm.

    Clip skip 1 and 2 are the same here, since no SDXL checkpoint was trained with the last layer.

    Raises:
        CheckpointInvalidError: A tokenizer and its text encoder do not fit.
    """
    pairs = zip(tokenizers, text_encoders, strict=True)
    encoders = [ClipEncoder(*pair, layer=2, final_norm=False) for pair in pairs]
    return PromptEncoder(encoders, zeros_for_empty=zeros_for_empty, cache=cache, identity=identity)


def _words_at(phases: Sequence[Phase], step: int) -> Segments:
    return [phase.segments for phase in phases if phase.first_step <= step][-1]
