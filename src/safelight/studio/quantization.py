"""Quantize a checkpoint, and compare what it generates with the original."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from safelight.errors import UnsupportedError, UsageError
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import STARTER, Checkpoint, checkpoints_folder
from safelight.studio.starter_judge import JudgeScore, StarterJudge

if TYPE_CHECKING:
    from safelight.generation.engine import Engine
    from safelight.models.quantization.checkpoint_writer import Progress, Quantized
    from safelight.runtime.quantization.quantize import Target

_PROMPTS = ("a red apple on a table", "a house by a lake at sunset")


@dataclass(frozen=True)
class Generated:
    """What a checkpoint generated.

    Args:
        pictures: uint8 [n, height, width, 3].
        seconds_per_step: The median, without loading.
        requests: What was generated, with every value that was decided.
    """

    pictures: np.ndarray
    seconds_per_step: float
    requests: Sequence[GenerationRequest]


@dataclass(frozen=True)
class QuantizationReport:
    """A quantized checkpoint beside its original.

    Args:
        name: The new checkpoint's name.
        target: The format.
        written: What was written.
        psnr: PSNR of each picture against the original's, in dB; empty if none were generated.
        seconds_per_step: Of the original and of the new checkpoint; None if no pictures were generated.
        scores: The starter judge's scores of both; None for other checkpoints.
    """

    name: str
    target: str
    written: Quantized
    psnr: Sequence[float] = ()
    seconds_per_step: tuple[float, float] | None = None
    scores: tuple[JudgeScore, JudgeScore] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON output."""
        seconds, scores = self.seconds_per_step, self.scores
        return {
            "name": self.name,
            "path": str(self.written.path),
            "target": self.target,
            "size": self.written.size,
            "original_size": self.written.original_size,
            "layers": dict(self.written.layers),
            "left_out": self.written.left_out,
            "psnr": {"mean": statistics.mean(self.psnr), "least": min(self.psnr)} if self.psnr else None,
            "seconds_per_step": {"original": seconds[0], "quantized": seconds[1]} if seconds else None,
            "judge": {"original": scores[0].to_dict(), "quantized": scores[1].to_dict()} if scores else None,
        }


def target_path(checkpoint: Checkpoint, name: str, home: Path) -> Path:
    """Where a new checkpoint goes in the data directory: a folder for a folder, a file for a file.

    Raises:
        UsageError: The name is no relative path without "..".
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith(("/", "~")) or "\\" in name or any(p.startswith(".") for p in parts):
        raise UsageError(f"{name!r} is no name for a checkpoint.", hint="Give a name such as my-model-int8.")
    place = checkpoints_folder(home).joinpath(*parts)
    return place if checkpoint.path.is_dir() else place.with_name(f"{place.name}.safetensors")


def quantize(
    checkpoint: Checkpoint,
    path: Path,
    target: Target,
    *,
    text_encoders: bool = False,
    on_message: Callable[[str], None] = lambda _: None,
    on_progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> Quantized:
    """Measure the layers of a checkpoint's denoiser, and write the checkpoint with those quantized that bear it.

    Args:
        checkpoint: The original.
        path: The new folder or file.
        target: int8, int4, nf4 or fp8.
        text_encoders: Quantize the text encoders too.
        on_message: Called with a message before each part.
        on_progress: Called while the checkpoint is written.

    Raises:
        UnsupportedError: It is quantized already, or does not fit in the memory.
        OutputExistsError, OutputError: It cannot be written.
        ModelError: The original cannot be loaded.
    """
    from safelight.models.checkpoints.loading import load_checkpoint
    from safelight.models.quantization.checkpoint_writer import (
        check_not_quantized,
        check_target,
        write_quantized,
    )
    from safelight.models.quantization.sensitivity import layers_by_first_row, measure_layers

    check_target(path)
    check_not_quantized(checkpoint)
    precision = _precision(checkpoint)
    on_message(f"Measuring {checkpoint.name} in {precision} …")
    loaded = load_checkpoint(checkpoint, precision)
    encoders = tuple(name for name in loaded.networks if name.startswith("text_encoder"))
    components = (loaded.family.denoiser, *(encoders if text_encoders else ()))
    errors = measure_layers(loaded, components, target)
    layers = layers_by_first_row({name: loaded.networks[name].network for name in components}, errors)
    del loaded
    gc.collect()
    on_message(f"Writing {path.name} …")
    return write_quantized(checkpoint, path, target, layers, precision, on_progress)


def compare(
    engine: Engine, original: str, name: str, written: Quantized, target: str, pictures: int | None = None
) -> QuantizationReport:
    """Generate the same pictures with a quantized checkpoint and its original.

    Args:
        engine: Generates.
        original: The original's name.
        name: The new checkpoint's name.
        written: What was written.
        target: The format.
        pictures: How many; by default two, and for the starter one of each of the judge's captions. 0 compares nothing.
    """
    judge = StarterJudge() if original == STARTER and pictures is None else None
    prompts = (
        judge.captions
        if judge
        else [_PROMPTS[n % len(_PROMPTS)] for n in range(2 if pictures is None else pictures)]
    )
    if not prompts:
        return QuantizationReport(name, target, written)
    fields = {"steps": 6, "guidance_scale": 4.0} if judge else {}
    first = _generate(
        engine,
        [
            GenerationRequest.parse(prompt=prompt, seed=seed, checkpoint=original, **fields)
            for seed, prompt in enumerate(prompts)
        ],
    )
    engine.unload(original)
    # everything that was decided for the original: its family may have other defaults
    second = _generate(
        engine, [request.model_copy(update={"checkpoint": name}) for request in first.requests]
    )
    scores = (judge.score(first.pictures), judge.score(second.pictures)) if judge else None
    seconds = (first.seconds_per_step, second.seconds_per_step)
    return QuantizationReport(
        name,
        target,
        written,
        [psnr(*pair) for pair in zip(first.pictures, second.pictures, strict=True)],
        seconds,
        scores,
    )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures in dB; at most 99."""
    error = float(((one.astype(float) - other.astype(float)) ** 2).mean())
    return 99.0 if error < 1e-5 else float(10 * np.log10(255**2 / error))


def _generate(engine: Engine, requests: Iterable[GenerationRequest]) -> Generated:
    artifacts = [artifact for request in requests for artifact in engine.generate(request, unbatched=True)]
    return Generated(
        np.stack([np.asarray(artifact.image) for artifact in artifacts]),
        statistics.median(artifact.seconds / artifact.record.steps for artifact in artifacts),
        [artifact.record.to_request() for artifact in artifacts],
    )


def _precision(checkpoint: Checkpoint) -> str:
    """fp32 if the checkpoint fits in the memory in it, else bf16."""
    free = psutil.virtual_memory().available
    for precision, nbytes in (("fp32", 4), ("bf16", 2)):
        if checkpoint.elements * nbytes * 1.2 < free:
            return precision
    raise UnsupportedError(
        f"{checkpoint.name} takes {checkpoint.elements * 2 / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
        hint="Measuring its layers needs all of it in memory.",
    )
