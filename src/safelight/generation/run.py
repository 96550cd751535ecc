"""One picture of a request: its first pass, and the second one at a larger size where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from safelight.errors import StoppedError
from safelight.generation.batching import Rendezvous, Seat
from safelight.generation.conditioning import Prompts
from safelight.generation.guidance import Guidance
from safelight.generation.noise import generator_for, varied_noise
from safelight.generation.passes import Outcome, Pass, PassRun, Report, Watch
from safelight.generation.previews import LatentToRGB
from safelight.generation.request import Hires, Mode
from safelight.generation.samplers import Choice, build
from safelight.generation.settle import Settled, Words, executed
from safelight.generation.starts import Start, start_of
from safelight.generation.upscaling import Upscaler
from safelight.models.loading import Loaded, pixels_per_latent


@dataclass(frozen=True)
class Progress:
    """Where a request stands.

    Args:
        picture: Which picture is being drawn, from 0.
        count: How many were asked for.
        stage: "first pass", "upscaling" or "second pass".
        step: Steps done of this stage.
        steps: Steps of this stage.
        preview: Makes a small picture of where it stands, in the size of the latents; None while upscaling.
    """

    picture: int
    count: int
    stage: str
    step: int
    steps: int
    preview: Callable[[], Image.Image | None] = lambda: None


@dataclass(frozen=True)
class Watcher:
    """Who looks on while a request is drawn.

    Args:
        on_progress: Called after each step. It may take its time: others draw on meanwhile.
        should_stop: Asked before each picture, each call of a network and after each step; True ends the run. It has
            to answer at once.
        keep_partial: When stopped between two steps, also give the picture that was on its way, as far as it got.
            That cannot be done for a picture whose first pass ends with latents (the hires upscaler latent), nor with
            checkpoints whose pipelines cannot be cut short (AuraFlow, Lumina Image 2, PixArt): StoppedError is raised.
        should_pause: Asked after each step; while it is True the picture waits, and others draw. Nothing of it changes
            by that. It has to answer at once.
        on_pause: Called with True when the picture begins to wait, and with False when it goes on.
    """

    on_progress: Callable[[Progress], None] = lambda _progress: None
    should_stop: Callable[[], bool] = lambda: False
    keep_partial: bool = False
    should_pause: Callable[[], bool] = lambda: False
    on_pause: Callable[[bool], None] = lambda _waits: None


@dataclass(frozen=True)
class Easel:
    """What all pictures of a request share.

    Args:
        settled: What to draw.
        loaded: The checkpoint.
        prompts: How it takes prompts.
        colours: Gives the preview's map.
        init: The initial picture, RGB.
        mask: Its mask.
        upscaler: What enlarges between two passes; None where the latents are, or where there is but one pass.
        watcher: Who looks on.
        home: The data directory, for wildcards and styles.
        max_pixels: Of a picture, at most.
        rendezvous: Where it meets other pictures; None for one that is to be computed alone.
        pause: Lets others draw for as long as the watcher says.
    """

    settled: Settled
    loaded: Loaded
    prompts: Prompts
    colours: Callable[[], LatentToRGB]
    init: Image.Image | None
    mask: Image.Image | None
    upscaler: Upscaler | None
    watcher: Watcher
    home: Path
    max_pixels: int
    rendezvous: Rendezvous | None = None
    pause: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Painted:
    """A picture, finished or not.

    Args:
        image: RGB.
        stopped_at: The step after which it was stopped; None for a finished picture.
        notes: Where it was stopped, in words.
        together: Whether part of it was computed together with other pictures.
    """

    image: Image.Image
    stopped_at: int | None = None
    notes: tuple[str, ...] = ()
    together: bool = False


@dataclass(frozen=True)
class Painting:
    """Picture `index` of a request."""

    easel: Easel
    index: int

    @cached_property
    def words(self) -> Words:
        """Its prompts, filled in."""
        return self.easel.settled.words(self.index, self.easel.home)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.easel.settled.seed_of(self.index)

    @cached_property
    def _seat(self) -> Seat:
        """Where its calls of the denoiser go, in both passes."""
        return Seat(self.easel.rendezvous)

    def paint(self) -> Painted:
        """The picture.

        Raises:
            MaskError: The mask does not fit the initial picture, or marks nothing.
            StoppedError: It was stopped, and nothing partial was wanted, or there is nothing to give.
            NumbersError: The result is not finite.
        """
        settled = self.easel.settled
        size = (settled.width, settled.height)
        unit = self._mask_unit()
        start = start_of(settled.request, self.easel.init, self.easel.mask, self.seed, size, unit)
        first = self._first_pass(start)
        stage, outcome = "first pass", self._run(first, "first pass")
        if settled.request.hires is not None and outcome.stopped_at is None:
            stage, outcome = self._second(settled.request.hires, first, outcome)
        if outcome.image is None:
            raise StoppedError
        image, step = start.finished(outcome.image), outcome.stopped_at
        notes = (
            () if step is None else (f"Stopped after step {step} of the {stage}: the picture is unfinished.",)
        )
        return Painted(image, step, notes, self._seat.together)

    def _mask_unit(self) -> int:
        """Pixels of a mask that the network takes as one."""
        family = self.easel.settled.family
        if family.pixel_masks:
            return 1
        # Packed latents are those of several neighbours.
        packed = family.latents == "packed"
        return family.size_multiple if packed else pixels_per_latent(self.easel.loaded.components["vae"])

    def _second(self, hires: Hires, first: Pass, outcome: Outcome) -> tuple[str, Outcome]:
        """The second pass, and its name; the first one's where that was stopped before the second could begin."""
        try:
            second = self._second_pass(hires, first, outcome)
        except StoppedError:
            if outcome.image is None or not self.easel.watcher.keep_partial:
                raise
            settled = self.easel.settled
            done = executed(settled.steps, settled.strength, settled.family)
            return "first pass", replace(outcome, stopped_at=done)
        return "second pass", self._run(second, "second pass")

    def _first_pass(self, start: Start) -> Pass:
        settled, request = self.easel.settled, self.easel.settled.request
        generator = generator_for(self.seed)
        return Pass(
            mode=request.mode,
            width=settled.width,
            height=settled.height,
            steps=settled.steps,
            scheduler=self._scheduler(settled.choice),
            generator=generator,
            guidance=Guidance(
                settled.guidance_scale,
                request.guidance_rescale,
                request.guidance_start,
                request.guidance_end,
                request.guidance_method == "cfg-zero",
            ),
            guided=settled.guided,
            words=self.easel.prompts.plain(self.words),
            phases=self.easel.prompts.phases(
                self.words, executed(settled.steps, settled.strength, settled.family), request.clip_skip
            ),
            noise=self._noise(generator),
            image=start.image,
            mask=start.mask,
            strength=settled.strength,
            eta=settled.eta,
            clip_skip=request.clip_skip,
            pag_scale=request.pag_scale,
            pag_adaptive=request.pag_adaptive,
            latents_out=request.hires is not None and request.hires.upscaler == "latent",
        )

    def _second_pass(self, hires: Hires, first: Pass, outcome: Outcome) -> Pass:
        """The first pass's result, enlarged, to be drawn over."""
        settled = self.easel.settled
        width, height = settled.hires_size
        steps = settled.hires_steps
        return replace(
            first,
            mode=Mode.IMAGE,
            width=width,
            height=height,
            steps=steps,
            scheduler=self._scheduler(settled.hires_choice or settled.choice),
            eta=(settled.hires_choice or settled.choice).sampler.eta if hires.sampler else settled.eta,
            phases=self.easel.prompts.phases(
                self.words,
                executed(steps, hires.strength, settled.family),
                first.clip_skip,
                earlier=settled.steps,
            ),
            noise=None,
            image=self._enlarged(hires, outcome, (width, height)),
            strength=hires.strength,
            latents_out=False,
        )

    def _run(self, task: Pass, stage: str) -> Outcome:
        watcher = self.easel.watcher
        keep = watcher.keep_partial and not task.latents_out

        def tell(report: Report) -> None:
            count = self.easel.settled.request.count
            watcher.on_progress(Progress(self.index, count, stage, report.step, report.steps, report.preview))

        watch = Watch(tell, watcher.should_stop, keep, self._pause_if_asked)
        return PassRun(self.easel.loaded, task, watch, self.easel.colours, self._seat).run()

    def _pause_if_asked(self) -> None:
        if self.easel.watcher.should_pause():
            self._seat.leave()  # no picture waits for this one's calls
            self.easel.pause()

    def _enlarged(self, hires: Hires, outcome: Outcome, size: tuple[int, int]) -> Image.Image | Tensor:
        if outcome.latents is not None:
            unit = pixels_per_latent(self.easel.loaded.components["vae"])
            return torch.nn.functional.interpolate(
                outcome.latents, (size[1] // unit, size[0] // unit), mode="bilinear"
            )
        assert outcome.image is not None
        assert self.easel.upscaler is not None
        watcher, count = self.easel.watcher, self.easel.settled.request.count

        def tell(share: float) -> None:
            watcher.on_progress(Progress(self.index, count, "upscaling", round(share * 100), 100))
            self._pause_if_asked()

        enlarged = self.easel.upscaler.upscale(
            outcome.image,
            hires.scale,
            max_pixels=self.easel.max_pixels,
            on_progress=tell,
            should_stop=watcher.should_stop,
        )
        return enlarged.resize(size, Image.Resampling.LANCZOS)

    def _scheduler(self, choice: Choice) -> Any:
        return build(choice, self.easel.loaded.scheduler_config, [self.seed])

    def _noise(self, generator: Generator) -> Tensor | None:
        """The initial noise where another seed's is mixed in; otherwise the pipeline draws it itself."""
        settled = self.easel.settled
        variation = settled.request.variation
        if variation is None or variation.strength == 0:
            return None
        unit = pixels_per_latent(self.easel.loaded.components["vae"])
        denoiser: Any = self.easel.loaded.components[settled.family.denoiser]
        shape = (1, denoiser.config.in_channels, settled.height // unit, settled.width // unit)
        return varied_noise(shape, generator, variation, self.index).to(denoiser.device, denoiser.dtype)
