"""``safelight train``: LoRAs and textual inversions for a checkpoint, from the user's own pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.console import JsonOption, print_json, print_line, print_stderr, printable
from safelight.cli.generation import StopRequest
from safelight.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from safelight.generation.training.examples import Example
    from safelight.generation.training.trainer import TrainingOptions, TrainingResult
    from safelight.models.checkpoints.discovery import Checkpoint
    from safelight.settings import Settings

app = typer.Typer(help="Train a LoRA or a textual inversion on your own pictures.")


class Layers(StrEnum):
    """The layers of the U-Net that a LoRA changes."""

    ATTENTION = "attention"
    TRANSFORMER = "transformer"
    ALL = "all"


class Precision(StrEnum):
    """The checkpoint's precision."""

    FP32 = "fp32"
    BF16 = "bf16"


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A folder of pictures, each with its caption in a .txt of the same name; or with metadata.jsonl.",
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    str, typer.Option("--checkpoint", metavar="NAME", help="The checkpoint that it is for.")
]
Steps = Annotated[int, typer.Option(min=1, max=100_000, help="Steps.")]
Batch = Annotated[int, typer.Option(min=1, max=64, help="Pictures in a step.")]
LearningRate = Annotated[
    float, typer.Option(min=1e-7, max=0.1, help="The highest learning rate; it falls to 0 by a cosine.")
]
Resolution = Annotated[
    int | None,
    typer.Option(
        min=64,
        max=2048,
        help="Side of the squares that are cut out of the pictures, in pixels; by default the checkpoint's own.",
        show_default=False,
    ),
]
CaptionDropout = Annotated[float, typer.Option(min=0, max=1, help="Share of the captions that are left out.")]
Flip = Annotated[bool, typer.Option("--flip", help="Also train on mirrored pictures.")]
MinSnr = Annotated[
    float, typer.Option(min=0, max=100, help="Gamma of min-SNR weighting; 0 weighs all timesteps alike.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="The checkpoint's precision; what is trained is in fp32.")
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory, a third slower; by default for U-Nets with more than 300 million parameters.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]


def _out(kind: str, folder: str) -> Any:
    return typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help=f"The {kind}'s file; by default {folder}/DATA.safetensors in the data directory.",
        show_default=False,
    )


@app.callback()
def train() -> None:
    """Train a LoRA or a textual inversion on your own pictures."""


@app.command("lora")
def train_lora(
    data: Data,
    checkpoint: CheckpointOption = "starter",
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA: its size.")] = 8,
    alpha: Annotated[
        float | None,
        typer.Option(min=0.01, max=256, help="Its effect is scaled by alpha / rank; by default the rank."),
    ] = None,
    steps: Steps = 600,
    batch: Batch = 8,
    learning_rate: LearningRate = 1e-3,
    resolution: Resolution = None,
    layers: Annotated[
        Layers, typer.Option(help="Layers that are changed: attention, transformer blocks, or all.")
    ] = Layers.TRANSFORMER,
    trigger: Annotated[
        str,
        typer.Option(
            metavar="WORDS", help="Words that call it, put before captions without them.", show_default=False
        ),
    ] = "",
    caption_dropout: CaptionDropout = 0.1,
    flip: Flip = False,
    min_snr: MinSnr = 5.0,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.FP32,
    gradient_checkpointing: GradientCheckpointing = None,
    out: Annotated[Path | None, _out("LoRA", "loras")] = None,
    overwrite: Overwrite = False,
    json: JsonOption = False,
) -> None:
    """Train a LoRA for a checkpoint of Stable Diffusion 1, 2 or XL, on the CPU.

    Ctrl-C stops it after the current step: what is trained by then is written, and the same command with --overwrite
    goes on from there.
    """
    from safelight.generation.training.examples import find_examples
    from safelight.generation.training.lora_training import LoraOptions, LoraTrainer
    from safelight.generation.training.trained_file import lora_tensors

    settings = _local_settings()
    path = output_path(out, data, settings.home / "loras", overwrite=overwrite)
    found, examples = _find_checkpoint(checkpoint, settings), find_examples(data, trigger)
    options = LoraOptions(
        rank=rank,
        alpha=alpha,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        resolution=resolution,
        layers=layers.value,
        caption_dropout=caption_dropout,
        flip=flip,
        min_snr=min_snr,
        seed=seed,
        precision=precision.value,
        gradient_checkpointing=gradient_checkpointing,
    )
    trainer = LoraTrainer(found, examples, options, **_surroundings(settings))
    started = time.monotonic()
    with StopRequest().handle_sigint() as stop:
        trained = trainer.train(
            path.with_suffix(".training"), on_step=_Progress(steps).report, should_stop=stop
        )
    _write(path, lora_tensors(trained.layers), found, options, trained, examples, trigger)
    _report(path, options, trained, examples, started, {"layers": len(trained.layers)}, json=json)


