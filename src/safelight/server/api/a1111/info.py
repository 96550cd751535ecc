"""Answers of txt2img and img2img beside the images: ``info``, a JSON text, and the echo of the parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from safelight import __version__
from safelight.generation.infotext import Infotext, parse_infotext
from safelight.jobs.job import Job
from safelight.jobs.result import GeneratedImage
from safelight.server.api.a1111.controlnet import without_pictures
from safelight.server.api.a1111.schemas import GenerationParameters, Img2ImgBody
from safelight.server.api.outcomes import JobOutcome, unsupported_parts

_DEDICATED_KEYS = frozenset(
    {
        "Steps",
        "Sampler",
        "CFG scale",
        "Seed",
        "Size",
        "Model",
        "Model hash",
        "Denoising strength",
        "Clip skip",
    }
    | {"Version", "Variation seed", "Variation seed strength"}
)
"""Infotext keys that have a field of their own in ``info``."""


def info_of(outcome: JobOutcome, batch_size: int, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """Build ``info`` with all fields that typed clients read; lists have one item per image that may be shown.

    Args:
        outcome: The outcome of the job.
        batch_size: As requested.
        ignored: Fields that had no effect. Unsupported parts of prompts are added to them.
    """
    job, pictures = outcome.job, outcome.visible
    texts = [picture.infotext or "" for picture in pictures]
    first = parse_infotext(texts[0])
    count = len(pictures)
    subseeds = [_subseed(job, picture.index) for picture in pictures]
    prompts = [parse_infotext(text) for text in texts]
    return {
        "prompt": str(job.request.get("prompt", "")),
        "all_prompts": [each.prompt for each in prompts],
        "negative_prompt": str(job.request.get("negative_prompt", "")),
        "all_negative_prompts": [each.negative_prompt for each in prompts],
        "seed": pictures[0].seed,
        "all_seeds": [picture.seed for picture in pictures],
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "batch_size": min(batch_size, count),
        **_numeric_fields(first, pictures[0]),
        **_absent_features(),
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "extra_generation_params": {k: v for k, v in first.parameters.items() if k not in _DEDICATED_KEYS},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": job.request.get("styles", []),
        "job_timestamp": f"{job.created:%Y%m%d%H%M%S}",
        "is_using_inpainting_conditioning": False,
        "version": f"Safelight {__version__}",
        "job_id": job.id,
        "picture_ids": [picture.id for picture in pictures],
        "ignored_fields": list(dict.fromkeys([*ignored, *unsupported_parts(outcome)])),
        "notes": list(dict.fromkeys(note for picture in pictures for note in picture.notes)),
        "blocked_seeds": [picture.seed for picture in outcome.blocked],
    }


def _numeric_fields(infotext: Infotext, picture: GeneratedImage) -> dict[str, Any]:
    given = infotext.parameters
    size = [int(side) for side in given.get("Size", f"{picture.width}x{picture.height}").split("x")]
    strength = given.get("Denoising strength")
    return {
        "subseed_strength": float(given.get("Variation seed strength", 0)),
        "width": size[0],
        "height": size[1],
        "sampler_name": given.get("Sampler", ""),
        "cfg_scale": float(given.get("CFG scale", 0)),
        "steps": int(given.get("Steps", 0)),
        "sd_model_name": given.get("Model", ""),
        "sd_model_hash": given.get("Model hash", ""),
        "denoising_strength": None if strength is None else float(strength),
        "clip_skip": int(given.get("Clip skip", 1)),
        "sd_vae_name": given.get("VAE"),
        "sd_vae_hash": given.get("VAE hash"),
    }


def _absent_features() -> dict[str, Any]:
    """Fields of features that Safelight does not have, with the values A1111 writes where they are off."""
    return {"restore_faces": False, "face_restoration_model": None}


def _subseed(job: Job, index: int) -> int:
    variation = job.request.get("variation")
    return int(str(variation["seed"])) + index if isinstance(variation, Mapping) else -1


def echo_parameters(request: GenerationParameters, info: Mapping[str, Any]) -> dict[str, Any]:
    """The request as ``parameters`` returns it, without its images unless the client asks for them.

    Args:
        request: The body.
        info: From ``info_of``; fills in what the body leaves open.
    """
    given = request.model_dump(exclude={"init_images", "mask", "inputs", "inits"})
    body = _replace_surrogates(without_pictures(given))
    if isinstance(request, Img2ImgBody):
        keep = request.include_init_images
        body |= {"init_images": request.init_images if keep else None, "mask": request.mask if keep else None}
    found = {
        "width": info["width"],
        "height": info["height"],
        "steps": info["steps"],
        "cfg_scale": info["cfg_scale"],
        "sampler_name": info["sampler_name"],
        "sd_model_checkpoint": info["sd_model_name"],
    }
    return body | {name: value for name, value in found.items() if body.get(name) is None}


def _replace_surrogates(body: Mapping[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates, which clients may send escaped, by question marks, so that the JSON can be encoded."""
    text = json.dumps(body, ensure_ascii=False)
    sound: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
    return sound


def info_json(info: Mapping[str, Any]) -> str:
    """Encode ``info`` as a JSON text, which is sent inside the JSON answer."""
    return json.dumps(info, ensure_ascii=False)


def infotext_items(infotext: str | None) -> dict[str, str]:
    """Parse an infotext as A1111 does: prompts, parameters, and the size as two numbers; empty for none."""
    if not infotext:
        return {}
    found = parse_infotext(infotext).to_dict()
    size = found.get("Size", "").split("x")
    return found | ({"Size-1": size[0], "Size-2": size[1]} if len(size) == 2 else {})
