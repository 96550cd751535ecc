"""One pass through a diffusers pipeline: the arguments for each family, progress, previews and stopping."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from PIL import Image
from torch import Generator, Tensor

from safelight.errors import NonFiniteError, RunStoppedError
from safelight.generation.autoencoder import AutoencoderProxy, Shortage, decodes_with_mask
from safelight.generation.canvas.references import looks
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role, as_tensor
from safelight.generation.modifiers.modifier import Modifier, component_patches, predict_with
from safelight.generation.noise import CudaNoise, make_generator
from safelight.generation.plan import executed_steps
from safelight.generation.precision import other_precision
from safelight.generation.previews import DenoiserPrediction, LatentToRGB, clean_latents, unpack_latents
from safelight.generation.prompts.encode import ConditioningPhase
from safelight.generation.request import Mode
from safelight.generation.soft_inpainting import SoftInpainting
from safelight.generation.stages import Split
from safelight.models.families import Family
from safelight.models.families.references import References
from safelight.runtime.calls import Call
from safelight.runtime.component import Component
from safelight.runtime.executor import BatchMember, DenoiserProxy
from safelight.runtime.patching import patched

_GENERATOR_OF_LATENTS, _GENERATOR_OF_MASKS = 6, 7
"""Where the inpainting pipelines of U-Nets pass the generator to ``prepare_latents`` and ``prepare_mask_latents``."""


class LoadedCheckpoint(Protocol):
    """What a pass needs of a loaded checkpoint (``models.checkpoints.loading.LoadedCheckpoint``)."""

    @property
    def family(self) -> Family:
        """The checkpoint's family."""

    @property
    def components(self) -> Mapping[str, Any]:
        """The components by name."""

    @property
    def denoiser(self) -> Component:
        """The U-Net or transformer."""

    @property
    def vae(self) -> Component:
        """The autoencoder."""

    @property
    def networks(self) -> Mapping[str, Component]:
        """All networks by name."""

    def pipeline(self, mode: str, scheduler: Any, class_name: str = "") -> Any:
        """A pipeline over the shared components with its own scheduler."""


OnStep = Callable[[int, int, Callable[[], Image.Image]], None]
"""Called after each step with the number of completed steps (from 1), the steps of this pass, and a function that
makes a preview with one pixel per latent. The preview takes about a millisecond, and a second the first time for a
checkpoint.
"""


_IMAGE_GUIDED = (Role.POSITIVE, Role.NEGATIVE, Role.NEGATIVE)
"""The rows of families whose guidance is also by the reference; the last is without it."""


@dataclass(frozen=True)
class Resumed:
    """A denoising that another checkpoint has begun.

    Args:
        latents: What it left, noisy, (1, channels, rows, columns).
        split: Where it stopped.
        draw_again: Makes a generator that begins anew with the seed, and the context in which it draws: what pipelines
            draw for masks is what they drew for the first checkpoint.
    """

    latents: Tensor
    split: Split
    draw_again: Callable[[], tuple[Generator, AbstractContextManager[object]]]


