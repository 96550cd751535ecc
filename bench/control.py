"""What a control costs per step, beside diffusers' own pipeline.

``python bench/control.py [starter|sd1] [--kind controlnet|ip-adapter] [--rounds 5]``. The checkpoint is the starter, or
one of Stable Diffusion 1.5's size with random weights; the ControlNet is made from its U-Net, and the IP-Adapter has
the layout of the published one. Both sides compute eagerly in one process, in turn, with the same sampler. A step's
time is the difference between a picture of few steps and one of more, so that text, the encoding of the picture,
decoding and the first call are not in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from random_checkpoint import write_random
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import build_scheduler, prediction_process_of, resolve_sampler
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.settings import Settings

SAMPLER, GUIDANCE = "DDIM", 4.0
TOKENS, EMBEDDING = 4, 1024
"""Of the published IP-Adapter of Stable Diffusion 1.5."""


def write_control(checkpoint: Path, folder: Path) -> Path:
    """Write a ControlNet that is a copy of the checkpoint's encoder; its last layers are random, not zero."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", dtype=torch.float32)
    torch.manual_seed(0)
    network = ControlNetModel.from_unet(unet)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.01)
    network.save_pretrained(folder)
    return folder


def write_adapter(checkpoint: Path, path: Path) -> Path:
    """Write an IP-Adapter for the checkpoint's U-Net, and a small image encoder, which runs once a picture."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", dtype=torch.float32)
    width = unet.config["cross_attention_dim"]
    torch.manual_seed(0)
    tensors = {
        "image_proj.proj.weight": torch.randn(TOKENS * width, EMBEDDING) / EMBEDDING**0.5,
        "image_proj.proj.bias": torch.zeros(TOKENS * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(cross):
        rows = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for part in "kv":
            tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = (
                torch.randn(rows, width) / width**0.5
            )
    path.parent.mkdir(parents=True)
    save_file(tensors, path)
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, projection_dim=EMBEDDING, num_hidden_layers=2,
        num_attention_heads=2, image_size=224, patch_size=32,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(path.parent / "image_encoder")
    return path


def controlnet_pipeline(checkpoint: Path, control: Path) -> tuple[Any, str]:
    """Diffusers' pipeline with a ControlNet, and the name of its picture."""
    network = ControlNetModel.from_pretrained(control)
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        checkpoint, controlnet=network, safety_checker=None, dtype=torch.float32
    )
    return pipeline, "image"


def adapter_pipeline(checkpoint: Path, adapter: Path) -> tuple[Any, str]:
    """Diffusers' pipeline with an IP-Adapter, and the name of its picture."""
    encoder = CLIPVisionModelWithProjection.from_pretrained(adapter.parent / "image_encoder").eval()
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint, safety_checker=None, dtype=torch.float32)
    pipeline.register_modules(image_encoder=encoder, feature_extractor=CLIPImageProcessor())
    pipeline.load_ip_adapter(str(adapter.parent), subfolder="", weight_name=adapter.name)
    pipeline.set_ip_adapter_scale(1.0)
    return pipeline, "ip_adapter_image"


def per_step(picture: Callable[[int], object], few: int, many: int) -> tuple[float, float]:
    """Seconds of a step, and of processor time: of a picture with many steps, less one with few."""
    seconds = []
    for steps in (few, many):
        started = time.perf_counter(), time.process_time()
        picture(steps)
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, processor = ((seconds[1][kind] - seconds[0][kind]) / (many - few) for kind in (0, 1))
    return wall, processor


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="starter", choices=("starter", "sd1"))
    parser.add_argument("--kind", default="controlnet", choices=("controlnet", "ip-adapter"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=2, default=(2, 12), metavar=("FEW", "MANY"))
    parser.add_argument("--side", type=int, help="pixels; 128 for the starter, else 256")
    options = parser.parse_args()
    side = options.side or (128 if options.what == "starter" else 256)
    few, many = options.steps
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        checkpoint = STARTER_PATH if options.what == "starter" else write_random(home / "sd1")
        if options.kind == "controlnet":
            control = write_control(checkpoint, home / "controlnet" / "canny")
            plain, argument = controlnet_pipeline(checkpoint, control)
        else:
            control = write_adapter(checkpoint, home / "ip_adapters" / "ip-adapter.safetensors")
            plain, argument = adapter_pipeline(checkpoint, control)
        shown = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
        engine = Engine(Settings(home=home, device="cpu", generation_backend="eager"))

        def ours(steps: int, *, controlled: bool = True) -> Image.Image:
            controls = [{"model": control.stem, "image": shown}] if controlled else []
            request = GenerationRequest.parse(
                prompt="a red apple", checkpoint=str(checkpoint), seed=1, steps=steps, sampler=SAMPLER,
                guidance_scale=GUIDANCE, width=side, height=side, control=controls,
            )  # fmt: skip
            return next(iter(engine.generate(request, unbatched=True))).image

        plain.set_progress_bar_config(disable=True)
        config = dict(plain.scheduler.config) | {"_class_name": type(plain.scheduler).__name__}
        choice = resolve_sampler(SAMPLER, None, prediction_process_of(config))

        def theirs(steps: int) -> Image.Image:
            plain.scheduler = build_scheduler(choice, config, [1])
            generator = torch.Generator().manual_seed(1)
            result = plain(
                "a red apple", num_inference_steps=steps, guidance_scale=GUIDANCE, width=side, height=side,
                generator=generator, output_type="np", **{argument: shown},
            )  # fmt: skip
            return Image.fromarray((result.images[0] * 255).round().astype(np.uint8))

        same = np.array_equal(np.asarray(ours(few)), np.asarray(theirs(few)))
        print(
            f"{options.what}, {options.kind}, {side} pixels; the same pictures bit for bit: {same}",
            flush=True,
        )
        sides: dict[str, Callable[[int], object]] = {
            "safelight": ours,
            "diffusers": theirs,
            "without control": lambda steps: ours(steps, controlled=False),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for number in range(options.rounds):
            for name in sides if number % 2 else reversed(sides):
                found[name].append(per_step(sides[name], few, many))
        for kind, what in enumerate(("seconds", "seconds of processor time")):
            values = {name: [each[kind] for each in measured] for name, measured in found.items()}
            for name, own in values.items():
                print(
                    f"{name:16} {statistics.median(own):.4f} ({min(own):.4f} to {max(own):.4f}) {what} a step"
                )
            for other in ("diffusers", "without control"):
                pairs = zip(values["safelight"], values[other], strict=True)
                ratio = statistics.median(a / b for a, b in pairs)
                print(f"safelight / {other}: {ratio:.3f} of {what} (median of {options.rounds} pairs)")


if __name__ == "__main__":
    main()
