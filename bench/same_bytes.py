"""Whether two versions of Safelight generate the same bytes: the digests of a matrix of requests, and their comparison.

Run it once with each version and compare what they wrote:

    python bench/same_bytes.py run before.json
    python bench/same_bytes.py run after.json
    python bench/same_bytes.py compare before.json after.json

A run that was interrupted continues where it was. It uses the public Python API only (``safelight.Studio``), the
starter model, and tiny checkpoints of every family with random weights. Everything runs on the CPU in fp32, where a
seed gives the same bits on one machine with one version of torch and one number of threads (OMP_NUM_THREADS=1 is
quickest for networks this small). The files hold the record and the infotext, so that those are compared as well.
Kolors' tiny tokenizer is trained anew, and differently, by each process: of Kolors only the pixels can be compared.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from spandrel.architectures.Compact import Compact  # noqa: E402
from tests.tiny import TINY, build_tiny  # noqa: E402
from tests.tiny.generation import INIT_IMAGE, MASK  # noqa: E402

from safelight import GenerationRequest, Settings, Studio  # noqa: E402
from safelight.models.families import FAMILIES  # noqa: E402

SIDE = 64
SIZE = {"width": SIDE, "height": SIDE}
MODES: dict[str, dict[str, Any]] = {
    "text-to-image": {},
    "image-to-image": {"init_image": INIT_IMAGE, "strength": 0.7},
    "inpainting": {"init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"blur": 2}},
}
SAMPLERS = (
    "Euler",
    "Euler a",
    "DPM++ 2M Karras",
    "DPM++ SDE",
    "Heun",
    "DDIM",
    "LCM",
    "UniPC",
    "DPM++ 3M SDE",
)
VARIANTS: dict[str, dict[str, Any]] = {
    "negative prompt": {"negative_prompt": "blue"},
    "weights and schedule": {"prompt": "a (red:1.3) [cat:dog:0.5] BREAK [a|b]"},
    "wildcards": {"prompt": "a __colours__ {cat|dog|bird}", "count": 3},
    "styles": {"styles": ["sketch"]},
    "count": {"count": 3, "sampler": "Euler a"},
    "variation": {"count": 2, "variation": {"seed": 90, "strength": 0.3}},
    "variation about one seed": {"count": 2, "variation": {"seed": 9, "strength": 0.3, "same_seed": True}},
    "hires latent": {"count": 2, "hires": {"scale": 1.5, "strength": 0.7}},
    "hires lanczos": {"count": 2, "hires": {"scale": 1.5, "upscaler": "lanczos", "sampler": "DDPM"}},
    "hires network": {"count": 2, "hires": {"scale": 1.5, "upscaler": "x2", "steps": 4}},
    "hires all steps": {"hires": {"scale": 1.5, "strength": 0.4, "steps": 5, "all_steps": True}},
    "image": {"count": 2, **MODES["image-to-image"]},
    "image of another size": {"init_image": INIT_IMAGE.resize((90, 70)), "strength": 0.6},
    "mask": {"count": 2, **MODES["inpainting"]},
    "mask filled with noise": {**MODES["inpainting"], "inpaint": {"fill": "noise", "invert": True}},
    "masked part only": {**MODES["inpainting"], **SIZE, "inpaint": {"only_masked": True, "padding": 8}},
    "outpainting": {"count": 2, "init_image": INIT_IMAGE, "outpaint": {"right": 30, "top": 8}},
    "pag": {"pag_scale": 3.0},
    "adaptive pag": {"pag_scale": 3.0, "pag_adaptive": 0.5},
    "guidance window": {"guidance_rescale": 0.5, "guidance_start": 0.2, "guidance_end": 0.8},
    "pag and schedule": {
        "prompt": "a [cat:dog:0.5]",
        "negative_prompt": "[blue:red:0.3]",
        "pag_scale": 3.0,
        "steps": 6,
        "sampler": "Euler a",
    },
    "pag and hires": {"count": 2, "pag_scale": 2.0, "hires": {"scale": 1.5, "strength": 0.7}},
    "pag and Heun": {"pag_scale": 2.0, "pag_adaptive": 0.002, "sampler": "Heun"},
    "pag and eta": {"pag_scale": 2.0, "sampler": "DDIM", "eta": 0.5, "clip_skip": 2},
    "window alone": {"guidance_start": 0.3, "guidance_end": 0.7, "steps": 6},
    "window and schedule": {
        "prompt": "a [cat:dog:0.4]",
        "guidance_end": 0.5,
        "guidance_rescale": 0.3,
        "steps": 5,
        "sampler": "Heun",
    },
    "window and hires": {"guidance_start": 0.4, "hires": {"scale": 1.5, "strength": 0.7}},
    "rescale alone": {"guidance_rescale": 0.7},
    "schedule and hires": {"prompt": "a [cat:dog:0.5] [a|b]", "hires": {"scale": 1.5, "strength": 0.7}},
    "refused pag and window": {"pag_scale": 2.0, "guidance_start": 0.5},
    "refused CFG-Zero*": {"guidance_method": "cfg-zero"},
    "clip skip": {"clip_skip": 2},
    "eta": {"sampler": "DDIM", "eta": 0.5},
    "ignored words": {"prompt": "a cat <lora:nobody:0.8>", "ignore_unsupported": True},
}
FLOW_VARIANTS: dict[str, dict[str, Any]] = {
    "CFG-Zero*": {"guidance_method": "cfg-zero"},
    "CFG-Zero*, rescale": {"guidance_method": "cfg-zero", "guidance_rescale": 0.6},
    "CFG-Zero*, rescale, window": {
        "guidance_method": "cfg-zero",
        "guidance_rescale": 0.6,
        "guidance_end": 0.6,
        "steps": 5,
    },
    "CFG-Zero*, late window": {"guidance_method": "cfg-zero", "guidance_start": 0.4},
    "window and rescale": {"guidance_rescale": 0.6, "guidance_start": 0.3},
    "adaptive pag": {"pag_scale": 3.0, "pag_adaptive": 0.002},
}


def requests(home: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each request of the matrix, with its name; checkpoints have names, since a record holds what they are called."""
    for name in TINY:
        checkpoint = {"checkpoint": build_tiny(name, home / "checkpoints" / name).name}
        family = FAMILIES[name.removesuffix("-base")]
        needs_picture = family.references is not None and family.references.required
        shown = {"references": [{"image": INIT_IMAGE}]} if needs_picture else {}
        for mode in family.modes:
            usual = checkpoint | MODES[mode] | shown | {"negative_prompt": "blue"}
            yield f"{name}, {mode}", usual
            yield f"{name}, {mode}, pag", usual | {"pag_scale": 2.0}
            yield f"{name}, {mode}, pag without guidance", usual | {"pag_scale": 2.0, "guidance_scale": 1.0}
            yield f"{name}, {mode}, window", usual | {"guidance_start": 0.2, "guidance_end": 0.8}
            yield f"{name}, {mode}, rescale", usual | {"guidance_rescale": 0.5}
    for name in ("sd1", "sdxl", "sd3"):
        checkpoint = {"checkpoint": name}
        for sampler in SAMPLERS:
            yield f"{name}, {sampler}", checkpoint | {"sampler": sampler}
    for name in ("sd3", "sana", "auraflow"):
        for what, fields in FLOW_VARIANTS.items():
            yield f"{name}, {what}", {"checkpoint": name} | fields
    for what in ("adaptive pag", "pag and schedule", "window and schedule", "pag and hires"):
        yield f"sdxl, {what}", {"checkpoint": "sdxl"} | VARIANTS[what]
    for what, fields in VARIANTS.items():
        yield f"sd1, {what}", {"checkpoint": "sd1"} | fields
    yield "sdxl, hires network", {"checkpoint": "sdxl"} | VARIANTS["hires network"]
    yield "starter", {"prompt": "a red apple, 3d style", "steps": 8, "count": 2}
    yield "starter, image", {"prompt": "a blue ball", "steps": 6, **MODES["image-to-image"]}


