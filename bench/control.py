"""What a control costs per step, beside diffusers' own pipeline: `python bench/control.py [starter|sd1] [--rounds 5]`.

The checkpoint is the starter, or one of Stable Diffusion 1.5's size with random weights; the ControlNet is made from
its U-Net. Both compute eagerly in one process, in turn, with the same sampler. A step's time is the difference between
a picture of few steps and one of more, so that text, decoding and the first call are not in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, UNet2DConditionModel
from PIL import Image

from random_checkpoint import write_random
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import build_scheduler, prediction_process_of, resolve_sampler
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.settings import Settings

SAMPLER, GUIDANCE = "DDIM", 4.0


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=2, default=(2, 12), metavar=("FEW", "MANY"))
    parser.add_argument("--side", type=int, help="pixels; 128 for the starter, else 256")
    options = parser.parse_args()
    side = options.side or (128 if options.what == "starter" else 256)
    few, many = options.steps
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        checkpoint = STARTER_PATH if options.what == "starter" else write_random(home / "sd1")
        control = write_control(checkpoint, home / "controlnet" / "canny")
        shown = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
        engine = Engine(Settings(home=home, device="cpu", generation_backend="eager"))

        def ours(steps: int, *, controlled: bool = True) -> Image.Image:
            controls = [{"model": control.name, "image": shown}] if controlled else []
            request = GenerationRequest.parse(
                prompt="a red apple", checkpoint=str(checkpoint), seed=1, steps=steps, sampler=SAMPLER,
                guidance_scale=GUIDANCE, width=side, height=side, control=controls,
            )  # fmt: skip
            return next(iter(engine.generate(request, unbatched=True))).image

        plain = StableDiffusionControlNetPipeline.from_pretrained(
            checkpoint,
            controlnet=ControlNetModel.from_pretrained(control),
            safety_checker=None,
            dtype=torch.float32,
        )
        plain.set_progress_bar_config(disable=True)
        config = dict(plain.scheduler.config) | {"_class_name": type(plain.scheduler).__name__}
        choice = resolve_sampler(SAMPLER, None, prediction_process_of(config))

        def theirs(steps: int) -> Image.Image:
            plain.scheduler = build_scheduler(choice, config, [1])
            generator = torch.Generator().manual_seed(1)
            result = plain(
                "a red apple", image=shown, num_inference_steps=steps, guidance_scale=GUIDANCE,
                width=side, height=side, generator=generator, output_type="np",
            )  # fmt: skip
            return Image.fromarray((result.images[0] * 255).round().astype(np.uint8))

        same = np.array_equal(np.asarray(ours(few)), np.asarray(theirs(few)))
        print(f"{options.what}, {side} pixels; the same pictures bit for bit: {same}", flush=True)
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
