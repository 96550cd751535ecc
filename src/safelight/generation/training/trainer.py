"""What trainings have in common: pictures encoded once, a frozen U-Net, and steps that can be interrupted.

Only the small network learns, and the checkpoint's own stay as they are. All randomness follows from the seed and the
number of the step, so that the same command gives the same file, also when it was stopped and went on.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import psutil
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from safelight.errors import UnsupportedError
from safelight.generation.training.encoded_examples import EncodedExamples, encode_picture, size_condition
from safelight.generation.training.examples import Example, load_picture
from safelight.generation.training.noise_prediction import StepSample, sample_step
from safelight.generation.training.training_state import TrainingState
from safelight.images.types import DecodeLimits
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.loading import describe_parts
from safelight.models.quantization.checkpoint_writer import check_not_quantized

FAMILIES = ("sd1", "sd2", "sdxl")
OTHER_VARIANTS = ("inpaint", "instruct-pix2pix", "refiner", "playground")
"""Variants whose U-Nets take other inputs, or have another noise schedule."""
SAVE_EVERY = 100
"""Steps after which the state is kept, from which an interrupted training goes on."""
LARGE = 300_000_000
"""Parameters of a U-Net from which on activations are computed twice instead of kept."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How anything is trained.

    Args:
        steps: Steps of the optimiser.
        batch: Pictures in a step.
        learning_rate: The highest rate; it rises in the first twentieth of the steps, and falls to zero by a cosine.
        resolution: Side of the squares in pixels; None for the checkpoint's own.
        caption_dropout: Share of the captions that are left out, so that guidance still works.
        flip: Also train on mirrored pictures.
        min_snr: Gamma of min-SNR weighting; 0 weighs all timesteps alike.
        seed: Of everything random.
        precision: Of the checkpoint; what learns is always in fp32.
        gradient_checkpointing: Compute activations twice instead of keeping them; None for U-Nets with more than 300
            million parameters.
    """

    steps: int = 600
    batch: int = 8
    learning_rate: float = 1e-3
    resolution: int | None = None
    caption_dropout: float = 0.1
    flip: bool = False
    min_snr: float = 5.0
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool | None = None


Options = TypeVar("Options", bound=TrainingOptions)


@dataclass(frozen=True)
class TrainingResult:
    """The course of a training.

    Args:
        steps: The steps that were done; fewer than asked for where it was stopped.
        losses: The loss of each step of this run.
        resolution: Side of the squares in pixels.
    """

    steps: int
    losses: Sequence[float]
    resolution: int

    @property
    def recent_loss(self) -> float | None:
        """The mean loss of the last hundred steps of this run; None where it had none."""
        recent = self.losses[-100:]
        return sum(recent) / len(recent) if recent else None


@dataclass(frozen=True)
class EncodedPictures:
    """Pictures as a U-Net takes them.

    Args:
        latents: (pictures, 1 or 2, channels, rows, columns).
        sizes: SDXL's conditions, (pictures, 6); None for other families.
        side: Side of the squares in pixels.
    """

    latents: Tensor
    sizes: Tensor | None
    side: int


class Trainer(Generic[Options]):
    """Trains one small network for a checkpoint.

    Args:
        checkpoint: What it is for.
        examples: Pictures with captions, at least one.
        options: How.
        cache: The folder that keeps digests of weights; None keeps none.
        limits: Limits for decoding pictures.
        on_message: Called with a sentence before each part.

    Raises:
        UnsupportedError: Nothing can be trained for this checkpoint, or it does not fit in the memory.
        ModelError: The checkpoint cannot be used.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        examples: Sequence[Example],
        options: Options,
        *,
        cache: Path | None = None,
        limits: DecodeLimits = DecodeLimits(),  # noqa: B008  it is frozen
        on_message: Callable[[str], None] = lambda _: None,
    ) -> None:
        check_trainable(checkpoint)
        check_memory(checkpoint, options.precision)
        self._checkpoint, self._examples, self._options = checkpoint, examples, options
        self._limits, self._on_message = limits, on_message
        self._parts = describe_parts(checkpoint, options.precision, cache=cache)

    @property
    def identity(self) -> str:
        """A hash of all that the result depends on, so that only the same training goes on from a state."""
        data = [(each.path.name, each.path.stat().st_size, each.caption) for each in self._examples]
        parts = [type(self).__name__, self._parts.digest, asdict(self._options), data]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _encode_pictures(self) -> EncodedPictures:
        """The encoded pictures; the autoencoder is released."""
        self._on_message(f"Encoding {len(self._examples)} pictures …")
        vae = self._parts.sources["vae"].load().network
        side = self._options.resolution or self._checkpoint.default_side()
        latents, sizes = [], []
        for example in self._examples:
            picture = load_picture(example, side, self._limits)
            latents.append(encode_picture(vae, picture, flip=self._options.flip))
            sizes.append(size_condition(picture))
        del vae
        gc.collect()
        xl = self._checkpoint.family.key == "sdxl"
        return EncodedPictures(torch.stack(latents), torch.tensor(sizes) if xl else None, side)

    def _load_unet(self) -> tuple[Any, DDPMScheduler]:
        """The frozen U-Net, and its noise schedule."""
        self._on_message(f"Loading {self._checkpoint.name} …")
        unet: Any = self._parts.sources["unet"].load().network
        unet.requires_grad_(False)
        config = self._parts.scheduler(unet).config
        checkpointing = self._options.gradient_checkpointing
        if checkpointing is None:
            checkpointing = unet.num_parameters() > LARGE
        if checkpointing:
            unet.enable_gradient_checkpointing()
        return unet, DDPMScheduler.from_config(dict(config))

    def _sample(self, step: int, data: EncodedExamples, scheduler: DDPMScheduler) -> StepSample:
        """What a step trains on."""
        options = self._options
        return sample_step(
            step,
            data,
            options.batch,
            seed=options.seed,
            caption_dropout=options.caption_dropout,
            timesteps=len(scheduler.alphas_cumprod),
        )

    def _run_steps(
        self,
        parameters: Mapping[str, nn.Parameter],
        compute_loss: Callable[[int], Tensor],
        state: TrainingState | None,
        state_file: Path,
        *,
        weight_decay: float,
        on_step: Callable[[int, float], None],
        should_stop: Callable[[], bool],
    ) -> tuple[int, list[float]]:
        """Run the steps that are left; return the number of those done in all, and the losses of this run.

        Args:
            parameters: What learns, by name.
            compute_loss: Returns the loss of a step, counted from 0.
            state: From which it goes on; None to begin.
            state_file: Where the state is kept every hundred steps, and when it is stopped; removed at the end.
            weight_decay: Of AdamW.
            on_step: Called with the number of steps done and the loss of the last.
            should_stop: Asked after each step.
        """
        options, identity = self._options, self.identity
        names, values = list(parameters), list(parameters.values())
        optimiser = torch.optim.AdamW(
            values, lr=options.learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay
        )
        done, losses = 0, []
        if state is not None:
            state.restore(names, values, optimiser)
            done = state.step
            self._on_message(f"Going on after step {done} …")
        self._on_message(f"Training {sum(each.numel() for each in values):,} parameters …")
        while done < options.steps:
            for group in optimiser.param_groups:
                group["lr"] = options.learning_rate * rate_share(done, options.steps)
            loss = compute_loss(done)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(values, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            losses.append(float(loss.detach()))
            on_step(done, losses[-1])
            stopped = done < options.steps and should_stop()
            if stopped or done % SAVE_EVERY == 0:
                TrainingState.save(state_file, identity, done, names, values, optimiser)
            if stopped:
                break
        if done == options.steps:
            state_file.unlink(missing_ok=True)
        return done, losses


def rate_share(step: int, steps: int) -> float:
    """The share of the highest learning rate at a step: rising in the first twentieth, then falling by a cosine."""
    warmup = max(1, steps // 20)
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def check_trainable(checkpoint: Checkpoint) -> None:
    """Refuse checkpoints for which nothing can be trained.

    Raises:
        UnsupportedError: It is not Stable Diffusion 1, 2 or XL, or a variant that is trained in another way.
    """
    family = checkpoint.family
    usual = family.prediction_process == "diffusion" and family.guidance == "cfg-batched"
    if family.key not in FAMILIES or not usual or family.variant in OTHER_VARIANTS:
        raise UnsupportedError(
            f"{checkpoint.name} is {family.title}, for which nothing can be trained here.",
            hint="Give a checkpoint of Stable Diffusion 1, 2 or XL that generates from text.",
            field="checkpoint",
        )
    check_not_quantized(checkpoint)


def check_memory(checkpoint: Checkpoint, precision: str) -> None:
    """Refuse a checkpoint whose weights do not fit.

    Raises:
        UnsupportedError: They take more memory than is free.
    """
    needed, free = checkpoint.elements * (4 if precision == "fp32" else 2), psutil.virtual_memory().available
    if needed > free:
        raise UnsupportedError(
            f"{checkpoint.name} takes {needed / 1e9:.1f} GB in {precision}, and {free / 1e9:.1f} GB are free.",
            hint="bf16 takes half of fp32." if precision == "fp32" else "",
        )
