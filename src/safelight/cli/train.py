"""``safelight train``: small networks that change a checkpoint, from the user's own pictures."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_line, print_stderr, printable
from safelight.cli.generation import StopRequest
from safelight.errors import OutputExistsError, UsageError

app = typer.Typer(help="Train a LoRA on your own pictures.")


class Layers(StrEnum):
    """The layers of the U-Net that a LoRA changes."""

    ATTENTION = "attention"
    TRANSFORMER = "transformer"
    ALL = "all"


class Precision(StrEnum):
    """The checkpoint's precision."""

    FP32 = "fp32"
    BF16 = "bf16"


@app.callback()
def train() -> None:
    """Train a LoRA on your own pictures."""


@app.command("lora")
def train_lora(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder of pictures, each with its caption in a .txt of the same name; or with metadata.jsonl.",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="NAME", help="The checkpoint that it is for.")
    ] = "starter",
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA: its size.")] = 8,
    alpha: Annotated[
        float | None,
        typer.Option(min=0.01, max=256, help="Its effect is scaled by alpha / rank; by default the rank."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Steps.")] = 600,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Pictures in a step.")] = 8,
    learning_rate: Annotated[
        float, typer.Option(min=1e-7, max=0.1, help="The highest learning rate; it falls to 0 by a cosine.")
    ] = 1e-3,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=64,
            max=2048,
            help="Side of the squares that are cut out of the pictures, in pixels; by default the checkpoint's own.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        Layers, typer.Option(help="Layers that are changed: attention, transformer blocks, or all.")
    ] = Layers.TRANSFORMER,
    trigger: Annotated[
        str,
        typer.Option(
            metavar="WORDS", help="Words that call it, put before captions without them.", show_default=False
        ),
    ] = "",
    caption_dropout: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the captions that are left out.")
    ] = 0.1,
    flip: Annotated[bool, typer.Option("--flip", help="Also train on mirrored pictures.")] = False,
    min_snr: Annotated[
        float, typer.Option(min=0, max=100, help="Gamma of min-SNR weighting; 0 weighs all timesteps alike.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    precision: Annotated[
        Precision, typer.Option(help="The checkpoint's precision; the LoRA is trained in fp32.")
    ] = Precision.FP32,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="Less memory, a third slower; by default for U-Nets with more than 300 million parameters.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The LoRA's file; by default loras/DATA.safetensors in the data directory.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a LoRA for a checkpoint of Stable Diffusion 1, 2 or XL, on the CPU.

    Ctrl-C stops it after the current step: what is trained by then is written, and the same command with --overwrite
    goes on from there.
    """
    from safelight.generation.training.examples import find_examples
    from safelight.generation.training.lora_file import lora_tensors, write_lora
    from safelight.generation.training.lora_metadata import describe_training
    from safelight.generation.training.lora_training import LoraOptions, LoraTrainer
    from safelight.images.types import DecodeLimits
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.hub.checkpoint_download import hub_lookup
    from safelight.settings import Settings

    settings = Settings.load()
    if settings.server:
        raise UsageError(
            "LoRAs are trained on the machine that has the pictures.", hint="Leave out --server."
        )
    path = output_path(out, data, settings.home, overwrite=overwrite)
    found = find_checkpoint(
        checkpoint, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )
    examples = find_examples(data, trigger)
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
    trainer = LoraTrainer(
        found,
        examples,
        options,
        cache=settings.cache_folder,
        limits=DecodeLimits.of(settings),
        on_message=lambda message: print_stderr(printable(message)),
    )
    started = time.monotonic()
    with StopRequest().handle_sigint() as stop:
        trained = trainer.train(
            path.with_suffix(".training"), on_step=_Progress(steps).report, should_stop=stop
        )
    tensors = lora_tensors(trained.layers)
    write_lora(path, tensors, describe_training(path.stem, found, options, trained, examples, trigger))
    report = {
        "out": str(path),
        "size": path.stat().st_size,
        "steps": trained.steps,
        "stopped": trained.steps < steps,
        "pictures": len(examples),
        "layers": len(trained.layers),
        "loss": trained.recent_loss,
        "seconds": round(time.monotonic() - started, 1),
    }
    if json:
        print_json(report)
    else:
        print_line(f"{printable(str(path))}  {path.stat().st_size / 1e6:.1f} MB, {trained.steps} steps")
    if trained.steps < steps:
        print_stderr("Stopped; the same command with --overwrite goes on from here.")


def output_path(out: Path | None, data: Path, home: Path, *, overwrite: bool) -> Path:
    """Where the LoRA is written.

    Raises:
        UsageError: The name does not end with .safetensors.
        OutputExistsError: The file is there, and may not be replaced.
    """
    path = out or home / "loras" / f"{data.resolve().name}.safetensors"
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
