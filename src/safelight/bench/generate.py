"""Seconds a picture, seconds to the first one, and memory: the engine against plain diffusers on the same weights."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safelight.errors import InternalError
from safelight.generation.request import GenerationRequest

if TYPE_CHECKING:
    from PIL import Image

    from safelight.studio import Studio

PROMPT = "a red apple, 3d style"
SAMPLER = "DPM++ 2M"
Draw = Callable[[int], "Image.Image"]
"""Seed to picture."""


@dataclass(frozen=True)
class Start:
    """A process that draws one picture and ends.

    Args:
        seconds: From its start to its end.
        peak_mb: Its largest resident memory, in megabytes.
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Comparison:
    """One side-by-side measurement.

    Args:
        checkpoint: What drew.
        steps: Steps a picture.
        our_seconds: Seconds a picture with gate and record, as PNG bytes, for each round.
        peer_seconds: The same for plain diffusers, as PNG bytes too.
        cold: A new process of ours; None where it was not measured.
        peer_cold: A new process of plain diffusers.
        largest_difference: Largest difference of a pixel between the two, of 255.
    """

    checkpoint: str
    steps: int
    our_seconds: list[float]
    peer_seconds: list[float]
    cold: Start | None
    peer_cold: Start | None
    largest_difference: int

    @property
    def overhead(self) -> float:
        """Median over the rounds of the time that the engine takes more, as a share of plain diffusers' time."""
        pairs = zip(self.our_seconds, self.peer_seconds, strict=True)
        return statistics.median(ours / peer for ours, peer in pairs) - 1

    @property
    def our_median(self) -> float:
        """Seconds a picture."""
        return statistics.median(self.our_seconds)

    @property
    def peer_median(self) -> float:
        """Seconds a picture with plain diffusers."""
        return statistics.median(self.peer_seconds)

    def to_dict(self) -> dict[str, Any]:
        """The measurement for JSON output."""
        return asdict(self) | {"overhead": round(self.overhead, 4)}


def compare(
    studio: Studio,
    folder: Path,
    *,
    steps: int = 20,
    rounds: int = 5,
    cold: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Draw the same seeds on both sides, in turn, so that a noisy machine is noisy to both.

    Args:
        studio: Our side, with the checkpoint in its settings.
        folder: The same checkpoint, a diffusers folder of Stable Diffusion's layout.
        steps: Steps a picture.
        rounds: Pictures a side, after a warm-up.
        cold: Also measure new processes, from their start to their end.
        tell: Called with a line for the user now and then.
    """
    request = GenerationRequest.parse(prompt=PROMPT, steps=steps, sampler=SAMPLER, guidance_scale=4.0, seed=0)
    plain = _plain(folder, steps)
    ours = _ours(studio, request)
    differences = [_difference(ours(seed), plain(seed)) for seed in (0, 1)]
    our_seconds: list[float] = []
    peer_seconds: list[float] = []
    for number in range(rounds):
        # The one that goes first changes, since each leaves the caches to the other.
        for draw, times in [(ours, our_seconds), (plain, peer_seconds)][:: 1 if number % 2 else -1]:
            times.append(_seconds(lambda draw=draw, seed=number: draw(seed)))  # type: ignore[misc]
        tell(
            f"round {number + 1}: safelight {our_seconds[-1]:.3f} s, diffusers {peer_seconds[-1]:.3f} s a picture"
        )
    return Comparison(
        studio.settings.checkpoint,
        steps,
        our_seconds,
        peer_seconds,
        _cold(_command(studio, steps)) if cold else None,
        _cold(["-c", _SCRIPT.format(folder=str(folder), steps=steps, prompt=PROMPT)]) if cold else None,
        max(differences),
    )


def _ours(studio: Studio, request: GenerationRequest) -> Draw:
    def draw(seed: int) -> Image.Image:
        picture = next(iter(studio.draw(request.model_copy(update={"seed": seed}))))
        picture.encode("png")
        assert picture.image is not None
        return picture.image

    return draw


def _plain(folder: Path, steps: int) -> Draw:
    """Plain diffusers, as its documentation shows it."""
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


def _command(studio: Studio, steps: int) -> list[str]:
    options = ["--checkpoint", studio.settings.checkpoint, "--steps", str(steps), "--sampler", SAMPLER]
    return ["-m", "safelight", "generate", PROMPT, *options, "--guidance", "4"]


def _cold(arguments: list[str]) -> Start:
    """Run a new Python process to its end, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as scratch:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  this program and these arguments
            [sys.executable, *arguments], cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise InternalError(f"A new process ended with status {process.returncode}.")
    return Start(seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))


def _difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
