"""One pass through a diffusers pipeline: the arguments each family needs, progress, previews and stopping."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from safelight.errors import NumbersError, StoppedError
from safelight.generation.batching import Seat, StandIn
from safelight.generation.guidance import DenoiserAdapter, Guidance
from safelight.generation.previews import LatentToRGB, Prediction, clean_latents, spatial
from safelight.generation.prompts.encode import GuidedPhase
from safelight.generation.request import Mode
from safelight.generation.settle import executed
from safelight.models.families import Family


class LoadedCheckpoint(Protocol):
    """What a pass needs of a loaded checkpoint (``models.loading.Loaded``)."""

    @property
    def family(self) -> Family:
        """Its entry in the table of families."""

    @property
    def components(self) -> Mapping[str, Any]:
        """Its parts by name."""

    def pipeline(self, mode: str, scheduler: Any, *, pag: bool = False) -> Any:
        """A pipeline over the shared components with its own scheduler."""


@dataclass(frozen=True)
class Report:
    """What a pass tells after each step.

    Args:
        step: Steps done, from 1.
        steps: Steps of this pass.
        preview: Makes a small picture of where it stands, one pixel for each latent; costs about a millisecond, and a
            second where it is a checkpoint's first.
    """

    step: int
    steps: int
    preview: Callable[[], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one pass draws.

    Args:
        mode: Which of the family's pipelines.
        width: Pixels.
        height: Pixels.
        steps: Before the strength takes its share.
        scheduler: Made for this pass alone.
        generator: The picture's own.
        guidance: Scale and window.
        guided: Whether the negative prompt is drawn along.
        words: prompt and negative prompt as plain text, for families that encode text themselves.
        phases: Text embeddings by step, for families whose text encoders are CLIPs.
        noise: (1, channels, rows, columns) to start from; None to let the pipeline draw it.
        image: What to start from: a picture, or (1, channels, rows, columns) latents.
        mask: Mode L, white where it is drawn anew.
        strength: Denoising strength; None without a picture to start from.
        eta: Fresh noise of DDIM-like samplers, 0 to 1.
        clip_skip: 1 is the last layer.
        pag_scale: Perturbed-attention guidance; 0 is none.
        pag_adaptive: What its scale loses with each timestep.
        latents_out: Give latents instead of a picture.
    """

    mode: Mode
    width: int
    height: int
    steps: int
    scheduler: Any
    generator: Generator
    guidance: Guidance
    guided: bool
    words: tuple[str, str]
    phases: Sequence[GuidedPhase] = ()
    noise: Tensor | None = None
    image: Image.Image | Tensor | None = None
    mask: Image.Image | None = None
    strength: float | None = None
    eta: float | None = None
    clip_skip: int = 1
    pag_scale: float = 0.0
    pag_adaptive: float = 0.0
    latents_out: bool = False


@dataclass(frozen=True)
class Watch:
    """Who looks on.

    Args:
        report: Called after each step.
        should_stop: Asked before each call of the network and after each step.
        keep_partial: When stopped after a step, give what is there instead of raising StoppedError; pipelines that
            cannot leave out their last steps raise it all the same.
        pause: Called between two steps; returns when the next one may begin.
    """

    report: Callable[[Report], None] = lambda _report: None
    should_stop: Callable[[], bool] = lambda: False
    keep_partial: bool = False
    pause: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """What a pass gave.

    Args:
        image: The picture, RGB; None where latents were asked for.
        latents: The latents, where they were asked for.
        stopped_at: The step after which it was stopped; None if it was not.
    """

    image: Image.Image | None = None
    latents: Tensor | None = None
    stopped_at: int | None = None