def prepare(home: Path) -> None:
    """Put wildcards, a style and an upscaler into the data directory."""
    for folder in ("wildcards", "styles", "upscalers"):
        (home / folder).mkdir(parents=True)
    (home / "wildcards" / "colours.txt").write_text("red\ngreen\nblue\nblack\n")
    (home / "styles" / "own.csv").write_text(
        'name,prompt,negative_prompt\nsketch,"pencil sketch of {prompt}",photo\n'
    )
    torch.manual_seed(0)
    network = Compact(num_feat=4, num_conv=1, upscale=2).state_dict()
    save_file(network, home / "upscalers" / "x2.safetensors")


def digests(studio: Studio, fields: dict[str, Any]) -> dict[str, Any]:
    """What a request gives: of each picture the SHA-256 of its pixels and of its files, or the error."""
    usual: dict[str, Any] = {"prompt": "a red cat", "seed": 7, "steps": 3}
    if "init_image" not in fields and "checkpoint" in fields:
        usual |= SIZE
    try:
        pictures = list(studio.iter_generate(GenerationRequest.parse(**usual | fields)))
    except Exception as error:  # noqa: BLE001  an error has to be the same in both versions, too
        return {"error": f"{type(error).__name__}: {error}"}
    found = []
    for picture in pictures:
        one: dict[str, Any] = {"seed": picture.seed, "decision": picture.verdict.decision.value}
        if picture.image is not None:
            one["pixels"] = hashlib.sha256(np.asarray(picture.image).tobytes()).hexdigest()
            for kind in ("png", "jpeg", "webp"):
                one[kind] = hashlib.sha256(picture.encode(kind)).hexdigest()
        found.append(one)
    return {"pictures": found}


def run(out: Path) -> None:
    """Generate what the file does not have yet of the matrix, and write the digests."""
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(home := Path(folder) / "home")
        settings = Settings(home=home, device="cpu", backend="onnxruntime", precision="fp32")
        studio = Studio(settings)
        for name, fields in requests(home):
            if name not in found:
                found[name] = digests(studio, fields)
                out.write_text(json.dumps(found, indent=1))
    print(f"{len(found)} requests, {sum(len(each.get('pictures', ())) for each in found.values())} pictures")


def compare(before: Path, after: Path) -> int:
    """Print each request whose digests differ; returns how many do."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    differing = [name for name in old | new if old.get(name) != new.get(name)]
    for name in differing:
        print(f"{name}\n  before: {old.get(name)}\n  after:  {new.get(name)}")
    print(f"{len(differing)} of {len(old | new)} requests differ")
    return len(differing)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and len(sys.argv) == 3:
        run(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) == 4:
        sys.exit(1 if compare(*map(Path, sys.argv[2:])) else 0)
    else:
        sys.exit(__doc__)
