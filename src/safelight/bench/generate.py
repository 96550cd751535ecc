"""Compare the engine with plain diffusers: seconds per picture and to the first one, memory, the gate's share.

Both sides use the same weights.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safelight.errors import InternalError
from safelight.generation.request import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image

    from safelight.bench.timed_studio import TimedStudio

PROMPT = "a red apple, 3d style"
SAMPLER = "DPM++ 2M"
STRENGTH = 0.7
GenerateFunction = Callable[[int], "Image.Image"]
"""Generates a picture from a seed."""


@dataclass(frozen=True)
class ProcessMeasurement:
    """A process that generates one picture and ends.

    Args:
        seconds: Time from its start to its end.
        peak_mb: Peak resident memory in megabytes.
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class GatedMeasurement:
    """The time of one of our pictures, and the gate's part of it.

    Args:
        seconds: Time from the request to PNG bytes, gate and record included.
        gate_seconds: The part in which the gate judges input and output pictures.
    """

    seconds: float
    gate_seconds: float


@dataclass(frozen=True)
class GenerationComparison:
    """One side-by-side measurement.

    Args:
        checkpoint: The checkpoint's name.
        steps: Steps per picture.
        ours: A picture with gate and record, as PNG bytes, for each round.
        edits: The same for image-to-image, where the gate judges two pictures.
        peer_seconds: Seconds per picture of plain diffusers, as PNG bytes too.
        cold: A new process of ours; None if it was not measured.
        peer_cold: A new process of plain diffusers; None if it was not measured.
        largest_difference: Largest difference of a pixel between the two, of 255.
    """

    checkpoint: str
    steps: int
    ours: list[GatedMeasurement]
    edits: list[GatedMeasurement]
    peer_seconds: list[float]
    cold: ProcessMeasurement | None
    peer_cold: ProcessMeasurement | None
    largest_difference: int

    @property
    def overhead(self) -> float:
        """Median over the rounds of the engine's additional time, as a share of plain diffusers' time."""
        pairs = zip(self.ours, self.peer_seconds, strict=True)
        return statistics.median(ours.seconds / peer for ours, peer in pairs) - 1

    @property
    def our_median(self) -> float:
        """Median seconds per picture."""
        return statistics.median(each.seconds for each in self.ours)

    @property
    def peer_median(self) -> float:
        """Median seconds per picture of plain diffusers."""
        return statistics.median(self.peer_seconds)

    @property
    def gate_share(self) -> float:
        """Median share of the gate in a picture's time."""
        return _gate_share(self.ours)

    @property
    def edit_gate_share(self) -> float:
        """The same for image-to-image."""
        return _gate_share(self.edits)

    def to_dict(self) -> dict[str, Any]:
        """The measurement for JSON output."""
        shares = {
            "overhead": self.overhead,
            "gate_share": self.gate_share,
            "edit_gate_share": self.edit_gate_share,
        }
        return asdict(self) | {name: round(share, 4) for name, share in shares.items()}


