"""What a LoRA costs: `python bench/adapters.py [steps] [change] [--rounds 7]`; peft is installed by hand.

A LoRA of rank 16 for all linear layers of the starter's U-Net and text encoder is written with random factors. In each
round, in turn: a step of Safelight with and without it, of diffusers' own pipeline without it, and with it by peft as
``load_lora_weights`` leaves it and by ``fuse_lora``. A step is what a picture with 24 steps takes longer than one with
4, a twentieth of it. Then the cost of changing it: a picture of one step with an adapter that was not used before,
against the same picture again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.settings import Settings

RANK, FEW, MANY = 16, 4, 24
PICTURE = {"prompt": "a red apple", "seed": 1, "width": 128, "height": 128, "guidance_scale": 4.0}


def write_lora(path: Path, networks: dict[str, torch.nn.Module], seed: int) -> None:
    """Write a LoRA for all linear layers of the U-Net and the text encoder."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for component in ("unet", "text_encoder"):
        for name, module in networks[component].named_modules():
            if type(module) is torch.nn.Linear:
                base = f"{component}.{name}"
                tensors[f"{base}.lora_A.weight"] = 0.05 * torch.randn(
                    RANK, module.in_features, generator=generator
                )
                tensors[f"{base}.lora_B.weight"] = 0.05 * torch.randn(
                    module.out_features, RANK, generator=generator
                )
    save_file(tensors, path)


def seconds(function: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def median(values: list[float]) -> str:
    """The median, and the range."""
    return (
        f"{statistics.median(values) * 1000:7.1f} ms ({min(values) * 1000:.1f} to {max(values) * 1000:.1f})"
    )


def measure_steps(engine: Engine, lora: Path, rounds: int) -> None:
    """A step with and without an adapter, beside diffusers' own pipeline."""

    def ours(adapters: list[str]) -> Callable[[int], object]:
        def draw(steps: int) -> object:
            return list(engine.generate(GenerationRequest.parse(**PICTURE, steps=steps, adapters=adapters)))

        return draw

    def pipeline(*, fused: bool | None) -> Callable[[int], object]:
        pipe = DiffusionPipeline.from_pretrained(STARTER_PATH, dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        if fused is not None:
            pipe.load_lora_weights(lora.parent, weight_name=lora.name)
        if fused:
            pipe.fuse_lora()
            pipe.unload_lora_weights()
        arguments = {name: value for name, value in PICTURE.items() if name != "seed"}
        return lambda steps: pipe(
            num_inference_steps=steps, generator=torch.Generator().manual_seed(1), **arguments
        )

    kinds = {
        "safelight without": ours([]),
        "safelight with it": ours([lora.stem]),
        "diffusers without": pipeline(fused=None),
        "diffusers, fused": pipeline(fused=True),
    }
    try:
        kinds["diffusers, peft"] = pipeline(fused=False)
    except ImportError as error:
        print(f"without peft: {error}")
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        order = list(kinds) if number % 2 else list(reversed(kinds))
        for name in order:
            few, many = (seconds(lambda steps=steps, name=name: kinds[name](steps)) for steps in (FEW, MANY))
            if number:
                found[name].append((many - few) / (MANY - FEW))
    for name, values in found.items():
        print(f"a step, {name:18} {median(values)}")
    for other in [name for name in kinds if name != "safelight with it"]:
        pairs = zip(found["safelight with it"], found[other], strict=True)
        print(f"safelight with it / {other}: {statistics.median(a / b for a, b in pairs):.3f}")


def measure_change(engine: Engine, folder: Path, rounds: int) -> None:
    """What a picture takes longer with an adapter that was not used before."""
    networks = empty_networks(engine.checkpoint("starter"))
    first, again, known = [], [], []
    for number in range(rounds + 1):
        path = folder / f"new-{number}.safetensors"
        write_lora(path, networks, 100 + number)
        request = GenerationRequest.parse(**PICTURE, steps=1, adapters=[path.stem])
        pair = [seconds(lambda request=request: list(engine.generate(request))) for _ in range(2)]
        other = GenerationRequest.parse(**PICTURE, steps=1, adapters=["ink"])
        back = seconds(lambda other=other: list(engine.generate(other)))
        if number:
            first.append(pair[0] - pair[1])
            again.append(pair[1])
            known.append(back)
    print(f"a picture of one step, the same adapter again {median(again)}")
    print(f"longer with one that was not used before      {median(first)}")
    print(f"a picture after changing back to a known one  {median(known)}")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["steps", "change"], help="steps, change")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "loras").mkdir()
        engine = Engine(Settings(home=home, device="cpu", generation_backend="eager"))
        lora = home / "loras" / "ink.safetensors"
        write_lora(lora, empty_networks(engine.checkpoint("starter")), 1)
        if "steps" in options.what:
            measure_steps(engine, lora, options.rounds)
        if "change" in options.what:
            measure_change(engine, home / "loras", options.rounds)


if __name__ == "__main__":
    main()
