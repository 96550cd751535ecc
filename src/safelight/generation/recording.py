"""Conversion of a plan to the reproduction record of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import torch

from safelight.generation.plan import ExpandedPrompts, Plan
from safelight.generation.prompts.unsupported import left_out_notes
from safelight.generation.quality import DEFAULT_QUALITY
from safelight.generation.record import (
    AdapterRef,
    CheckpointRef,
    ControlRef,
    EmbeddingRef,
    Machine,
    ReferenceRef,
    RegionRef,
    ReproductionRecord,
    Versions,
)
from safelight.generation.request import DEFAULT_NOISE_SOURCE, Mode, SamplingOptions
from safelight.generation.solvers.sigmas import AUTOMATIC
from safelight.runtime.backends import EAGER, BackendPlan
from safelight.runtime.compilation.picture_network import PictureNetwork
from safelight.runtime.component import Component


def make_record(
    plan: Plan,
    index: int,
    prompts: ExpandedPrompts,
    checkpoint: CheckpointRef,
    machine: Machine,
    notes: tuple[str, ...],
    *,
    init_image: str | None = None,
    mask: str | None = None,
    upscaler: str | None = None,
    control: tuple[ControlRef, ...] = (),
    references: tuple[ReferenceRef, ...] = (),
    regions: tuple[RegionRef, ...] = (),
    adapters: tuple[AdapterRef, ...] = (),
    embeddings: tuple[EmbeddingRef, ...] = (),
    batched: bool = False,
) -> ReproductionRecord:
    """The record of picture `index` of a request.

    Args:
        plan: What was generated.
        index: Which picture of the batch, from 0.
        prompts: Its expanded prompts.
        checkpoint: Which weights were used.
        machine: What they ran on.
        notes: Notes for the user in addition to the plan's.
        init_image: ``pixels_digest`` of the initial picture, decoded.
        mask: ``pixels_digest`` of the mask, decoded.
        upscaler: Digest of the upscaler's network between two passes.
        control: The controls.
        references: The pictures that the model looked at.
        regions: The regions.
        adapters: Which adapters were used.
        embeddings: Which textual inversions the prompts name.
        batched: Whether part of it was computed in a batch with other pictures.
    """
    request = plan.request
    variation = request.variation
    if variation is not None:
        variation = variation.for_picture(index)
    is_inpainting = request.mode is Mode.INPAINT
    return ReproductionRecord(
        versions=current_versions(),
        machine=machine,
        batched=batched,
        mode=request.mode,
        checkpoint=checkpoint,
        adapters=adapters,
        embeddings=embeddings,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        styles=request.styles,
        expanded_prompt=prompts.prompt,
        expanded_negative_prompt=prompts.negative_prompt,
        composed=len(prompts.parts) > 1,
        left_out=prompts.left_out,
        seed=plan.seed_of(index),
        variation=variation,
        width=plan.width,
        height=plan.height,
        steps=plan.steps,
        sampler=plan.sampler_choice.sampler.name,
        schedule=None if plan.sampler_choice.schedule == AUTOMATIC else plan.sampler_choice.schedule,
        eta=plan.eta,
        guidance_scale=plan.guidance_scale,
        **({name: getattr(request, name) for name in SamplingOptions.model_fields} | _chosen_fields(plan)),
        init_image=init_image,
        mask=mask,
        strength=plan.strength,
        inpaint=request.inpaint if is_inpainting else None,
        outpaint=request.outpaint,
        hires=request.hires,
        upscaler=upscaler,
        control=control,
        references=references,
        regions=regions,
        notes=(*left_out_notes(prompts.left_out), *plan.notes, *notes),
    )


def _chosen_fields(plan: Plan) -> dict[str, object]:
    """Level and noise source, omitted where they are the usual ones, and the step cache with what it took."""
    quality, cache = plan.request.quality, plan.step_cache
    source = plan.request.noise_source
    fields: dict[str, object] = {
        "quality": None if quality == DEFAULT_QUALITY else quality,
        "noise_source": None if source == DEFAULT_NOISE_SOURCE else source,
    }
    if cache is None:
        return fields
    return fields | {
        "step_cache": cache.kind,
        "step_cache_interval": cache.interval,
        "step_cache_threshold": cache.threshold,
    }


def machine_of(networks: Mapping[str, Component], denoiser: Component) -> Machine:
    """What a checkpoint's networks ran on: device, backend and precision of the denoiser, other precisions, threads.

    Args:
        networks: The checkpoint's networks by name, and others.
        denoiser: The denoiser among them.
    """
    ran = {name: _plans_of(component) for name, component in networks.items()}
    main = _main_plan(_plans_of(denoiser))
    precisions = {name: _main_plan(plans).precision for name, plans in ran.items()}
    return Machine(
        device=str(denoiser.device),
        precision=main.precision,
        other_precisions={name: each for name, each in precisions.items() if each != main.precision},
        backend=main.backend,
        other_backends=_other_backends(ran, main.backend),
        other_devices={name: each.key.device for name, each in networks.items() if each.key.device},
        threads=torch.get_num_threads(),
    )


def _plans_of(component: Component) -> Mapping[str, BackendPlan]:
    """What ran a network's calls, by method and shapes; what would have run them if it was not called."""
    network = component.network
    if isinstance(network, PictureNetwork) and network.ran:
        return network.ran
    return {"": BackendPlan(component.key.backend, component.key.dtype, 1)}


def _main_plan(plans: Mapping[str, BackendPlan]) -> BackendPlan:
    """The plan that names a network's backend: a compiled one if there is one."""
    return next((plan for plan in plans.values() if plan.backend != EAGER), next(iter(plans.values())))


def _other_backends(ran: Mapping[str, Mapping[str, BackendPlan]], main: str) -> dict[str, str]:
    """What did not run on the main backend: networks, or some of their calls."""
    found: dict[str, str] = {}
    for name, plans in sorted(ran.items()):
        others = {place: plan.backend for place, plan in sorted(plans.items()) if plan.backend != main}
        if len(others) == len(plans) and len(set(others.values())) == 1:
            found[name] = next(iter(others.values()))
        else:
            found |= {f"{name} {place}": backend for place, backend in others.items()}
    return found


def current_versions() -> Versions:
    """Versions of the installed libraries that generate pictures."""
    return Versions(
        safelight=version("safelight"),
        torch=torch.__version__,
        diffusers=version("diffusers"),
        transformers=version("transformers"),
    )