def compare_generation(
    studio: TimedStudio,
    folder: Path,
    *,
    steps: int = 20,
    rounds: int = 5,
    cold: bool = True,
    on_message: Callable[[str], None] = lambda _: None,
) -> GenerationComparison:
    """Generate the same seeds on both sides, alternately, so that noise of the machine affects both.

    Args:
        studio: Our side, with the checkpoint in its settings.
        folder: The same checkpoint as a diffusers folder in Stable Diffusion's layout.
        steps: Steps per picture.
        rounds: Pictures per side, after a warm-up.
        cold: Also measure new processes, from start to end.
        on_message: Called with progress messages for the user.

    Raises:
        BlockedError: The policy blocks one of the pictures.
        SafelightError: The checkpoint or the policy cannot be used.
    """
    request = GenerationRequest.parse(prompt=PROMPT, steps=steps, sampler=SAMPLER, guidance_scale=4.0, seed=0)
    ours = _our_generator(studio, request)
    first = ours(0)
    strength = max(STRENGTH, 1 / steps)  # at least one step
    edit = _our_generator(studio, request.model_copy(update={"init_image": first, "strength": strength}))
    edit(0)
    plain = _diffusers_generator(folder, steps)
    largest_difference = max(_largest_difference(first, plain(0)), _largest_difference(ours(1), plain(1)))
    drawn: list[GatedMeasurement] = []
    edits: list[GatedMeasurement] = []
    peer_seconds: list[float] = []
    for seed in range(rounds):
        # The order alternates, since each side leaves its data in the processor's caches.
        if seed % 2:
            drawn.append(_measure_gated(studio, ours, seed))
        peer_seconds.append(_time(partial(plain, seed)))
        if not seed % 2:
            drawn.append(_measure_gated(studio, ours, seed))
        edits.append(_measure_gated(studio, edit, seed))
        on_message(
            f"round {seed + 1}: safelight {drawn[-1].seconds:.3f} s, diffusers {peer_seconds[-1]:.3f} s a picture"
        )
    return GenerationComparison(
        studio.settings.checkpoint,
        steps,
        drawn,
        edits,
        peer_seconds,
        _measure_process(_generate_command(studio, steps), success_statuses=(0, 1))
        if cold
        else None,  # 1: done, but the picture is flagged
        _measure_process(["-c", _SCRIPT.format(folder=str(folder), steps=steps, prompt=PROMPT)])
        if cold
        else None,
        largest_difference,
    )


def _our_generator(studio: TimedStudio, request: GenerationRequest) -> GenerateFunction:
    def draw(seed: int) -> Image.Image:
        picture = next(iter(studio.iter_generate(request.model_copy(update={"seed": seed}))))
        picture.encode("png")
        assert picture.image is not None
        return picture.image

    return draw


def _measure_gated(studio: TimedStudio, generate: GenerateFunction, seed: int) -> GatedMeasurement:
    before = studio.gate_time.seconds
    seconds = _time(partial(generate, seed))
    return GatedMeasurement(seconds, studio.gate_time.seconds - before)


def _gate_share(drawn: list[GatedMeasurement]) -> float:
    return statistics.median(each.gate_seconds / each.seconds for each in drawn)


def _diffusers_generator(folder: Path, steps: int) -> GenerateFunction:
    """Plain diffusers, used as in its documentation."""
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def draw(seed: int) -> Image.Image:
        generator = torch.Generator().manual_seed(seed)
        image: Image.Image = pipeline(
            PROMPT, num_inference_steps=steps, guidance_scale=4.0, generator=generator
        ).images[0]
        image.save(io.BytesIO(), "PNG")
        return image

    return draw


_SCRIPT = """
import io, torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained({folder!r}, dtype=torch.float32, safety_checker=None)
pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
image = pipeline({prompt!r}, num_inference_steps={steps}, guidance_scale=4.0).images[0]
image.save(io.BytesIO(), "PNG")
"""


def _generate_command(studio: TimedStudio, steps: int) -> list[str]:
    options = ["--checkpoint", studio.settings.checkpoint, "--steps", str(steps), "--sampler", SAMPLER]
    return ["-m", "safelight", "generate", PROMPT, *options, "--guidance", "4"]


def _measure_process(arguments: list[str], success_statuses: tuple[int, ...] = (0,)) -> ProcessMeasurement:
    """Run a new Python process to its end, in an empty folder.

    Args:
        arguments: Arguments of the Python interpreter.
        success_statuses: Exit statuses that mean success.

    Raises:
        InternalError: The process ended with another status.
    """
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as scratch:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  this program and these arguments
            [sys.executable, *arguments], cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in success_statuses:
        raise InternalError(f"A new process ended with status {process.returncode}.")
    return ProcessMeasurement(seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))


def _largest_difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
