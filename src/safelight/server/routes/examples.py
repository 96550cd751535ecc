"""Examples for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi.openapi.models import Example

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOYoKAAAAIUANFdfjhEAAAAAElFTkSuQmCC"
"""A picture of one pixel, PNG."""


def _example(summary: str, **value: object) -> Example:
    return {"summary": summary, "value": value}


SUBMISSIONS: Mapping[str, Example] = MappingProxyType(
    {
        "words": _example("A picture from words", kind="generate", prompt="a red apple, 3d style", seed=7),
        "picture": _example(
            "A picture from a picture", kind="generate", prompt="a hat", init_image=PIXEL, strength=0.6
        ),
        "upscale": _example("A larger picture", kind="upscale", image=PIXEL, by=2),
        "scan": _example("Verdicts on pictures", kind="scan", images=[PIXEL]),
    }
)
MODERATION: Mapping[str, Example] = MappingProxyType(
    {"one": _example("One picture", image=PIXEL), "several": _example("Several", images=[PIXEL, PIXEL])}
)

# No value may be null: FastAPI leaves nulls out of the document, examples included.
JOB_ID, ENTRY_ID = "1a20b790c0cecfa509e76982438", "1m85rdfvkyaqpnchqbppr8"
SHA256 = "49c58b9cbacb633026838df8d7ae3fe9a1bef56daa019575bc6b590039ca4a99"
MADE = "2026-11-24T12:00:00Z"
INFOTEXT = "a red apple\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 4, Seed: 7, Size: 128x128, Model: starter"

JOB = {
    "id": JOB_ID,
    "owner": "local",
    "kind": "generate",
    "state": "running",
    "request": {"prompt": "a red apple", "seed": 7},
    "priority": 0,
    "request_id": "5623c3839e184e69a4bf4614d817c87e",
    "eta": 2.5,
    "progress": {
        "stage": "first pass",
        "step": 5,
        "steps": 20,
        "picture": 0,
        "pictures": 1,
        "fraction": 0.25,
    },
    "created": MADE,
    "started": MADE,
    "attempt": 1,
    "worker": "studio:cpu",
}
JOBS = {"jobs": [JOB], "next": JOB_ID}
RESULT = {
    "pictures": [
        {
            "id": ENTRY_ID,
            "index": 0,
            "seed": 7,
            "width": 128,
            "height": 128,
            "decision": "allow",
            "unsafe": 0.002,
            "scores": {"sfw": 0.998, "nsfw": 0.002},
            "sampler": "DPM++ 2M",
            "steps": 20,
            "checkpoint": "starter",
            "infotext": INFOTEXT,
            "sha256": SHA256,
            "url": f"/v1/gallery/{ENTRY_ID}/file",
        }
    ],
    "verdicts": [],
}
VERDICTS = {
    "verdicts": [
        {
            "index": 0,
            "decision": "allow",
            "scores": {"sfw": 0.9998, "nsfw": 0.0002},
            "unsafe": 0.0002,
            "embedding_dim": 1024,
            "classifier": {"name": "open-nsfw", "digest": SHA256, "arithmetic": "fast, openvino bf16"},
            "policy": {"name": "standard", "version": "1", "digest": SHA256},
            "frame": 0,
        }
    ]
}
MODEL = {
    "id": "starter",
    "object": "model",
    "created": 0,
    "owned_by": "safelight",
    "kind": "checkpoint",
    "default": True,
    "family": "sd1",
    "modes": ["text-to-image", "image-to-image", "inpainting"],
    "size": 60345846,
    "precision": "fp16",
    "digest": SHA256,
    "loaded_by": ["studio:cpu"],
}
MODELS = {"object": "list", "data": [MODEL]}
SAMPLER_LIST = {
    "samplers": [
        {
            "name": "DDIM",
            "aliases": [],
            "kinds": ["diffusion"],
            "schedules": ["automatic", "karras"],
            "predictions": ["epsilon", "v_prediction"],
            "eta": 0.0,
            "stochastic": False,
            "calls_per_step": 1,
            "max_steps": 1000,
            "note": "",
        }
    ]
}
SCHEDULES = {"schedules": [{"name": "karras", "kinds": ["diffusion", "edm", "flow"]}]}
STYLES = {"styles": [{"name": "ink", "prompt": "{prompt}, ink drawing", "negative_prompt": "colour"}]}
_SHOWN = {
    "id": ENTRY_ID,
    "job_id": JOB_ID,
    "index": 0,
    "owner": "local",
    "created": MADE,
    "width": 128,
    "height": 128,
    "decision": "allow",
    "unsafe": 0.002,
    "scores": {"sfw": 0.998, "nsfw": 0.002},
    "policy": "standard",
    "prompt": "a red apple",
    "negative_prompt": "",
    "mode": "text-to-image",
    "seed": 7,
    "steps": 20,
    "sampler": "DPM++ 2M",
    "checkpoint": "starter",
    "checkpoint_digest": SHA256,
    "family": "sd1",
    "infotext": INFOTEXT,
    "kind": "png",
    "size": 13999,
    "sha256": SHA256,
    "missing": False,
    "favourite": False,
    "tags": ["fruit"],
}
ENTRIES = {"entries": [_SHOWN], "next": "41"}
ENTRY = _SHOWN | {"record": {"format": 1, "prompt": "a red apple", "seed": 7}}
FACETS = {
    "checkpoints": {"starter": 1},
    "samplers": {"DPM++ 2M": 1},
    "decisions": {"allow": 1},
    "days": {"2026-11-24": 1},
}
SYSTEM = {
    "version": "0.1.0",
    "versions": {"torch": "2.14.1", "diffusers": "0.42.1"},
    "classifier": "open-nsfw",
    "policy": "standard",
    "workers": [
        {"name": "studio:cpu", "device": "cpu", "state": "idle", "checkpoints": ["starter"], "memory": 1.2e9}
    ],
    "jobs": {"queued": 0, "running": 1, "succeeded": 7, "failed": 0, "cancelled": 0},
    "limits": {
        "max_pixels": 64000000,
        "max_bytes": 268435456,
        "max_frames": 16,
        "queue_capacity": 10000,
        "job_retention": 604800.0,
    },
}
