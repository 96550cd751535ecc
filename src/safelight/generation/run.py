"""A run: generates the pictures of one request, each with its first pass and, if requested, a second one.

Work that all pictures share is done once: planning the request, decoding its input pictures, resolving names. Weights
are leased for one picture at a time (see ``engine.py``), so that other runs can use the memory between two pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from safelight.errors import MemoryExhaustedError, RunStoppedError
from safelight.generation.adapters.embeddings import EMBEDDINGS, embedding_refs
from safelight.generation.adapters.files import ADAPTERS, adapter_refs
from safelight.generation.artifact import TEXT_STAGE, Artifact, MemoryUse
from safelight.generation.canvas.init_image import InitImage, make_init_image
from safelight.generation.canvas.references import fit_references
from safelight.generation.conditioning import EncoderCall, PromptConditioning
from safelight.generation.control.pictures import ControlPictures
from safelight.generation.control.planning import PlannedControl
from safelight.generation.denoising import DenoisingPass, Resumed
from safelight.generation.memory_placement import Placement
from safelight.generation.memory_watch import MemoryWatch
from safelight.generation.modifiers.ip_adapter import NAME as IP_ADAPTERS
from safelight.generation.modifiers.modifier import Modifier, component_patches, encode_with
from safelight.generation.modifiers.registry import Networks, PassContext, build_modifiers
from safelight.generation.noise import CudaNoise, make_generator, varied_noise
from safelight.generation.plan import ExpandedPrompts, Plan, executed_steps
from safelight.generation.previews import LatentToRGB
from safelight.generation.progress import RunProgress, Stage, Watcher
from safelight.generation.prompts.encode import ConditioningPhase
from safelight.generation.record import (
    CheckpointRef,
    ControlRef,
    ImageEncoderRef,
    ReferenceRef,
    RegionRef,
    ReproductionRecord,
    pixels_digest,
)
from safelight.generation.recording import machine_of, make_record
from safelight.generation.regions import RegionMasks
from safelight.generation.request import Hires, Mode
from safelight.generation.solvers.samplers import SamplerChoice, build_scheduler
from safelight.generation.stages import Handover, Split
from safelight.generation.upscaling import Upscaler
from safelight.models.checkpoints.loading import LoadedCheckpoint, pixels_per_latent
from safelight.runtime.changed_weights import Keep, keep_nothing
from safelight.runtime.component import Component
from safelight.runtime.executor import BatchMember, Executor
from safelight.runtime.memory_plan.meter import StageMeter


@dataclass(frozen=True)
class Components:
    """What a run leases to generate one picture.

    Args:
        loaded: The checkpoint.
        prompts: Its conditioning on prompts.
        previewer: Returns its map from latents to colours; called for the first preview.
        upscaler: The upscaler between two passes; None if the latents are upscaled, and without a second pass.
        networks: The networks of modifiers.
        placement: Where the checkpoint's networks are kept.
        meter: Measures the memory of each stage.
        watch: Watches the free memory.
        batched: Whether calls may be batched with those of other runs.
        others: Networks beside the checkpoint's, by the names under which the record says what computed them.
        keep: Keeps what modifiers make in memory until the picture ends, where there is room.
    """

    loaded: LoadedCheckpoint
    prompts: PromptConditioning
    previewer: Callable[[], LatentToRGB]
    upscaler: Upscaler | None
    networks: Networks
    placement: Placement
    meter: StageMeter
    watch: MemoryWatch
    batched: bool = True
    others: Mapping[str, Component] = field(default_factory=dict)
    keep: Keep = keep_nothing


@dataclass(frozen=True)
class HandedOver:
    """A picture between two stages.

    Args:
        start: What the next stage starts from: a picture, or latents.
        generator: The state of the generator.
        draws: How often was drawn from a CUDA device's.
        record: How it was made so far.
        seconds: The time that it took so far.
        memory: The memory that the stage took.
    """

    start: Image.Image | Tensor
    generator: Tensor
    draws: int
    record: ReproductionRecord
    seconds: float
    memory: MemoryUse


_Made = TypeVar("_Made")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of one request. Nothing is locked or leased between two pictures.

    Args:
        plan: What to generate.
        checkpoint: The weights, for the record.
        lease: Leases the weights and the right to compute, waiting for memory that others use.
        init_image: The initial picture, RGB.
        mask: Its mask, RGB.
        controls: The pictures of the controls.
        references: The pictures that the model looks at, RGB.
        regions: The masks of the regions.
        watcher: Callbacks.
        home: The data directory, for wildcards and styles.
        max_pixels: Maximum number of pixels of a picture.
        executor: Batches calls of the denoiser with those of other runs; None to compute all of them alone.
        pause: Lets others compute while the watcher pauses.
        step_down: Lets the run take less memory after a shortage; returns whether there is a way.
        stage: Which stage of a picture its first pass is.
        previous_steps: Steps of the stage before.
        handover: What it gives to the stage after it; None for the last or only one.
        before: What the stage before it gave; None for the first or only one.
        split: Where the stage before it stopped denoising; None if that denoised to the end.
    """

    plan: Plan
    checkpoint: CheckpointRef
    lease: Callable[[], AbstractContextManager[Components]]
    init_image: Image.Image | None = None
    mask: Image.Image | None = None
    controls: ControlPictures = field(default_factory=ControlPictures)
    references: tuple[Image.Image, ...] = ()
    regions: RegionMasks = field(default_factory=RegionMasks)
    watcher: Watcher = field(default_factory=Watcher)
    home: Path
    max_pixels: int
    executor: Executor | None = None
    pause: Callable[[], None] = lambda: None
    step_down: Callable[[], bool] = lambda: False
    stage: Stage = Stage.FIRST_PASS
    previous_steps: int = 0
    handover: Handover | None = None
    before: HandedOver | None = None
    split: Split | None = None

    def generate(self, index: int) -> Artifact:
        """Generate picture `index`, from 0; where the memory runs out, begin it again with less of it.

        Raises:
            MemoryBudgetError: There is not enough memory for it.
            ModelError: The checkpoint or the upscaler cannot be loaded.
            MaskError: The mask does not match the initial picture, or marks nothing.
            RunStoppedError: The watcher stopped it, and no partial picture was requested or is possible.
            NonFiniteError: The network's result is not finite.
        """
        return self._within_memory(index, lambda generation: generation.generate())

    def hand_over(self, index: int) -> HandedOver | Artifact:
        """Generate what the next stage of picture `index` starts from; the picture itself where it is stopped.

        Raises:
            SafelightError: As in ``generate``.
        """
        return self._within_memory(index, lambda generation: generation.hand_over())

    def going_on(self, before: HandedOver) -> Run:
        """This run with what the stage before it gave."""
        if isinstance(before.start, Tensor):
            return replace(self, before=before)
        return replace(self, before=before, init_image=before.start)

    def _within_memory(self, index: int, make: Callable[[_PictureGeneration], _Made]) -> _Made:
        while True:
            made = self._attempt(index, make)
            if not isinstance(made, MemoryExhaustedError):
                return made
            if not self.step_down():
                raise made

    def _attempt(
        self, index: int, make: Callable[[_PictureGeneration], _Made]
    ) -> _Made | MemoryExhaustedError:
        """What is made, or the error where the memory ran out, without what was in memory then."""
        try:
            with self.lease() as components:
                if self.watcher.should_stop():
                    raise RunStoppedError
                return make(_PictureGeneration(self, index, components))
        except MemoryExhaustedError as error:
            return MemoryExhaustedError(error.message, hint=error.hint)

    def artifacts(self, skip: Collection[int] = ()) -> Iterator[Artifact]:
        """All pictures in order, except those with an index in ``skip``; a stopped one is the last."""
        for index in range(self.plan.request.count):
            if index in skip:
                continue
            yield (artifact := self.generate(index))
            if artifact.stopped_at is not None:
                return

    @cached_property
    def input_digests(self) -> dict[str, str | None]:
        """SHA-256 of the input pictures' pixels, by field of the record."""
        inputs = {"init_image": self.init_image, "mask": self.mask}
        return {
            name: None if image is None else pixels_digest(np.asarray(image))
            for name, image in inputs.items()
        }

    @cached_property
    def reference_refs(self) -> tuple[ReferenceRef, ...]:
        """The references, for the record."""
        return tuple(ReferenceRef(image=pixels_digest(np.asarray(image))) for image in self.references)

    @cached_property
    def control_refs(self) -> tuple[ControlRef, ...]:
        """The controls, for the record."""
        return tuple(
            ControlRef(
                name=control.model.name,
                digest=control.digest,
                kind=control.kind,
                image=None if given.image is None else pixels_digest(np.asarray(given.image)),
                mask=None if given.mask is None else pixels_digest(np.asarray(given.mask)),
                encoder=_encoder_ref(control),
                **{
                    name: getattr(control.options, name)
                    for name in ("preprocessor", "weight", "start", "end", "mode", "resize")
                },
            )
            for control, given in zip(self.controls.controls, self.controls.given, strict=True)
        )

    def region_refs(self, prompts: ExpandedPrompts) -> tuple[RegionRef, ...]:
        """The regions, for the record of a picture with these prompts."""
        regions = zip(self.plan.request.regions, prompts.regions, self.regions.images, strict=True)
        return tuple(
            RegionRef(
                prompt=region.prompt,
                expanded_prompt=text,
                mask=pixels_digest(np.asarray(mask)),
                weight=region.weight,
            )
            for region, text, mask in regions
        )