@app.command("embedding")
def train_embedding(
    data: Data,
    checkpoint: CheckpointOption = "starter",
    vectors: Annotated[int, typer.Option(min=1, max=64, help="Tokens that it takes in a prompt.")] = 4,
    words: Annotated[
        str, typer.Option(metavar="WORDS", help="Words of the vocabulary that it begins as.")
    ] = "picture",
    steps: Steps = 400,
    batch: Batch = 8,
    learning_rate: LearningRate = 5e-3,
    resolution: Resolution = None,
    caption_dropout: CaptionDropout = 0.1,
    flip: Flip = False,
    min_snr: MinSnr = 5.0,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.FP32,
    gradient_checkpointing: GradientCheckpointing = None,
    out: Annotated[Path | None, _out("textual inversion", "embeddings")] = None,
    overwrite: Overwrite = False,
    json: JsonOption = False,
) -> None:
    """Train a textual inversion for a checkpoint of Stable Diffusion 1, 2 or XL, on the CPU.

    The name of its file, without the suffix, is the word that calls it in prompts; it is put before captions that do
    not have it. Ctrl-C stops it as with a LoRA.
    """
    from safelight.generation.training.embedding_training import (
        EmbeddingOptions,
        EmbeddingTrainer,
        with_name,
    )
    from safelight.generation.training.examples import find_examples
    from safelight.generation.training.trained_file import embedding_tensors

    settings = _local_settings()
    path = output_path(out, data, settings.home / "embeddings", overwrite=overwrite)
    found = _find_checkpoint(checkpoint, settings)
    examples = with_name(find_examples(data), path.stem)
    options = EmbeddingOptions(
        vectors=vectors,
        words=words,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        resolution=resolution,
        caption_dropout=caption_dropout,
        flip=flip,
        min_snr=min_snr,
        seed=seed,
        precision=precision.value,
        gradient_checkpointing=gradient_checkpointing,
    )
    trainer = EmbeddingTrainer(found, examples, options, **_surroundings(settings))
    started = time.monotonic()
    with StopRequest().handle_sigint() as stop:
        trained = trainer.train(
            path.stem, path.with_suffix(".training"), on_step=_Progress(steps).report, should_stop=stop
        )
    _write(path, embedding_tensors(trained.vectors), found, options, trained, examples, path.stem)
    _report(path, options, trained, examples, started, {"vectors": vectors}, json=json)


def _local_settings() -> Settings:
    from safelight.settings import Settings

    settings = Settings.load()
    if settings.server:
        raise UsageError("Training runs on the machine that has the pictures.", hint="Leave out --server.")
    return settings


def _find_checkpoint(name: str, settings: Settings) -> Checkpoint:
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.hub.checkpoint_download import hub_lookup

    return find_checkpoint(
        name, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )


def _surroundings(settings: Settings) -> dict[str, Any]:
    """A trainer's arguments that follow from the settings."""
    from safelight.images.types import DecodeLimits

    on_message: Callable[[str], None] = lambda message: print_stderr(printable(message))  # noqa: E731
    return {
        "cache": settings.cache_folder,
        "limits": DecodeLimits.of(settings),
        "on_message": on_message,
    }


def _write(
    path: Path,
    tensors: Mapping[str, Any],
    checkpoint: Checkpoint,
    options: TrainingOptions,
    trained: TrainingResult,
    examples: list[Example],
    trigger: str,
) -> None:
    from safelight.generation.training.trained_file import write_trained_file
    from safelight.generation.training.trained_metadata import describe_training

    metadata = describe_training(path.stem, checkpoint, options, trained, examples, trigger)
    write_trained_file(path, tensors, metadata)


def _report(
    path: Path,
    options: TrainingOptions,
    trained: TrainingResult,
    examples: list[Example],
    started: float,
    size: Mapping[str, int],
    *,
    json: bool,
) -> None:
    """Print what was trained, as JSON or as a line; ``size`` is added to the JSON."""
    stopped = trained.steps < options.steps
    report = {
        "out": str(path),
        "size": path.stat().st_size,
        "steps": trained.steps,
        "stopped": stopped,
        "pictures": len(examples),
        **size,
        "loss": trained.recent_loss,
        "seconds": round(time.monotonic() - started, 1),
    }
    if json:
        print_json(report)
    else:
        megabytes = path.stat().st_size / 1e6
        print_line(f"{printable(str(path))}  {megabytes:.3g} MB, {trained.steps} steps")
    if stopped:
        print_stderr("Stopped; the same command with --overwrite goes on from here.")


def output_path(out: Path | None, data: Path, folder: Path, *, overwrite: bool) -> Path:
    """Where the result is written: ``out``, or a file in the folder with the name of the pictures' folder.

    Raises:
        UsageError: The name does not end with .safetensors.
        OutputExistsError: The file is there, and may not be replaced.
    """
    path = out or folder / f"{data.resolve().name}.safetensors"
    if path.suffix != ".safetensors":
        raise UsageError(f"{path.name} does not end with .safetensors.", hint="Give --out a name that does.")
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} is there already.", hint="Give another name with --out, or --overwrite."
        )
    return path


class _Progress:
    """A line on stderr every few seconds, with the mean loss since the last and the minutes that are left."""

    def __init__(self, steps: int, every: float = 5.0) -> None:
        self._steps, self._every = steps, every
        self._last = self._started = time.monotonic()
        self._first = -1
        self._losses: list[float] = []

    def report(self, done: int, loss: float) -> None:
        """A step was done."""
        if self._first < 0:
            self._first, self._started = done, time.monotonic()
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._last < self._every and done < self._steps:
            return
        rate = (done - self._first) / max(now - self._started, 1e-6)
        left = f", {(self._steps - done) / rate / 60:.1f} minutes left" if rate and done < self._steps else ""
        mean = sum(self._losses) / len(self._losses)
        print_stderr(f"step {done} of {self._steps}, loss {mean:.4f}{left}")
        self._last, self._losses = now, []
