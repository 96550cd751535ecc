"""What quantization does: to the starter's pictures, and to one call of large denoisers with random weights.

    python bench/quantization.py starter [TARGET ...]
    python bench/quantization.py sd1|sdxl [TARGET ...]     float32 for sd1, bfloat16 for sdxl; 64 x 64 latents, one call
    python bench/quantization.py layers                    a linear layer: dequantized when called; torch's kernels

The starter's table has the file sizes of all weights, seconds per step, PSNR against the original's 32 pictures of the
judge's captions, and the judge's scores. The errors with random weights tell the formats from each other, and say
nothing about pictures.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import UNet2DConditionModel

from safelight import Settings, Studio
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.single_file import CONFIGS
from safelight.models.quantization.sensitivity import LAYERS
from safelight.runtime.quantization.quantize import Target, quantize_weight
from safelight.runtime.quantization.tensor import stored_nbytes
from safelight.studio.quantization import compare, quantize, target_path

TARGETS: tuple[Target, ...] = get_args(Target)


def measure_starter(targets: tuple[Target, ...]) -> None:
    """Quantize the starter to each format and print the table."""
    print("format  size MB  layers                        s/step  PSNR mean  least  right thing  and style")
    for target in targets:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            checkpoint = find_checkpoint("starter", home)
            written = quantize(checkpoint, target_path(checkpoint, target, home), target)
            engine = Studio(Settings(home=home, device="cpu")).engine
            report = compare(engine, "starter", target, written, target)
            assert report.scores is not None
            assert report.seconds_per_step is not None
            kinds = ", ".join(f"{count} {kind}" for kind, count in written.layers.most_common())
            for name, size, seconds, score in (
                ("fp32", written.original_size, report.seconds_per_step[0], report.scores[0]),
                (target, written.size, report.seconds_per_step[1], report.scores[1]),
            ):
                quality = (statistics.mean(report.psnr), min(report.psnr)) if name == target else (99, 99)
                print(
                    f"{name:7} {size / 1e6:7.1f}  {kinds if name == target else '':28}  {seconds:6.3f}  "
                    f"{quality[0]:9.1f}  {quality[1]:5.1f}  {score.right_thing:11.1%}  "
                    f"{score.right_thing_and_style:9.1%}",
                    flush=True,
                )


def build(name: str, dtype: torch.dtype) -> UNet2DConditionModel:
    """A U-Net of full size with random weights."""
    config = UNet2DConditionModel.load_config(CONFIGS / name / "unet")
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        return UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(torch.float32)


def call(network: UNet2DConditionModel) -> tuple[torch.Tensor, float]:
    """One call, and its seconds."""
    generator = torch.Generator().manual_seed(1)
    config, dtype = network.config, network.dtype

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    arguments: dict[str, Any] = {}
    if config.addition_embed_type == "text_time":
        arguments["added_cond_kwargs"] = {"text_embeds": noise(1, 1280), "time_ids": torch.full((1, 6), 512)}
    latents, text = noise(1, config.in_channels, 64, 64), noise(1, 77, config.cross_attention_dim)
    with torch.inference_mode():
        begun = time.perf_counter()
        result = network(latents, 500, text, return_dict=False, **arguments)[0]
        return result.float(), time.perf_counter() - begun


def measure_random(name: str, targets: tuple[Target, ...]) -> None:
    """One call of a network with random weights in each format."""
    dtype = torch.float32 if name == "sd1" else torch.bfloat16
    network = build(name, dtype)
    expected, seconds = call(network)
    size = sum(weight.nbytes for weight in network.parameters())
    print(f"{name} {dtype}: {size / 1e6:,.0f} MB, a call {seconds:.1f} s", flush=True)
    for target in targets:
        network = build(name, dtype)
        for layer_name, layer in network.named_modules():
            if isinstance(layer, LAYERS) and any(part.isdigit() for part in layer_name.split(".")):
                weight = quantize_weight(layer.weight, target).to(dtype)
                layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        result, seconds = call(network)
        size = sum(stored_nbytes(weight) for weight in network.parameters())
        error = float((result - expected).norm() / expected.norm())
        print(
            f"  {target}: {size / 1e6:,.0f} MB, a call {seconds:.1f} s, relative error {error:.2%}",
            flush=True,
        )
        del network


def measure_layers() -> None:
    """A linear layer of 1280 x 1280 for several numbers of tokens, in milliseconds."""
    torch.manual_seed(0)
    weight = torch.randn(1280, 1280) / 36
    for tokens in (1, 77, 1024, 4096):
        rows = torch.randn(tokens, 1280)
        times = {"fp32": milliseconds(lambda w=weight, x=rows: torch.nn.functional.linear(x, w))}
        half, half_rows = weight.bfloat16(), rows.bfloat16()
        times["bf16"] = milliseconds(lambda w=half, x=half_rows: torch.nn.functional.linear(x, w))
        for target in TARGETS:
            packed = quantize_weight(weight, target)
            times[f"{target} fp32"] = milliseconds(lambda w=packed, x=rows: torch.nn.functional.linear(x, w))
            times[f"{target} bf16"] = milliseconds(
                lambda w=packed, x=half_rows: torch.nn.functional.linear(x, w)
            )
        whole = quantize_weight(weight, "int8", 0)
        codes, scales = whole.packed_codes, whole.packed_scales.flatten().bfloat16()
        times["_weight_int8pack_mm bf16"] = milliseconds(
            lambda c=codes, s=scales, x=half_rows: torch._weight_int8pack_mm(x, c, s)
        )
        four = torch.randint(0, 16, (1280, 1280), dtype=torch.int32)
        packed_four = torch._convert_weight_to_int4pack_for_cpu(four, 1)
        scale_and_zero = torch.rand(1280 // 32, 1280, 2).bfloat16()
        times["_weight_int4pack_mm bf16"] = milliseconds(
            lambda p=packed_four, s=scale_and_zero, x=half_rows: torch._weight_int4pack_mm_for_cpu(
                x, p, 32, s
            )
        )
        print(f"{tokens} tokens: " + ", ".join(f"{name} {ms:.2f}" for name, ms in times.items()), flush=True)


def milliseconds(work: Callable[[], object]) -> float:
    """The least of eleven runs: other programs only add to it."""
    measured = []
    with torch.inference_mode():
        for _ in range(11):
            begun = time.perf_counter()
            work()
            measured.append((time.perf_counter() - begun) * 1000)
    return min(measured)


if __name__ == "__main__":
    what, *chosen = sys.argv[1:] or ["starter"]
    wanted = tuple(each for each in TARGETS if not chosen or each in chosen)
    if what == "starter":
        measure_starter(wanted)
    elif what == "layers":
        measure_layers()
    else:
        measure_random(what, wanted)
