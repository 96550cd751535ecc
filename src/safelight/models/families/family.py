"""The type that describes a model family; the package ``families`` has one module for each architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from safelight.errors import UnsupportedError
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References

TEXT, IMAGE, INPAINT = "text-to-image", "image-to-image", "inpainting"
"""The modes, by the values of ``generation.request.Mode``."""

GuidanceKind = Literal["cfg-batched", "cfg-separate", "embedded", "none"]
"""How guidance is computed.

cfg-batched: classifier-free guidance, both predictions from one network call with a doubled batch;
cfg-separate: classifier-free guidance from two network calls;
embedded: the scale is an input of a guidance-distilled network, which is called once;
none: the network takes no guidance scale.
"""


def pipeline_classes(
    text: str | None = None, image: str | None = None, inpaint: str | None = None
) -> Mapping[str, str]:
    """Pipeline classes of diffusers by mode; modes that are not given are left out."""
    given = {TEXT: text, IMAGE: image, INPAINT: inpaint}
    return MappingProxyType({mode: name for mode, name in given.items() if name})


def use_as_is(pipeline: Any, width: int, height: int, guidance_scale: float) -> None:
    """Leave a pipeline as it is."""


@dataclass(frozen=True)
class PerturbedAttention:
    """How a family's denoiser computes perturbed-attention guidance.

    Args:
        layers: A regular expression that the names of the perturbed self-attention layers contain.
        guided: diffusers' attention processor for the rows negative prompt, prompt, perturbed prompt.
        unguided: The same without classifier-free guidance: prompt, perturbed prompt.
    """

    layers: str
    guided: str = "PAGCFGIdentitySelfAttnProcessor2_0"
    unguided: str = "PAGIdentitySelfAttnProcessor2_0"


@dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture, or a variant of one.

    Args:
        key: The family's identifier.
        title: The name users know it by.
        variant: Empty for the family itself.
        pipelines: diffusers' pipeline class by mode; a missing mode is not supported.
        references: How reference pictures are looked at; None if they are not.
        pag: How perturbed-attention guidance is computed; None if it is not supported.
        denoiser: The component that is called at each step.
        prediction_process: "diffusion": a DDPM-like noise schedule; "flow": flow matching; "trigflow": a
            consistency model over angles.
        precision: In which precisions its components compute right.
        text_encoding: "clip": one CLIP encoder; "clip-xl": hidden states of one or two, pooled output of the last;
            "plain": the pipeline encodes strings itself.
        text_encoders: The text encoders' component names, in the pipeline's order.
        tokenizers: The component names of their tokenizers or processors; by default as the encoders'.
        guidance: How guidance is computed.
        guidance_parameter: The pipelines' name of the guidance scale; None if ``prepare`` sets it.
        guidance_off_value: The pipelines' value that means no guidance: 1, or 0 where the pipeline's scale is the
            usual one
            less 1.
        unconditional_first: The doubled batch holds the negative prompt's half first (cfg-batched).
        supports_negative: A negative prompt has an effect with the family's own guidance.
        true_cfg: Its pipelines also compute classifier-free guidance beside its own, by ``true_cfg_scale`` and from two
            network calls; a negative prompt has an effect with that.
        clip_skip: The pipelines accept ``clip_skip``.
        steps: Default number of steps.
        min_steps: Smallest number of steps that the pipelines support.
        guidance_scale: Default guidance scale, where 1 means no guidance.
        side: Default width and height in pixels.
        side_from_config: The denoiser's ``sample_size`` determines the default side instead.
        sampler: Default sampler.
        schedule: Default sigma schedule; None is the sampler's own.
        size_multiple: Width and height must be multiples of this, in pixels.
        max_pixels: Most pixels of a picture that the denoiser has positions for; None without a limit.
        latent_space: What families whose latents mean the same have in common; the key when not given.
        latent_layout: "spatial": [batch, channels, height, width]; "packed": [batch, patches, features];
            "channels-last": [batch, 1, height, width, channels].
        pixels_per_latent: Width in pixels of a value of the pipelines' latents; None if it is the autoencoder's.
        pixels_per_patch: Width in pixels of a patch of packed latents; None if it is ``size_multiple``.
        latents_last: In what the denoiser returns, the packed latents come after what else it read, not before.
        starts_from_latents: Image-to-image also takes latents, as a second pass with the upscaler latent needs.
        supports_step_callback: The pipelines accept ``callback_on_step_end``.
        passes_sigmas: The pipelines pass their own ``sigmas`` to the scheduler's ``set_timesteps``.
        passes_mu: Whether they pass ``mu`` to it: never, always, or only with ``use_dynamic_shifting`` in its config.
        template_tokens: Approximate number of tokens that the pipelines' chat template adds to a prompt.
        prompt_tokenizer: The component name of the tokenizer that determines where a prompt is truncated; empty for
            that of the last text encoder.
        max_prompt_tokens: Tokens of a prompt that are read, for pipelines without ``max_sequence_length``.
        pixel_masks: The network takes masks at full resolution instead of one value per latent.
        takes_controls: Control networks of its architecture work with it; False where its denoiser is called in another
            way.
        reads_masks: The denoiser of inpainting reads mask and masked picture; with others the pipelines blend the
            latents with the picture's.
        call_arguments: Arguments of every call, so that sizes and prompts are used as given.
        prepare: Called with each new pipeline, width, height and guidance scale (1 is none), for what a pipeline
            takes in another way than as arguments.
    """

    key: str
    title: str
    pipelines: Mapping[str, str]
    prediction_process: Literal["diffusion", "flow", "trigflow"]
    precision: FamilyPrecision
    denoiser: Literal["unet", "transformer"] = "transformer"
    text_encoding: Literal["clip", "clip-xl", "plain"] = "plain"
    text_encoders: tuple[str, ...] = ("text_encoder",)
    tokenizers: tuple[str, ...] = ()
    guidance: GuidanceKind = "cfg-batched"
    guidance_parameter: Literal["guidance_scale", "true_cfg_scale", "distilled_guidance_scale"] | None = (
        "guidance_scale"
    )
    guidance_off_value: float = 1.0
    unconditional_first: bool = True
    supports_negative: bool = True
    true_cfg: bool = False
    clip_skip: bool = False
    variant: str = ""
    references: References | None = None
    pag: PerturbedAttention | None = None
    steps: int = 28
    min_steps: int = 1
    guidance_scale: float = 5.0
    side: int = 1024
    side_from_config: bool = False
    sampler: str = "Euler FlowMatch"
    schedule: str | None = None
    size_multiple: int = 16
    max_pixels: int | None = None
    latent_space: str = ""
    latent_layout: Literal["spatial", "packed", "channels-last"] = "spatial"
    pixels_per_latent: int | None = None
    pixels_per_patch: int | None = None
    latents_last: bool = False
    starts_from_latents: bool = True
    supports_step_callback: bool = True
    passes_sigmas: bool = True
    passes_mu: Literal["never", "dynamic", "always"] = "always"
    template_tokens: int = 0
    prompt_tokenizer: str = ""
    max_prompt_tokens: int | None = None
    pixel_masks: bool = False
    reads_masks: bool = False
    takes_controls: bool = True
    call_arguments: Mapping[str, bool | int | None] = field(default_factory=lambda: MappingProxyType({}))
    prepare: Callable[[Any, int, int, float], None] = use_as_is

    @property
    def name(self) -> str:
        """Key and variant, for example sd1 or sd1-inpaint."""
        return f"{self.key}-{self.variant}" if self.variant else self.key

    def shares_latents(self, other: Family) -> bool:
        """Whether another family's latents mean the same."""
        return (self.latent_space or self.key) == (other.latent_space or other.key)

    @property
    def separate_calls(self) -> bool:
        """Whether the two predictions of classifier-free guidance come from two network calls, the prompt's first."""
        return self.guidance == "cfg-separate" or self.true_cfg

    @property
    def composes(self) -> bool:
        """Whether AND composes prompts: what each part adds to the negative prompt's prediction is added up."""
        return self.guidance in ("cfg-batched", "cfg-separate")

    @property
    def tokenizer_names(self) -> tuple[str, ...]:
        """The component names of the text encoders' tokenizers, in order."""
        own = tuple(name.replace("text_encoder", "tokenizer") for name in self.text_encoders)
        return self.tokenizers or own

    @property
    def modes(self) -> tuple[str, ...]:
        """The supported modes."""
        return tuple(self.pipelines)

    def pipeline_name(self, mode: str) -> str:
        """The name of the diffusers pipeline class for a mode.

        Args:
            mode: text-to-image, image-to-image or inpainting.

        Raises:
            UnsupportedError: The family has no pipeline for that.
        """
        if mode in self.pipelines:
            return self.pipelines[mode]
        raise UnsupportedError(f"{self.title} has no {mode}.", hint=f"It can do: {', '.join(self.modes)}.")
