"""Examples for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi.openapi.models import Example

ONE_PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOYoKAAAAIUANFdfjhEAAAAAElFTkSuQmCC"
"""An image of one pixel, PNG."""


def _example(summary: str, **value: object) -> Example:
    return {"summary": summary, "value": value}


SUBMISSIONS: Mapping[str, Example] = MappingProxyType(
    {
        "words": _example("A picture from a prompt", kind="generate", prompt="a red apple, 3d style", seed=7),
        "picture": _example(
            "A picture from a picture",
            kind="generate",
            prompt="a hat",
            init_image=ONE_PIXEL_PNG,
            strength=0.6,
        ),
        "upscale": _example("A larger picture", kind="upscale", image=ONE_PIXEL_PNG, by=2),
        "edges": _example("Canny edges", kind="preprocess", image=ONE_PIXEL_PNG, preprocessor="canny"),
        "scan": _example("Verdicts on pictures", kind="scan", images=[ONE_PIXEL_PNG]),
    }
)
MODERATION: Mapping[str, Example] = MappingProxyType(
    {
        "one": _example("One picture", image=ONE_PIXEL_PNG),
        "several": _example("Several", images=[ONE_PIXEL_PNG, ONE_PIXEL_PNG]),
    }
)
PREPROCESSING: Mapping[str, Example] = MappingProxyType(
    {
        "edges": _example(
            "Canny edges",
            image=ONE_PIXEL_PNG,
            preprocessor="canny",
            parameters={"low": 100, "high": 200},
            resolution=512,
        ),
        "colours": _example("A grid of colours", image=ONE_PIXEL_PNG, preprocessor="color_grid"),
    }
)
SEGMENTATION: Mapping[str, Example] = MappingProxyType(
    {
        "click": _example("A point on the object", image=ONE_PIXEL_PNG, points=[{"x": 0, "y": 0}]),
        "box": _example(
            "A box around it", image=ONE_PIXEL_PNG, box={"left": 0, "top": 0, "right": 1, "bottom": 1}
        ),
    }
)
PROMPTS: Mapping[str, Example] = MappingProxyType(
    {"weighted": _example("A weight and a wildcard", prompt="a (red:1.2) apple, __animals__", steps=20)}
)
RECALLS: Mapping[str, Example] = MappingProxyType(
    {
        "picture": _example("A picture", image=ONE_PIXEL_PNG),
        "text": _example("An infotext", text="a red apple\nSteps: 20, Sampler: Euler, CFG scale: 4, Seed: 7"),
    }
)

# No value may be null: FastAPI leaves nulls out of the document, examples included.
JOB_ID, ENTRY_ID = "1a20b790c0cecfa509e76982438", "1m85rdfvkyaqpnchqbppr8"
PARENT_ID, COLLECTION_ID = "1m85rdfvkt2v61fkbqvhrs", "5f0c1d2e3b4a5968"
SHA256 = "49c58b9cbacb633026838df8d7ae3fe9a1bef56daa019575bc6b590039ca4a99"
TIMESTAMP = "2026-11-24T12:00:00Z"
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
    "created": TIMESTAMP,
    "started": TIMESTAMP,
    "attempt": 1,
    "worker": "studio:cpu",
}
JOBS = {"jobs": [JOB], "next": JOB_ID}
SETTINGS = {
    "settings": [
        {
            "name": "queue_capacity",
            "group": "limits",
            "description": "How many jobs may wait.",
            "value": 500,
            "configured": 10_000,
            "default": 10_000,
            "source": "runtime",
            "stored": "the database",
            "changeable": True,
            "rules": {"type": "integer", "minimum": 1},
            "choices": None,
        }
    ]
}
PREFERENCES = {
    "language": "de",
    "look": "dark",
    "tile_size": 192,
    "notify_when_done": True,
    "default_checkpoint": "starter",
    "languages": ["en", "de", "fr"],
}
QUEUE = {
    "paused": True,
    "paused_since": TIMESTAMP,
    "paused_by": "anna",
    "queued": 1,
    "running": 0,
    "jobs": [{"id": JOB_ID, "state": "queued", "position": 1, "eta": None}],
}
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
ADAPTER = {
    "id": "TG9SQS9zdHlsZXMvaW5r",
    "name": "ink",
    "place": "styles/ink",
    "alias": "ink_v2",
    "kind": "LoRA",
    "family": "sd1",
    "fits": True,
    "types": ["LoRA"],
    "rank": 8,
    "trigger_words": ["ink drawing"],
    "size": 9_400_000,
    "modified": TIMESTAMP,
    "digest": None,
    "preview": "/v1/adapters/TG9SQS9zdHlsZXMvaW5r/preview?v=0123456789abcdef",
    "preview_set": True,
    "favourite": False,
    "pictures": 12,
}
ADAPTER_DETAILS = ADAPTER | {
    "file": "styles/ink.safetensors",
    "hash": "0123456789ab",
    "key_style": "kohya",
    "components": ["denoiser", "text_encoder"],
    "layers": 192,
    "training_tags": [{"tag": "ink drawing", "count": 40}],
    "metadata": {"ss_network_dim": "8"},
}
ADAPTERS = {"adapters": [ADAPTER]}
STYLES = {"styles": [{"name": "ink", "prompt": "{prompt}, ink drawing", "negative_prompt": "colour"}]}
EXPLAINED_PROMPTS = {
    "prompt": {
        "tokens": 9,
        "chunks": 1,
        "per_chunk": 75,
        "spans": [{"start": 3, "end": 6, "weight": 1.2}],
        "wildcards": ["animals"],
    },
    "negative_prompt": {"tokens": 0, "chunks": 1, "per_chunk": 75, "spans": [], "wildcards": []},
}
WILDCARDS = {"wildcards": [{"name": "animals", "lines": 24}]}
RECALLED = {
    "source": "a1111",
    "fields": {
        "prompt": "a red apple",
        "negative_prompt": "",
        "steps": 20,
        "seed": 7,
        "guidance_scale": 4.0,
        "sampler": "Euler",
    },
    "infotext": "a red apple\nSteps: 20, Sampler: Euler, CFG scale: 4, Seed: 7, ENSD: 31337",
    "unfilled": [{"name": "ENSD", "value": "31337", "reason": "Safelight has no such field."}],
}
_ENTRY_VIEW = {
    "id": ENTRY_ID,
    "job_id": JOB_ID,
    "index": 0,
    "owner": "local",
    "created": TIMESTAMP,
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
    "collections": [COLLECTION_ID],
    "parent_id": PARENT_ID,
    "relation": "again",
}
ENTRIES = {"entries": [_ENTRY_VIEW], "next": "41"}
ENTRY = _ENTRY_VIEW | {"record": {"format": 1, "prompt": "a red apple", "seed": 7}}
FACETS = {
    "checkpoints": {"starter": 1},
    "samplers": {"DPM++ 2M": 1},
    "decisions": {"allow": 1},
    "days": {"2026-11-24": 1},
    "tags": {"fruit": 1},
    "collections": {COLLECTION_ID: 1},
}
MARKED_ENTRIES = {
    "results": [{"id": ENTRY_ID, "favourite": True, "tags": ["fruit"], "collections": [COLLECTION_ID]}]
}
DELETED_ENTRIES = {"results": [{"id": ENTRY_ID}]}
COLLECTION = {
    "id": COLLECTION_ID,
    "owner": "local",
    "name": "apples",
    "created": TIMESTAMP,
    "pictures": 1,
    "cover": ENTRY_ID,
}
COLLECTIONS = {"collections": [COLLECTION]}
SESSION_OF_ANNA = {"owner": "anna", "role": "user", "keys": True, "cookie": True}
POLICIES = {
    "policies": [
        {
            "name": "standard",
            "version": "1",
            "description": "For general audiences.",
            "abstain": 0.0,
            "unsafe": {"nsfw": {"review": 0.5, "block": 0.8}},
            "safe": ["sfw"],
            "default": True,
        }
    ]
}
MEMORY_COMMAND = {"checkpoint": "starter", "workers": ["studio:cpu"]}
HUB = {
    "id": "owner/painter",
    "present": False,
    "network": False,
    "files": [],
    "hint": "To fetch it, on the server's machine: safelight models pull owner/painter.",
}
PULL_OFFER = {
    "origin": "civitai",
    "reference": "civitai:7@21",
    "title": "Ink, v2",
    "name": "ink_v2",
    "kind": "LoRA",
    "licence": "base model SDXL 1.0; credit needed; commercial use: Image; derivatives allowed",
    "gated": False,
    "size": 228452360,
    "trigger_words": "ink wash",
    "files": [{"name": "ink_v2.safetensors", "size": 228452360, "sha256": "0123456789abcdef" * 4}],
}
PULL = {
    "id": "5f0c1d2e3b4a59687766554433221100",
    "reference": "civitai:7@21",
    "file": "ink_v2.safetensors",
    "title": "Ink, v2",
    "state": "running",
    "size": 228452360,
    "done": 90177536,
    "remarks": [],
}
PULLS = {"pulls": [PULL]}
MODEL_FILES: dict[str, Any] = {
    "files": [
        {
            "name": "models/ipadapter/faceid.safetensors",
            "folder": "webui",
            "kind": "IP-Adapter",
            "family": "sdxl",
            "precision": "fp16",
            "size": 228452360,
            "usable": False,
            "reason": "It is a FaceID adapter, which needs InsightFace's networks; their licence forbids commercial "
            "use, so Safelight does not use them.",
        }
    ],
    "total": 1,
}
MODEL_FILE = MODEL_FILES["files"][0]
MODEL_FOLDERS = {
    "folders": [{"path": "/srv/webui", "present": True}],
    "can_change": True,
    "own": "/home/me/.local/share/safelight/checkpoints",
}
MEMORY = {
    "every": 10.0,
    "samples": [
        {"time": TIMESTAMP, "server": 210000000, "workers": {"studio:cpu": 1200000000}, "free": 9000000000}
    ],
}
PLAN = {
    "checkpoint": "starter",
    "family": "starter",
    "width": 128,
    "height": 128,
    "worker": "studio:cpu",
    "device": "cpu",
    "fits": True,
    "precision": "fp32",
    "peak_bytes": 480000000,
    "usable_bytes": 9000000000,
    "host_bytes": 0,
    "steps_taken": [],
    "stages": [
        {
            "name": "denoise",
            "component": "unet",
            "device": "",
            "placement": "device",
            "weight_bytes": 300000000,
            "activation_bytes": 45000000,
            "peak_bytes": 480000000,
            "copied_bytes": 0,
            "steps": [],
        }
    ],
}
LOG = {
    "lines": [
        {
            "time": TIMESTAMP,
            "level": "info",
            "event": "request",
            "source": "safelight.server.middleware.telemetry",
            "fields": {"method": "GET", "path": "/v1/models", "status": 200, "seconds": 0.004},
        }
    ]
}
SYSTEM = {
    "version": "0.1.0",
    "versions": {"torch": "2.14.1", "diffusers": "0.42.1"},
    "machine": {
        "processor": "Intel(R) Xeon(R) Platinum 8481C",
        "cores": 2,
        "memory": 16777216000,
        "features": ["avx2", "avx512f", "amx_bf16"],
    },
    "classifier": "open-nsfw",
    "policy": "standard",
    "workers": [
        {
            "name": "studio:cpu",
            "device": "cpu",
            "precision": "fp32",
            "backend": "eager",
            "why": "Generates on cpu, since no accelerator was found, in fp32, since nothing was measured yet "
            "(only auto measures); PyTorch runs the networks as they are (eager), with 2 threads. Judges with "
            "open-nsfw (fast, openvino bf16), the fastest of what was measured here and keeps to the reference.",
            "state": "idle",
            "checkpoints": ["starter"],
            "memory": 1.2e9,
            "shortages": 0,
            "stages": [
                {"family": "starter", "stage": "denoise", "planned": 410000000, "measured": 420000000},
            ],
            "devices": [
                {
                    "name": "cpu",
                    "title": "Intel(R) Xeon(R) Platinum 8481C",
                    "precisions": ["fp32", "bf16", "fp16"],
                    "details": "2 physical cores, 2 threads, 1 memory node, huge pages madvise, avx2, avx512f",
                    "used_for": ["denoiser", "text_encoders", "vae"],
                    "total": 16777216000,
                    "free": 9000000000,
                }
            ],
            "device_notes": [],
        }
    ],
    "jobs": {"queued": 0, "running": 1, "succeeded": 7, "failed": 0, "cancelled": 0},
    "queue_paused": False,
    "limits": {
        "max_pixels": 64000000,
        "max_bytes": 268435456,
        "max_frames": 16,
        "queue_capacity": 10000,
        "job_retention": 604800.0,
    },
}

PREPROCESSOR_LIST = {
    "preprocessors": [
        {
            "name": "tile",
            "title": "Tile",
            "description": "The picture itself, with as much detail as is asked for.",
            "control_type": "Tile",
            "aliases": ["tile_resample"],
            "available": True,
            "runs_in_worker": False,
            "extra": "",
            "parameters": [
                {
                    "name": "downsampling",
                    "type": "number",
                    "default": 1.0,
                    "minimum": 1,
                    "maximum": 8,
                    "description": "Detail smaller than so many pixels is lost.",
                }
            ],
        }
    ]
}

CONTROL_LIST = {
    "controls": [
        {
            "name": "control_v11p_sd15_canny",
            "title": "a ControlNet",
            "family": "sd1",
            "family_title": "Stable Diffusion 1",
            "kinds": ["canny"],
            "several": False,
        }
    ],
    "kinds": [{"name": "canny", "preprocessors": ["canny"], "families": []}],
}
