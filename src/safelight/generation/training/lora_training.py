"""Train a LoRA for a Stable Diffusion checkpoint from pictures with captions.

Latents and text embeddings are computed once; then text encoders and autoencoder are released, and the steps run the
U-Net alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from safelight.generation.training.encoded_examples import EncodedExamples, encode_captions
from safelight.generation.training.lora_layers import (
    ATTENTION,
    CONVOLUTIONS,
    FEED_FORWARD,
    LoraLayer,
    applied,
    find_layers,
)
from safelight.generation.training.noise_prediction import prediction_loss
from safelight.generation.training.trainer import Trainer, TrainingOptions, TrainingResult
from safelight.generation.training.training_state import TrainingState

LayerChoice = Literal["attention", "transformer", "all"]
LAYERS: Mapping[LayerChoice, tuple[str, ...]] = {
    "attention": ATTENTION,
    "transformer": (*ATTENTION, *FEED_FORWARD),
    "all": (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
}
"""The U-Net's layers that are changed: those of attention; whole transformer blocks; the residual blocks as well."""


@dataclass(frozen=True, kw_only=True)
class LoraOptions(TrainingOptions):
    """How a LoRA is trained.

    Args:
        rank: Rank of the factors.
        alpha: The change is multiplied by alpha / rank; None for the rank itself.
        layers: Which layers of the U-Net are changed.
    """

    rank: int = 8
    alpha: float | None = None
    layers: LayerChoice = "transformer"


@dataclass(frozen=True)
class TrainedLora(TrainingResult):
    """The result of a training.

    Args:
        layers: The layers by the name of the U-Net's layer that they change.
    """

    layers: Mapping[str, LoraLayer]


class LoraTrainer(Trainer[LoraOptions]):
    """Trains one LoRA."""

    def train(
        self,
        state_file: Path,
        *,
        on_step: Callable[[int, float], None] = lambda *_: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainedLora:
        """Train, or go on where the same training was stopped.

        Args:
            state_file: Where the state is kept every hundred steps, and when it is stopped; removed at the end.
            on_step: Called with the number of steps done and the loss of the last.
            should_stop: Asked after each step.

        Raises:
            TrainingDataError: A picture cannot be decoded.
            TrainingStateError: The state file is that of another training, or damaged.
            OutputError: The state file cannot be written.
        """
        options = self._options
        state = TrainingState.load(state_file, self.identity)
        self._on_message(f"Encoding {len(self._examples)} captions …")
        captions, empty = encode_captions(self._parts, self._examples)
        gc.collect()
        pictures = self._encode_pictures()
        data = EncodedExamples(pictures.latents, captions, empty, pictures.sizes)
        unet, scheduler = self._load_unet()
        layers = build_layers(unet, options)
        factors = {
            f"{name}.{part}": factor
            for name, layer in layers.items()
            for part, factor in (("down", layer.down), ("up", layer.up))
        }

        def compute_loss(step: int) -> Tensor:
            sample = self._sample(step, data, scheduler)
            return prediction_loss(unet, scheduler, data, sample, options.min_snr)

        with applied(unet, layers):
            done, losses = self._run_steps(
                factors,
                compute_loss,
                state,
                state_file,
                weight_decay=0.01,
                on_step=on_step,
                should_stop=should_stop,
            )
        return TrainedLora(done, losses, pictures.side, layers)


def build_layers(unet: torch.nn.Module, options: LoraOptions) -> dict[str, LoraLayer]:
    """New LoRA layers beside those of a U-Net that the options choose, by name."""
    generator = torch.Generator().manual_seed(options.seed)
    alpha = float(options.rank if options.alpha is None else options.alpha)
    return {
        name: LoraLayer(layer, options.rank, alpha, generator)
        for name, layer in find_layers(unet, LAYERS[options.layers]).items()
    }