def _encoder_ref(control: PlannedControl) -> ImageEncoderRef | None:
    encoder = control.encoder
    return None if encoder is None else ImageEncoderRef(name=encoder.name, digest=control.encoder_digest)


@dataclass(frozen=True)
class _PictureGeneration:
    """The generation of one picture of a run."""

    run: Run
    index: int
    components: Components

    def generate(self) -> Artifact:
        """See ``Run.generate``."""
        started, meter = time.perf_counter(), self.components.meter
        meter.begin(TEXT_STAGE)
        plan, hires = self.run.plan, self.run.plan.request.hires
        start = self._make_init_image()
        first = self._first_pass(start)
        stage, result, stopped_at = self.run.stage, first.run(), first.stopped_at
        modifiers = [*first.modifiers]
        if hires is not None and stopped_at is None:
            try:
                second = self._second_pass(hires, first, result)
            except RunStoppedError:  # while upscaling: the result of the first pass is complete
                if isinstance(result, Tensor) or not self.run.watcher.keep_partial:
                    raise
                stopped_at = executed_steps(plan.steps, plan.strength, plan.family)
            else:
                stage, result, stopped_at = Stage.SECOND_PASS, second.run(), second.stopped_at
                modifiers += second.modifiers
        if isinstance(result, Tensor):  # latents without a picture
            raise RunStoppedError
        finished = start.finished(result, executed_steps(plan.steps, plan.strength, plan.family))
        return self._finished(finished, stage, modifiers, started, stopped_at)

    def hand_over(self) -> HandedOver | Artifact:
        """See ``Run.hand_over``."""
        started, handover = time.perf_counter(), self.run.handover
        assert handover is not None
        self.components.meter.begin(TEXT_STAGE)
        start = self._make_init_image()
        only = self._first_pass(start)
        result = only.run()
        if not isinstance(result, Tensor) and only.stopped_at is not None:
            plan = self.run.plan
            finished = start.finished(result, executed_steps(plan.steps, plan.strength, plan.family))
            return self._finished(finished, self.run.stage, only.modifiers, started, only.stopped_at)
        if handover.hires is not None:
            try:
                result = self._upscale(handover.hires, result, handover.size)
            except RunStoppedError:  # the result of this stage is complete
                if isinstance(result, Tensor) or not self.run.watcher.keep_partial:
                    raise
                steps = executed_steps(self.run.plan.steps, self.run.plan.strength, self.run.plan.family)
                return self._finished(result, self.run.stage, only.modifiers, started, steps)
        self.components.meter.begin("")
        notes = dict.fromkeys(note for modifier in only.modifiers for note in modifier.notes)
        return HandedOver(
            result.cpu() if isinstance(result, Tensor) else result,
            only.generator.get_state(),
            0 if only.cuda_noise is None else only.cuda_noise.draws,
            self._make_record(tuple(notes)),
            time.perf_counter() - started,
            MemoryUse(self.components.placement.memory, self.components.meter.peaks),
        )

    def _finished(
        self,
        image: Image.Image,
        stage: Stage,
        modifiers: Sequence[Modifier],
        started: float,
        stopped_at: int | None,
    ) -> Artifact:
        """A picture with its record."""
        meter = self.components.meter
        meter.begin("")
        seconds = time.perf_counter() - started
        notes = dict.fromkeys(note for modifier in modifiers for note in modifier.notes)
        unfinished = f"Stopped after step {stopped_at} of the {stage}: the picture is unfinished."
        record = self._make_record((*notes, *(() if stopped_at is None else (unfinished,))))
        memory = MemoryUse(self.components.placement.memory, meter.peaks)
        return Artifact(image, record, seconds, self.index, stopped_at, memory)

    @cached_property
    def _member(self) -> BatchMember:
        """The membership in the executor, for both passes."""
        watcher = self.run.watcher
        return BatchMember(
            self.run.executor if self.components.batched else None,
            lambda: watcher.should_stop() or watcher.should_pause(),
        )

    @cached_property
    def _prompts(self) -> ExpandedPrompts:
        return self.run.plan.prompts(self.index, self.run.home)

    @property
    def _seed(self) -> int:
        return self.run.plan.seed_of(self.index)

    @property
    def _loaded(self) -> LoadedCheckpoint:
        return self.components.loaded

    def _make_init_image(self) -> InitImage:
        plan = self.run.plan
        size = (plan.width, plan.height)
        return make_init_image(
            plan.request, self.run.init_image, self.run.mask, self._seed, size, self._mask_unit()
        )

    def _mask_unit(self) -> int:
        """Pixels of a mask that the network treats as one."""
        family = self.run.plan.family
        if family.pixel_masks:
            return 1
        # A packed latent holds several neighbouring ones.
        packed = family.latent_layout == "packed"
        return family.size_multiple if packed else pixels_per_latent(self._loaded.vae)

    def _first_pass(self, start: InitImage) -> DenoisingPass:
        plan, request, prompts = self.run.plan, self.run.plan.request, self.components.prompts
        run, handover = self.run, self.run.handover
        noise = self._cuda_noise(draws=0 if run.before is None or run.split is None else run.before.draws)
        generator = make_generator(self._seed) if noise is None else noise.generator
        if run.before is not None and run.split is not None:
            generator.set_state(run.before.generator)
        steps = executed_steps(plan.steps, plan.strength, plan.family)
        modifiers, phases = self._conditioned(
            run.stage, steps, (plan.width, plan.height), start, run.previous_steps
        )
        upscales_latents = request.hires is not None and request.hires.upscaler == "latent"
        latents_out = handover.latents if handover is not None else upscales_latents
        latents = self._given_latents()
        resumed = None
        if run.split is not None:
            assert latents is not None
            resumed = Resumed(latents, run.split, self._draw_again)
        return DenoisingPass(
            loaded=self._loaded,
            mode=request.mode,
            width=plan.width,
            height=plan.height,
            steps=plan.steps,
            scheduler=self._build_scheduler(plan.sampler_choice),
            generator=generator,
            cuda_noise=noise,
            guidance_scale=plan.guidance_scale,
            guided=plan.guided,
            true_cfg_scale=request.true_cfg_scale,
            text=prompts.plain(self._prompts),
            phases=phases,
            modifiers=modifiers,
            noise=self._make_noise(generator) if noise is None else None,
            image=start.image if latents is None or start.mask is not None else latents,
            mask=start.mask,
            references=self._references(),
            soft=start.canvas is not None and start.canvas.is_soft,
            strength=plan.strength,
            image_guidance_scale=request.image_guidance_scale,
            eta=plan.eta,
            clip_skip=request.clip_skip,
            latents_out=latents_out,
            split=None if handover is None else handover.split,
            resumed=resumed,
            previewer=self.components.previewer,
            member=self._member,
            on_step=self._reporter(run.stage),
            should_stop=self.run.watcher.should_stop,
            keep_partial=self.run.watcher.keep_partial and not latents_out,
            pause=self._pause_if_asked,
            on_stage=self.components.meter.begin,
            shortage=self.components.watch,
        )

    def _references(self) -> list[Image.Image]:
        """The references in the sizes in which the pipeline takes them."""
        plan, pictures = self.run.plan, self.run.references
        found = plan.family.references
        return [] if found is None else fit_references(pictures, found, (plan.width, plan.height))

    def _second_pass(self, hires: Hires, first: DenoisingPass, result: Image.Image | Tensor) -> DenoisingPass:
        """The pass that starts from the upscaled result of the first one."""
        plan = self.run.plan
        width, height = plan.hires_size
        steps = plan.hires_steps
        executed = executed_steps(steps, hires.strength, plan.family)
        modifiers, phases = self._conditioned(
            Stage.SECOND_PASS, executed, (width, height), InitImage(), previous_steps=plan.steps
        )
        noise = self._cuda_noise()
        return replace(
            first,
            generator=first.generator if noise is None else noise.generator,
            cuda_noise=noise,
            mode=Mode.IMAGE,
            width=width,
            height=height,
            steps=steps,
            scheduler=self._build_scheduler(plan.hires_sampler_choice or plan.sampler_choice),
            eta=(plan.hires_sampler_choice or plan.sampler_choice).sampler.eta if hires.sampler else plan.eta,
            phases=phases,
            modifiers=modifiers,
            noise=None,
            image=self._upscale(hires, result, (width, height)),
            strength=hires.strength,
            latents_out=False,
            on_step=self._reporter(Stage.SECOND_PASS),
            keep_partial=self.run.watcher.keep_partial,
        )

    def _conditioned(
        self, stage: Stage, steps: int, size: tuple[int, int], start: InitImage, previous_steps: int = 0
    ) -> tuple[Sequence[Modifier], Sequence[ConditioningPhase]]:
        """The modifiers of a pass, and its text embeddings.

        Args:
            stage: The pass.
            steps: Its steps that run.
            size: Its width and height, in pixels.
            start: What it starts from, as far as control pictures and regions depend on it.
            previous_steps: Steps of the previous pass.
        """
        plan, conditioning = self.run.plan, self.components.prompts
        context = PassContext(
            plan,
            self.index,
            self._prompts,
            stage,
            steps,
            self._loaded,
            control_pictures=self.run.controls.at(size, start),
            region_masks=self.run.regions.at(size, start),
            keep=self.components.keep,
        )
        modifiers = build_modifiers(context, self.components.networks)
        patches = {name: component_patches(modifiers, name) for name in plan.family.text_encoders}
        call = EncoderCall(self._prompts, steps, plan.request.clip_skip, previous_steps, patches)
        return modifiers, encode_with(modifiers, call, conditioning.phases)

    def _reporter(self, stage: Stage) -> Callable[[int, int, Callable[[], Image.Image]], None]:
        """A function that reports a pass's steps to the watcher."""
        watcher, count, watch = self.run.watcher, self.run.plan.request.count, self.components.watch

        def report(step: int, steps: int, preview: Callable[[], Image.Image]) -> None:
            watch.after_step()
            watcher.on_progress(RunProgress(self.index, count, stage, step, steps, preview))

        return report

    def _pause_if_asked(self) -> None:
        if self.run.watcher.should_pause():
            self._member.leave()  # no other picture waits for this one's calls
            self.run.pause()

    def _upscale(
        self, hires: Hires, result: Image.Image | Tensor, size: tuple[int, int]
    ) -> Image.Image | Tensor:
        if isinstance(result, Tensor):
            unit = pixels_per_latent(self._loaded.vae)
            return torch.nn.functional.interpolate(
                result, (size[1] // unit, size[0] // unit), mode="bilinear"
            )
        assert self.components.upscaler is not None
        watcher, count = self.run.watcher, self.run.plan.request.count

        def report(share: float) -> None:
            watcher.on_progress(RunProgress(self.index, count, Stage.UPSCALING, round(share * 100), 100))
            self._pause_if_asked()

        upscaled = self.components.upscaler.upscale(
            result,
            hires.scale,
            max_pixels=self.run.max_pixels,
            on_progress=report,
            should_stop=watcher.should_stop,
        )
        return upscaled.resize(size, Image.Resampling.LANCZOS)

    def _build_scheduler(self, choice: SamplerChoice) -> Any:
        return build_scheduler(choice, self._loaded.scheduler_config, [self._seed])

    def _cuda_noise(self, draws: int = 0) -> CudaNoise | None:
        """What draws a pass's noise as a CUDA device draws it; each pass begins anew, as in A1111."""
        request = self.run.plan.request
        if request.noise_source != "gpu":
            return None
        variation = None if request.variation is None else request.variation.for_picture(self.index)
        return CudaNoise(self._seed, variation, draws)

    def _draw_again(self) -> tuple[Generator, AbstractContextManager[object]]:
        """A generator that begins anew, and the context in which it draws."""
        noise = self._cuda_noise()
        return (make_generator(self._seed), nullcontext()) if noise is None else (noise.generator, noise)

    def _given_latents(self) -> Tensor | None:
        """What the stage before this one gave, if that is latents."""
        before, denoiser = self.run.before, self._loaded.denoiser
        if before is None or not isinstance(before.start, Tensor):
            return None
        return before.start.to(denoiser.device, denoiser.dtype)

    def _make_noise(self, generator: Generator) -> Tensor | None:
        """The initial noise if it mixes two seeds; otherwise None, and the pipeline makes it."""
        plan = self.run.plan
        variation = plan.request.variation
        if variation is None or variation.strength == 0 or plan.request.mode is not Mode.TEXT:
            return None
        unit = plan.family.pixels_per_latent or pixels_per_latent(self._loaded.vae)
        denoiser = self._loaded.denoiser
        reads_picture = plan.family.references is not None and plan.family.references.image_guidance
        channels = denoiser.config["out_channels" if reads_picture else "in_channels"]
        shape = (1, channels, plan.height // unit, plan.width // unit)
        return varied_noise(shape, generator, variation, self.index).to(denoiser.device, denoiser.dtype)

    @property
    def _others(self) -> dict[str, Component]:
        """The networks beside the checkpoint's, by the names that the record has for them."""
        networks = self.components.networks
        return {**self.components.others, **networks.get("control", {}), **networks.get(IP_ADAPTERS, {})}

    def _make_record(self, notes: tuple[str, ...]) -> ReproductionRecord:
        run, loaded, upscaler = self.run, self._loaded, self.components.upscaler
        return make_record(
            run.plan,
            self.index,
            self._prompts,
            run.checkpoint,
            machine_of({**loaded.networks, **self._others}, loaded.denoiser),
            (
                *self.components.prompts.notes(self._prompts),
                *notes,
                *self.components.placement.notes,
                *self.components.watch.notes,
            ),
            **run.input_digests,
            upscaler=None if upscaler is None else upscaler.digest,
            control=run.control_refs,
            references=run.reference_refs,
            regions=run.region_refs(self._prompts),
            adapters=adapter_refs(self._prompts.adapters, self.components.networks.get(ADAPTERS, {})),
            embeddings=embedding_refs(self._prompts, self.components.networks.get(EMBEDDINGS, {})),
            batched=self._member.batched,
        )
