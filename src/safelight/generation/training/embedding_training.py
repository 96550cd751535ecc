"""Train a textual inversion for a Stable Diffusion checkpoint from pictures with captions.

Only vectors that stand in prompts for a new word learn (Gal et al., 2022); text encoders and U-Net stay as they are,
and both run in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from safelight.errors import UsageError
from safelight.generation.modifiers.textual_inversions import VectorPatch
from safelight.generation.prompts.chunks import split_into_chunks
from safelight.generation.prompts.encode import Conditioning
from safelight.generation.prompts.inversions import Inversions, names_in
from safelight.generation.prompts.schedule import Segment, Segments
from safelight.generation.training.encoded_examples import (
    EncodedExamples,
    load_text_encoders,
    prompt_encoder,
)
from safelight.generation.training.examples import Example
from safelight.generation.training.noise_prediction import prediction_loss
from safelight.generation.training.trainer import Trainer, TrainingOptions, TrainingResult
from safelight.generation.training.training_state import TrainingState


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions(TrainingOptions):
    """How a textual inversion is trained.

    Args:
        vectors: How many tokens it takes in a prompt.
        words: Words of the vocabulary that the vectors begin as, repeated or cut to their number.
    """

    steps: int = 400
    learning_rate: float = 5e-3
    vectors: int = 4
    words: str = "picture"


@dataclass(frozen=True)
class TrainedEmbedding(TrainingResult):
    """The result of a training.

    Args:
        vectors: (vectors, width) by text encoder.
    """

    vectors: Mapping[str, Tensor]


class EmbeddingTrainer(Trainer[EmbeddingOptions]):
    """Trains one textual inversion."""

    def train(
        self,
        name: str,
        state_file: Path,
        *,
        on_step: Callable[[int, float], None] = lambda *_: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainedEmbedding:
        """Train, or go on where the same training was stopped.

        Args:
            name: The name that stands in the captions for the vectors, see ``with_name``.
            state_file: Where the state is kept every hundred steps, and when it is stopped; removed at the end.
            on_step: Called with the number of steps done and the loss of the last.
            should_stop: Asked after each step.

        Raises:
            TrainingDataError: A picture cannot be decoded.
            TrainingStateError: The state file is that of another training, or damaged.
            UsageError: The words to begin as have no token.
            OutputError: The state file cannot be written.
        """
        options, family = self._options, self._checkpoint.family
        state = TrainingState.load(state_file, self.identity)
        pictures = self._encode_pictures()
        self._on_message("Loading the text encoders …")
        networks, tokenizers = load_text_encoders(self._parts)
        for network in networks:
            network.requires_grad_(False)
        vectors = {
            encoder: nn.Parameter(initial_vectors(network, tokenizer, options))
            for encoder, network, tokenizer in zip(family.text_encoders, networks, tokenizers, strict=True)
        }
        inversions = Inversions({name: options.vectors})
        encoder = prompt_encoder(family, networks, tokenizers).patched(
            [(VectorPatch(name, each),) for each in vectors.values()], inversions
        )
        texts: list[Segments] = [(Segment(inversions.mark(each.caption)),) for each in self._examples]
        chunks = max(encoder.count_chunks(text) for text in texts)
        empty = encoder.encode_pair((), (), min_chunks=chunks)[1]
        unet, scheduler = self._load_unet()
        data = EncodedExamples(pictures.latents, [empty] * len(texts), empty, pictures.sizes)

        def compute_loss(step: int) -> Tensor:
            sample = self._sample(step, data, scheduler)
            captions: list[Conditioning] = [empty] * len(texts)
            for row in {row for row, drop in zip(sample.rows, sample.dropped, strict=True) if not drop}:
                captions[row] = encoder.encode_with_gradients(texts[row], min_chunks=chunks)
            loss = prediction_loss(unet, scheduler, replace(data, captions=captions), sample, options.min_snr)
            # where all captions of a step are left out, nothing is learnt, but there is still a gradient to take
            return loss + sum(each.sum() * 0 for each in vectors.values())

        done, losses = self._run_steps(
            vectors,
            compute_loss,
            state,
            state_file,
            weight_decay=0.0,
            on_step=on_step,
            should_stop=should_stop,
        )
        return TrainedEmbedding(
            done, losses, pictures.side, {key: each.detach() for key, each in vectors.items()}
        )


def initial_vectors(network: Any, tokenizer: Any, options: EmbeddingOptions) -> Tensor:
    """The vocabulary's vectors of the words to begin as, (vectors, width) in fp32.

    Raises:
        UsageError: The words have no token.
    """
    ids = split_into_chunks((Segment(options.words),), tokenizer)[0].ids
    if not ids:
        raise UsageError(f"{options.words!r} has no word that the text encoder knows.")
    rows = torch.tensor([ids[number % len(ids)] for number in range(options.vectors)])
    vocabulary: Tensor = network.get_input_embeddings().weight
    return vocabulary.detach()[rows].float().clone()


def with_name(examples: Sequence[Example], name: str) -> list[Example]:
    """Examples whose captions all have a name as a word; it is put before those without it."""
    return [
        each if names_in([name], each.caption) else replace(each, caption=f"{name}, {each.caption}")
        for each in examples
    ]