@dataclass
class PassRun:
    """One pass on its way.

    Args:
        loaded: The checkpoint; others may use it wherever this waits at its seat or reports.
        task: What to draw.
        watch: Who looks on.
        colours: Gives the preview's map; asked when a preview is first wanted.
        seat: Where the denoiser's calls go; one that meets nobody when not given.
    """

    loaded: LoadedCheckpoint
    task: Pass
    watch: Watch
    colours: Callable[[], LatentToRGB]
    seat: Seat = field(default_factory=Seat)
    _outcome: Outcome = field(default_factory=Outcome)
    _prediction: Prediction | None = None
    _calls: int = 0
    _done: int = 0

    def run(self) -> Outcome:
        """Draw.

        Raises:
            StoppedError: It was stopped, and nothing partial was wanted.
            NumbersError: The result is not finite.
        """
        task, family = self.task, self.loaded.family
        self._pipeline, self._steps = self._prepared(), executed(task.steps, task.strength, family)
        # A partial result needs a pipeline that can leave out its last steps, and then the network must not raise.
        can_interrupt = family.step_callback and hasattr(type(self._pipeline), "interrupt")
        self._keeps = self.watch.keep_partial and can_interrupt
        stop = (lambda: False) if self._keeps else self.watch.should_stop
        denoiser = getattr(self._pipeline, family.denoiser)
        self._adapter = DenoiserAdapter(denoiser, task.guidance, task.guided, task.phases, self._steps, stop)
        with torch.no_grad(), self.seat, self._adapter:
            result = self._pipeline(**self._arguments())[0]
        self._keep(result)
        return self._outcome

    def _prepared(self) -> Any:
        """A pipeline whose scheduler is watched."""
        task, family = self.task, self.loaded.family
        pipeline = self.loaded.pipeline(task.mode, task.scheduler, pag=task.pag_scale > 0)
        if isinstance(task.image, Tensor):
            # Pipelines tell latents from pictures by the number of channels, and some believe it to be four.
            pipeline.image_processor.register_to_config(vae_latent_channels=task.image.shape[1])
        pipeline.scheduler.step = self._watched(pipeline.scheduler)
        if (
            task.pag_scale == 0
        ):  # with it, the pipeline works on the denoiser itself, which is a twin of its own
            network = getattr(pipeline, family.denoiser)
            setattr(pipeline, family.denoiser, StandIn(network, self.seat.compute))
        if family.sigmas and pipeline.scheduler.order > 1 and hasattr(pipeline, "get_timesteps"):
            # Pipelines that hand over sigmas take the number of a sampler's calls for that of its steps.
            keep_steps = pipeline.get_timesteps
            pipeline.get_timesteps = lambda _calls, *rest: keep_steps(task.steps, *rest)
        return pipeline

    def _arguments(self) -> dict[str, Any]:
        task, family = self.task, self.loaded.family
        accepted = _parameters(self._pipeline)
        arguments: dict[str, Any] = {
            "num_inference_steps": task.steps,
            "generator": task.generator,
            "output_type": "latent" if task.latents_out else "np",
            "return_dict": False,
            **family.always,
            **self._text(),
            **self._scale(),
        }
        optional = {
            "width": task.width,
            "height": task.height,
            "eta": task.eta,
            "pag_scale": task.pag_scale or None,
            "pag_adaptive_scale": task.pag_adaptive or None,
            "strength": task.strength,
            "image": task.image,
            "mask_image": task.mask,
            "latents": task.noise,
            "callback_on_step_end": self._interrupt if self._keeps else None,
        }
        return arguments | {
            name: value for name, value in optional.items() if value is not None and name in accepted
        }

    def _scale(self) -> dict[str, float]:
        family = self.loaded.family
        if family.guidance == "none" and family.guidance_parameter not in _parameters(self._pipeline):
            return {}
        scale = self.task.guidance.scale if family.guidance == "embedded" or self.task.guided else 1.0
        counted = scale if family.guidance == "embedded" else scale - 1.0 + family.guidance_off
        return {family.guidance_parameter: counted}

    def _text(self) -> dict[str, Any]:
        """The prompt as embeddings where we make them, else as words."""
        if not self.task.phases:
            prompt, negative = self.task.words
            text: dict[str, Any] = {"prompt": prompt}
            if self.task.guided and "negative_prompt" in _parameters(self._pipeline):
                text["negative_prompt"] = negative
            if self.loaded.family.clip_skip and self.task.clip_skip > 1:
                text["clip_skip"] = self.task.clip_skip - 1
            return text
        first = self.task.phases[0]
        embeddings: dict[str, Any] = {"prompt_embeds": first.positive.embeddings}
        if first.positive.pooled is not None and "pooled_prompt_embeds" in _parameters(self._pipeline):
            embeddings["pooled_prompt_embeds"] = first.positive.pooled
        if self.task.guided:
            negatives = {f"negative_{name}": value for name, value in embeddings.items()}
            negatives["negative_prompt_embeds"] = first.negative.embeddings
            if "negative_pooled_prompt_embeds" in negatives:
                negatives["negative_pooled_prompt_embeds"] = first.negative.pooled
            embeddings |= negatives
        return embeddings

    def _watched(self, scheduler: Any) -> Callable[..., Any]:
        """The scheduler's step, which every pipeline calls in the same way, with an eye on what goes through it."""
        step = scheduler.step

        @functools.wraps(step)  # pipelines look at its parameters
        def watched(output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
            scales = hasattr(scheduler, "scale_model_input")
            seen = scheduler.scale_model_input(sample, timestep) if scales else sample
            self._prediction = Prediction(sample, seen, float(timestep), output)
            result = step(output, timestep, sample, *args, **kwargs)
            self._after_call(scheduler.order)
            return result

        return watched

    def _after_call(self, order: int) -> None:
        """Count; a sampler of order 2 calls the network twice a step, but once in the last."""
        self._calls += 1
        last = self._calls > order * (self._steps - 1)
        done = self._steps if last else self._calls // order
        if done == self._done:
            return
        self._done = done
        self._adapter.step = min(done, self._steps - 1)
        if done == self._steps:
            self.seat.leave()
        self._tell(done)
        if done < self._steps:
            self.watch.pause()
        if not self._keeps and done < self._steps and self.watch.should_stop():
            raise StoppedError

    def _interrupt(
        self, pipeline: Any, _index: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """After a call: where the run is to stop, leave out the rest and decode what is there."""
        if not (0 < self._done < self._steps and self._prediction and self.watch.should_stop()):
            return {}
        self._outcome.stopped_at = self._done
        self.seat.leave()
        pipeline._interrupt = True  # the library's own switch
        clean = clean_latents(pipeline.scheduler, self._prediction)
        return {"latents": clean.to(tensors["latents"].dtype)}

    def _tell(self, done: int) -> None:
        pipeline, prediction, task = self._pipeline, self._prediction, self.task

        def preview() -> Image.Image:
            assert prediction is not None
            clean = clean_latents(pipeline.scheduler, prediction)
            with torch.no_grad():
                return self.colours().preview(spatial(clean, pipeline, task.width, task.height))

        self.watch.report(Report(done, self._steps, preview))

    def _keep(self, result: Any) -> None:
        if self.task.latents_out:
            self._outcome.latents = result
            return
        pixels = np.asarray(result[0])
        if not np.isfinite(pixels).all():
            raise NumbersError
        self._outcome.image = Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))


def _parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipeline.__call__).parameters