@dataclass(kw_only=True)
class DenoisingPass:
    """One pass through a pipeline; call ``run`` once.

    Args:
        loaded: The checkpoint. Other threads may use it whenever this pass waits for the executor or reports a step.
        mode: Selects the family's pipeline.
        width: Pixels.
        height: Pixels.
        steps: Steps before the strength reduces them.
        scheduler: Used by this pass only.
        generator: The picture's own.
        cuda_noise: Draws for the generator what it would draw on a CUDA device; None to draw from the generator itself.
        guidance_scale: As in diffusers; 1 is no guidance.
        guided: Whether the network also runs on the negative prompt.
        true_cfg_scale: The scale of classifier-free guidance beside a family's own; 1 is none.
        text: Prompt and negative prompt as plain text, for families that encode text themselves.
        phases: Text embeddings by step, for families whose text encoders are CLIPs; the pipeline gets the first.
        modifiers: What changes the calls of the denoiser, the outermost first.
        noise: Initial noise, (1, channels, rows, columns); None to let the pipeline make it.
        image: The initial image: a picture, or (1, channels, rows, columns) latents.
        mask: Mode L, white where the picture is changed.
        references: Pictures that the model looks at, RGB, in the sizes that the pipeline takes.
        soft: Whether the mask's greys are strengths of their own (``soft_inpainting.py``).
        strength: Denoising strength, 0 to 1; None without an initial image.
        image_guidance_scale: Guidance by the reference, for families that have it; 1 is none.
        eta: Fresh noise of DDIM-like samplers, 0 to 1.
        clip_skip: 1 is the last layer.
        latents_out: Return latents instead of a picture.
        split: Where it stops, for a refiner to take over; None to run to the end.
        resumed: What another checkpoint has begun; None to begin.
        previewer: Returns the map from latents to colours; called when a preview is first wanted.
        member: Computes calls of the denoiser; by default without batching.
        on_step: Called after each step.
        should_stop: Called before each call of the network and after each step.
        keep_partial: When stopped after a step, return the unfinished picture instead of raising RunStoppedError;
            pipelines that cannot skip their last steps raise it anyway.
        pause: Called between two steps; returns when the next one may begin.
        on_stage: Called with "encode", "denoise" and "decode" when these begin.
        shortage: Tells before decoding whether the memory is short; None if that is not watched.

    Attributes:
        stopped_at: The step after which it was stopped; None if it was not.
    """

    loaded: LoadedCheckpoint
    mode: Mode
    width: int
    height: int
    steps: int
    scheduler: Any
    generator: Generator
    cuda_noise: CudaNoise | None = None
    guidance_scale: float
    guided: bool
    true_cfg_scale: float = 1.0
    text: tuple[str, str]
    phases: Sequence[ConditioningPhase] = ()
    modifiers: Sequence[Modifier] = ()
    noise: Tensor | None = None
    image: Image.Image | Tensor | None = None
    mask: Image.Image | None = None
    references: Sequence[Image.Image] = ()
    soft: bool = False
    strength: float | None = None
    image_guidance_scale: float = 1.0
    eta: float | None = None
    clip_skip: int = 1
    latents_out: bool = False
    split: Split | None = None
    resumed: Resumed | None = None
    previewer: Callable[[], LatentToRGB]
    member: BatchMember = field(default_factory=BatchMember)
    on_step: OnStep = lambda _step, _steps, _preview: None
    should_stop: Callable[[], bool] = lambda: False
    keep_partial: bool = False
    pause: Callable[[], None] = lambda: None
    on_stage: Callable[[str], None] = lambda _: None
    shortage: Shortage | None = None
    stopped_at: int | None = field(default=None, init=False)
    _drawing: ExitStack = field(default_factory=ExitStack, init=False)
    _prediction: DenoiserPrediction | None = field(default=None, init=False)
    _soft_inpainting: SoftInpainting | None = field(default=None, init=False)
    _call_count: int = field(default=0, init=False)
    _calls_in_step: int = field(default=0, init=False)
    _steps_done: int = field(default=0, init=False)
    _done_before: int = field(default=0, init=False)

    def run(self) -> Image.Image | Tensor:
        """The picture, RGB; with ``latents_out`` the latents, (1, channels, rows, columns) or packed.

        Raises:
            RunStoppedError: It was stopped, and no partial picture was requested or is possible.
            NonFiniteError: The result is not finite.
        """
        family = self.loaded.family
        if self.resumed is None:
            self._executed = executed_steps(self.steps, self.strength, family)
        else:
            split = self.resumed.split
            self._executed, self._done_before = split.steps - split.before, split.first
        self._pipeline = self._prepare_pipeline()
        # A partial result needs a pipeline that can skip its last steps, and then the network must not raise.
        can_interrupt = family.supports_step_callback and hasattr(type(self._pipeline), "interrupt")
        self._can_keep_partial = self.keep_partial and can_interrupt
        self._check_embeddings()
        for modifier in self.modifiers:
            modifier.begin(self._first_calls)
        with torch.no_grad(), self.member, self._drawing:
            self._drawing.enter_context(self.cuda_noise or nullcontext())
            result = self._pipeline(**self._pipeline_arguments())[0]
        if self.latents_out:
            self._check_finite(result, family.denoiser)
            return result
        return _to_image(result)

    def _prepare_pipeline(self) -> Any:
        """A pipeline whose scheduler reports each step."""
        family = self.loaded.family
        looking = self._looking
        class_name = "" if looking is None else looking.pipelines[self.mode]
        pipeline = self.loaded.pipeline(self.mode, self.scheduler, class_name)
        if isinstance(self.image, Tensor):
            # Pipelines recognize latents by the number of channels, and some assume that it is four.
            pipeline.image_processor.register_to_config(vae_latent_channels=self.image.shape[1])
        pipeline.scheduler.step = self._wrap_step(pipeline.scheduler)
        setattr(pipeline, family.denoiser, DenoiserProxy(self.loaded.denoiser, self._compute_call))
        family.prepare(pipeline, self.width, self.height, self.guidance_scale if self.guided else 1.0)
        self._wrap_autoencoder(pipeline)
        self._wrap_text_encoders(pipeline)
        if self.resumed is not None:
            _resume(pipeline, self.resumed)
        if family.passes_sigmas and pipeline.scheduler.order > 1 and hasattr(pipeline, "get_timesteps"):
            # Pipelines that pass sigmas confuse the number of a sampler's calls with that of its steps.
            keep_steps = pipeline.get_timesteps
            pipeline.get_timesteps = lambda _calls, *rest: keep_steps(self.steps, *rest)
        if self.soft:
            self._soft_inpainting = SoftInpainting(pipeline, self._executed)
        return pipeline

    def _pipeline_arguments(self) -> dict[str, Any]:
        family = self.loaded.family
        accepted = _parameters(self._pipeline)
        arguments: dict[str, Any] = {
            "num_inference_steps": self.steps,
            "generator": self.generator,
            "output_type": "latent" if self.latents_out else "np",
            "return_dict": False,
            **family.call_arguments,
            **self._text_arguments(),
            **self._guidance_arguments(),
        }
        if (looking := self._looking) is not None:
            arguments |= looking.call_arguments(self.mode, self.references, (self.width, self.height))
            if looking.image_guidance:
                arguments["image_guidance_scale"] = self.image_guidance_scale
        optional = {
            "width": self.width,
            "height": self.height,
            "eta": self.eta,
            "strength": self.strength,
            "image": self.image,
            "mask_image": self.mask,
            "latents": self.noise,
            "callback_on_step_end": self._interrupt if self._can_keep_partial or self.split else None,
        }
        return arguments | {
            name: value for name, value in optional.items() if value is not None and name in accepted
        }

    @property
    def _looking(self) -> References | None:
        """How the pipeline looks at references; None for the usual one."""
        return looks(self.mode, self.loaded.family, len(self.references))

    def _guidance_arguments(self) -> dict[str, float]:
        family = self.loaded.family
        beside = {"true_cfg_scale": self.true_cfg_scale} if family.true_cfg else {}
        return beside | self._own_guidance()

    def _own_guidance(self) -> dict[str, float]:
        family = self.loaded.family
        if family.guidance_parameter is None or (
            family.guidance == "none" and family.guidance_parameter not in _parameters(self._pipeline)
        ):
            return {}
        scale = self.guidance_scale if family.guidance == "embedded" or self.guided else 1.0
        value = scale if family.guidance == "embedded" else scale - 1.0 + family.guidance_off_value
        return {family.guidance_parameter: value}

    def _text_arguments(self) -> dict[str, Any]:
        """The prompt as embeddings where we compute them, else as text."""
        if not self.phases:
            prompt, negative = self.text
            text: dict[str, Any] = {"prompt": prompt}
            if self.guided and "negative_prompt" in _parameters(self._pipeline):
                text["negative_prompt"] = negative
            if self.loaded.family.clip_skip and self.clip_skip > 1:
                text["clip_skip"] = self.clip_skip - 1
            return text
        first = self.phases[0]
        embeddings: dict[str, Any] = {"prompt_embeds": first.positive.embeddings}
        if first.positive.pooled is not None and "pooled_prompt_embeds" in _parameters(self._pipeline):
            embeddings["pooled_prompt_embeds"] = first.positive.pooled
        if self.guided:
            negatives = {f"negative_{name}": value for name, value in embeddings.items()}
            negatives["negative_prompt_embeds"] = first.negative.embeddings
            if "negative_pooled_prompt_embeds" in negatives:
                negatives["negative_pooled_prompt_embeds"] = first.negative.pooled
            embeddings |= negatives
        return embeddings

    def _wrap_autoencoder(self, pipeline: Any) -> None:
        """Let the autoencoder compute in its own precision, and find out whether it or the denoiser returned NaN."""
        vae = self.loaded.vae
        if decodes_with_mask(vae.network):  # pipelines recognise it by its class
            return
        pipeline.vae = AutoencoderProxy(
            vae,
            self.loaded.denoiser.dtype,
            on_latents=self._begin_decoding,
            on_result=lambda result: self._check_finite(result, "vae"),
            on_pixels=lambda: self.on_stage("encode"),
            shortage=self.shortage,
            patches=component_patches(self.modifiers, "vae"),
            sample_with=None if self.cuda_noise is None else make_generator(self.generator.initial_seed()),
        )

    def _begin_decoding(self, latents: Tensor) -> None:
        self.on_stage("decode")
        self._check_finite(latents, self.loaded.family.denoiser)

    def _wrap_text_encoders(self, pipeline: Any) -> None:
        """While the pipeline encodes text, keep the modifiers' patches in effect; then convert to the denoiser's dtype.

        A pipeline that gets embeddings gets no encoders: it would convert them to the encoders' precision.

        Raises:
            NonFiniteError: An embedding is not finite.
        """
        names, dtype = self.loaded.family.text_encoders, self.loaded.denoiser.dtype
        if self.phases:
            for name in names:
                setattr(pipeline, name, None)
            return
        patches = [(getattr(pipeline, name, None), component_patches(self.modifiers, name)) for name in names]
        # InstructPix2Pix's has its older name.
        encoder = "encode_prompt" if hasattr(pipeline, "encode_prompt") else "_encode_prompt"
        encode = getattr(pipeline, encoder)

        @functools.wraps(encode)
        def encode_patched(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                for network, own in patches:
                    if own:
                        stack.enter_context(patched(network, own))
                encoded = encode(*args, **kwargs)
            self._check_finite(encoded, *names)
            return map_tensors(encoded, lambda value: value.to(dtype) if value.is_floating_point() else value)

        setattr(pipeline, encoder, encode_patched)

    def _check_embeddings(self) -> None:
        """Check the embeddings that are passed to the pipeline."""
        for phase in self.phases:
            for each in (phase.positive, phase.negative):
                self._check_finite((each.embeddings, each.pooled), *self.loaded.family.text_encoders)

    def _check_finite(self, result: Any, *components: str) -> None:
        """Check what one of some components returned.

        Raises:
            NonFiniteError: It is not finite; the error names the components, their precision and what to set.
        """
        floats: list[Tensor] = []
        map_tensors(result, lambda value: floats.append(value) if value.is_floating_point() else None)
        if all(bool(value.isfinite().all()) for value in floats):
            return
        family, networks = self.loaded.family, self.loaded.networks
        found = [networks[name] for name in components if name in networks]
        precision = found[0].key.dtype
        raise NonFiniteError(
            f"The {' or '.join(components)} of {family.title} returned NaN or infinity in {precision}: "
            "there is no picture.",
            hint=other_precision(components[0], precision, family, found[0].own_device),
        )

    def _compute_call(self, call: Call) -> object:
        """The denoiser's result for a call of the pipeline.

        Raises:
            RunStoppedError: The run was stopped.
        """
        if not self._can_keep_partial and self.should_stop():
            raise RunStoppedError
        self._drawing.close()  # from here on only the sampler draws, and networks compute faster without
        self.on_stage("denoise")
        roles = self._roles(call.rows)
        self._calls_in_step += 1
        if not self.modifiers:
            return self.member.compute(call)

        results: list[Any] = []

        def compute(changed: DenoiserCall) -> Tensor:
            result: Any = self.member.compute(Call(call.component, (), changed.arguments, changed.patches))
            results.append(result)
            if changed.on_outputs is not None:
                changed.on_outputs(tuple(result))
            return as_tensor(result[0])

        patches = component_patches(self.modifiers, self.loaded.family.denoiser)
        step = self._done_before + min(self._steps_done, self._executed - 1)
        original = DenoiserCall(call.arguments, roles, step, self._all_steps, patches)
        prediction = predict_with(self.modifiers, original, compute)
        # Pipelines use the first value only; a network that takes its rows as a list returns them as a list.
        takes_list = isinstance(next(iter(call.arguments.values())), list)
        answer = list(prediction) if takes_list else prediction
        as_output = results and isinstance(results[-1], dict)  # the pipeline asked for return_dict
        return type(results[-1])(sample=answer) if as_output else (answer,)

    def _first_calls(self, prompt: str) -> Sequence[DenoiserCall]:
        """The first calls of the denoiser for another prompt; nothing is drawn of the picture's own noise."""
        other = replace(
            self,
            text=(prompt, self.text[1]),
            scheduler=copy.deepcopy(self.scheduler),
            generator=Generator(self.generator.device).manual_seed(0),
            soft=False,
            on_stage=lambda _: None,
        )
        return other._collect_calls()

    def _collect_calls(self) -> Sequence[DenoiserCall]:
        """The calls of the first step, without computing them."""
        family, found = self.loaded.family, list[DenoiserCall]()
        self._executed, self._can_keep_partial = executed_steps(self.steps, self.strength, family), False
        pipeline = self._pipeline = self._prepare_pipeline()
        wanted = 2 if self.guided and family.guidance == "cfg-separate" else 1

        def collect(call: Call) -> object:
            found.append(DenoiserCall(call.arguments, self._roles(call.rows), 0, self._executed))
            self._calls_in_step += 1
            if len(found) == wanted:
                raise _CallsCollectedError
            return Transformer2DModelOutput(sample=torch.zeros_like(found[0].latents))

        setattr(pipeline, family.denoiser, DenoiserProxy(self.loaded.denoiser, collect))
        with torch.no_grad(), suppress(_CallsCollectedError):
            pipeline(**self._pipeline_arguments())
        return found

    def _roles(self, rows: int) -> tuple[Role, ...]:
        """What the rows of the next call are conditioned on."""
        family = self.loaded.family
        if self.guided and family.separate_calls:
            # All pipelines compute the prompt's prediction first.
            return (Role.NEGATIVE if self._calls_in_step else Role.POSITIVE,) * rows
        if self.guided and self._looking is not None and self._looking.image_guidance:
            return tuple(role for role in _IMAGE_GUIDED for _ in range(rows // len(_IMAGE_GUIDED)))
        if not self.guided or rows % 2:
            return (Role.POSITIVE,) * rows
        pair = (
            (Role.NEGATIVE, Role.POSITIVE) if family.unconditional_first else (Role.POSITIVE, Role.NEGATIVE)
        )
        return tuple(role for role in pair for _ in range(rows // 2))

    def _wrap_step(self, scheduler: Any) -> Callable[..., Any]:
        """The scheduler's step, which every pipeline calls in the same way; it stores the prediction and reports."""
        step = scheduler.step
        takes_generator = "generator" in inspect.signature(step).parameters

        @functools.wraps(step)  # pipelines look at its parameters
        def reporting(output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
            if takes_generator and not args:
                # Pipelines of flow models do not pass it; the step would draw noise from torch's global generator.
                kwargs.setdefault("generator", self.generator)
            scales = hasattr(scheduler, "scale_model_input")
            model_input = scheduler.scale_model_input(sample, timestep) if scales else sample
            if self._call_count == 0:  # the others would not become finite again
                self._check_finite(output, self.loaded.family.denoiser)
            self._prediction = DenoiserPrediction(sample, model_input, timestep, output)
            with self.cuda_noise or nullcontext():
                result = step(output, timestep, sample, *args, **kwargs)
            if self._soft_inpainting is not None:
                result = (self._soft_inpainting.blend(result[0], self._call_count + 1), *result[1:])
            self._calls_in_step = 0
            self._after_call(scheduler.order)
            return result

        return reporting

    def _after_call(self, order: int) -> None:
        """Count the calls: a sampler of order 2 calls the network twice per step, but once in the last."""
        self._call_count += 1
        last = self._call_count > order * (self._executed - 1)
        done = self._executed if last else self._call_count // order
        if done == self._steps_done:
            return
        self._steps_done = done
        if done == self._executed:
            self.member.leave()
        self.on_step(self._done_before + done, self._all_steps, self._make_preview())
        if done < self._executed:
            self.pause()
        if not self._can_keep_partial and done < self._executed and self.should_stop():
            raise RunStoppedError

    def _interrupt(
        self, pipeline: Any, _index: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """After a call: when stopped, skip the remaining steps and decode the current latents.

        Where a refiner takes over, skip them and keep the latents as they are.
        """
        if self.split is not None and self._steps_done == self.split.first:
            self.member.leave()
            pipeline._interrupt = True
            return {}
        if not self._can_keep_partial or not (
            0 < self._steps_done < self._executed and self._prediction and self.should_stop()
        ):
            return {}
        self.stopped_at = self._steps_done
        self.member.leave()
        pipeline._interrupt = True  # the library's own flag
        clean = clean_latents(pipeline.scheduler, self._prediction)
        return {"latents": clean.to(tensors["latents"].dtype)}

    @property
    def _all_steps(self) -> int:
        """The steps of this checkpoint and of the one before it, for one denoising."""
        return self._done_before + self._executed

    def _make_preview(self) -> Callable[[], Image.Image]:
        """A function that makes a preview of the current state."""
        pipeline, prediction = self._pipeline, self._prediction

        def preview() -> Image.Image:
            assert prediction is not None
            clean = clean_latents(pipeline.scheduler, prediction)
            with torch.no_grad():
                return self.previewer().preview(unpack_latents(clean, pipeline, self.width, self.height))

        return preview


class _CallsCollectedError(Exception):
    """The calls that were wanted are there."""


def _resume(pipeline: Any, resumed: Resumed) -> None:
    """Let an image-to-image or inpainting pipeline go on with noisy latents in the middle of its scheduler's steps."""
    scheduler, split = pipeline.scheduler, resumed.split
    generator, drawing = resumed.draw_again()
    prepare = pipeline.prepare_latents

    def remaining_steps(*_: object, **__: object) -> tuple[Tensor, int]:
        begin = split.before * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        return scheduler.timesteps[begin:], split.steps - split.before

    def drawn_again(method: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A pipeline's method with the other generator, at its place among the arguments."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with drawing:
                return method(*args[:place], generator, *args[place + 1 :], **kwargs)

        return call

    pipeline.get_timesteps = remaining_steps
    if not hasattr(pipeline, "prepare_mask_latents"):
        pipeline.prepare_latents = lambda *_, **__: resumed.latents
        return
    prepare_again = drawn_again(prepare, _GENERATOR_OF_LATENTS)
    pipeline.prepare_latents = lambda *args, **kwargs: (resumed.latents, *prepare_again(*args, **kwargs)[1:])
    pipeline.prepare_mask_latents = drawn_again(pipeline.prepare_mask_latents, _GENERATOR_OF_MASKS)


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A value with a function applied to each tensor in it, in lists, tuples and mappings at any depth."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(each, change) for each in value)
    if isinstance(value, dict):
        return {name: map_tensors(each, change) for name, each in value.items()}
    return value


def _to_image(result: Any) -> Image.Image:
    """A pipeline's float array as a picture.

    Raises:
        NonFiniteError: It is not finite.
    """
    pixels = np.asarray(result[0])
    if not np.isfinite(pixels).all():
        raise NonFiniteError
    opaque = pixels[..., :3]  # Qwen-Image 2.1 adds transparency
    return Image.fromarray((opaque * 255).round().clip(0, 255).astype(np.uint8))


def _parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipeline.__call__).parameters
