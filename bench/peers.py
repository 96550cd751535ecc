"""Whole pictures beside other programs, drawing in turn: `python bench/peers.py starter|sd1 [--side N] [--steps N]`.

    python bench/peers.py sd1 --side 256 --steps 20 --rounds 5 --genai GENAI/bin/python --only exact genai-f32

Contestants are Safelight at each level of quality, plain diffusers, and OpenVINO GenAI's Text2ImagePipeline, all
with the same weights, sampler (Euler), steps and guidance. Each is a process that stays, and one draws at a time; a
picture's seconds are from the prompt to the PNG, text encoder and autoencoder included. Compiling comes before the
first round. OpenVINO GenAI needs an environment of its own with openvino-genai, transformers and pillow, since
Safelight does not depend on it; --genai names its Python. ``sd1`` are random weights of Stable Diffusion 1.5's size.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPT = "a red apple"
GUIDANCE = 4.0
CONTESTANTS = ("diffusers", "diffusers-bf16", "exact", "balanced", "fast", "genai-f32", "genai-bf16")
REFERENCE = "diffusers"
"""The others' ratios are to this one."""
ENVIRONMENT = dict(os.environ)
"""The contestants', as it is before Safelight is imported here: it sets how OpenMP's threads wait."""


def main() -> None:
    """Read the arguments, and measure or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("starter", "sd1", "child"))
    parser.add_argument("--side", type=int, default=0, help="of the pictures; by default the checkpoint's")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--genai", default="", help="the Python of an environment with openvino-genai")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "child":
        serve(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(given, Path(folder))


def measure(given: argparse.Namespace, folder: Path) -> None:
    """Let the contestants draw in turn, and print the table."""
    from random_checkpoint import write_random
    from safelight.models.checkpoints.discovery import STARTER_PATH

    names = [name for name in given.only if given.genai or not name.startswith("genai")]
    checkpoint = STARTER_PATH if given.what == "starter" else folder / "checkpoint"
    given.side = given.side or (128 if given.what == "starter" else 512)
    if given.what != "starter":
        in_a_process(write_random, checkpoint)
    if any(name.startswith("genai") for name in names):
        in_a_process(export_for_genai, checkpoint, folder / "genai", given.genai)
    processes = {name: start(name, given, checkpoint, folder) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    about: dict[str, str] = {}
    for number in range(given.rounds):
        for name in names if number % 2 else names[::-1]:
            answer = ask(processes[name], number)
            seconds[name].append(answer["seconds"])
            about[name] = answer["about"]
            print(f"round {number + 1}: {name} {answer['seconds']:.2f} s", file=sys.stderr, flush=True)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    print(f"{given.what}, {given.side} x {given.side}, {given.steps} steps, {given.rounds} rounds")
    print(
        "| | median s | least to most | times as fast (median of rounds) | what ran |\n|---|---|---|---|---|"
    )
    for name in names:
        values = seconds[name]
        base = seconds.get(REFERENCE)
        ratio = statistics.median(a / b for a, b in zip(base, values, strict=True)) if base else 0
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"| {name} | {statistics.median(values):.2f} | {spread} | {ratio:.2f} | {about[name]} |")


def in_a_process(function: Callable[..., object], *args: object) -> None:
    """Call a function in a process of its own, whose memory is free afterwards."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def start(name: str, given: argparse.Namespace, checkpoint: Path, folder: Path) -> subprocess.Popen[str]:
    """A contestant's process, ready to draw: loaded, compiled and warm."""
    genai = name.startswith("genai")
    command = [given.genai if genai else sys.executable, __file__, "child", "--contestant", name]
    command += ["--side", str(given.side), "--steps", str(given.steps)]
    command += ["--folder", str(folder / "genai" if genai else checkpoint), "--home", str(folder / "home")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    print(f"{name}: ready after {ask(process, 1000)['seconds']:.0f} s", file=sys.stderr, flush=True)
    ask(process, 1001)
    return process


def ask(process: subprocess.Popen[str], seed: int) -> Any:
    """Let a contestant draw one picture."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(seed, file=process.stdin, flush=True)
    for line in process.stdout:  # other lines are the libraries'
        if line.startswith('{"seconds"'):
            return json.loads(line)
    raise SystemExit(f"a contestant ended with {process.wait()}")


def serve(given: argparse.Namespace) -> None:
    """In a contestant's process: draw a picture for each seed that is read."""
    started = time.perf_counter()
    draw: Callable[[int], tuple[bytes, str]] | None = None
    for line in sys.stdin:
        if draw is None:
            draw = contestant(given)
        else:
            started = time.perf_counter()
        data, about = draw(int(line))
        assert data.startswith(b"\x89PNG")
        print(json.dumps({"seconds": time.perf_counter() - started, "about": about}), flush=True)


def contestant(given: argparse.Namespace) -> Callable[[int], tuple[bytes, str]]:
    """What draws a picture with a seed, and says what ran."""
    if given.contestant.startswith("genai"):
        return genai_contestant(given)
    if given.contestant.startswith("diffusers"):
        return diffusers_contestant(given)
    return safelight_contestant(given)


def safelight_contestant(given: argparse.Namespace) -> Callable[[int], tuple[bytes, str]]:
    """Safelight's engine at a level of quality, with the settings as they are when installed."""
    from safelight.generation.engine import Engine
    from safelight.generation.request import GenerationRequest
    from safelight.images.encoding import encode_image
    from safelight.settings import Settings

    engine = Engine(Settings(home=given.home, device="cpu"))

    def request(seed: int) -> GenerationRequest:
        fields = {"checkpoint": str(given.folder), "quality": given.contestant, "sampler": "euler"}
        fields |= {"width": given.side, "height": given.side, "steps": given.steps}
        return GenerationRequest.parse(prompt=PROMPT, seed=seed, guidance_scale=GUIDANCE, **fields)

    def draw(seed: int) -> tuple[bytes, str]:
        (picture,) = engine.generate(request(seed))
        machine = picture.record.machine
        return encode_image(
            picture.image, "png"
        ), f"{machine.backend} {machine.precision} {machine.other_backends or ''}"

    for seed in range(
        3
    ):  # measure the machine, compile what a picture wanted, and what the next one wants then
        draw(seed)
        engine.forms.wait(3600)
    return draw


def diffusers_contestant(given: argparse.Namespace) -> Callable[[int], tuple[bytes, str]]:
    """Diffusers' pipeline as its documentation shows it."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    dtype = torch.bfloat16 if given.contestant.endswith("bf16") else torch.float32
    pipeline: Any = StableDiffusionPipeline.from_pretrained(given.folder, dtype=dtype, local_files_only=True)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def draw(seed: int) -> tuple[bytes, str]:
        result = pipeline(
            PROMPT,
            width=given.side,
            height=given.side,
            num_inference_steps=given.steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
        )
        return png(result.images[0]), f"torch {torch.__version__.partition('+')[0]}"

    return draw


def genai_contestant(given: argparse.Namespace) -> Callable[[int], tuple[bytes, str]]:
    """OpenVINO GenAI's pipeline, in the environment that has it, reshaped to the picture's size."""
    import openvino
    import openvino_genai
    from PIL import Image

    pipeline = openvino_genai.Text2ImagePipeline(str(given.folder))
    scheduler = openvino_genai.Scheduler.from_config(
        str(given.folder / "scheduler" / "scheduler_config.json"),
        openvino_genai.Scheduler.Type.EULER_DISCRETE,
    )
    pipeline.set_scheduler(scheduler)
    pipeline.reshape(1, given.side, given.side, GUIDANCE)
    pipeline.compile("CPU", INFERENCE_PRECISION_HINT=given.contestant.removeprefix("genai-"))

    def draw(seed: int) -> tuple[bytes, str]:
        tensor = pipeline.generate(
            PROMPT,
            width=given.side,
            height=given.side,
            num_inference_steps=given.steps,
            guidance_scale=GUIDANCE,
            rng_seed=seed,
        )
        return png(Image.fromarray(tensor.data[0])), f"openvino {openvino.__version__.partition('-')[0]}"

    return draw


def png(image: Any) -> bytes:
    """The bytes of an image's PNG file."""
    with io.BytesIO() as buffer:
        image.save(buffer, "png")
        return buffer.getvalue()


def export_for_genai(checkpoint: Path, folder: Path, python: str) -> None:
    """Write a checkpoint's networks as OpenVINO's, with the names and the inputs that OpenVINO GenAI expects."""
    import openvino
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        checkpoint, dtype=torch.float32, local_files_only=True
    )
    unet, vae, tokenizer, text_encoder = (
        pipeline.unet,
        pipeline.vae,
        pipeline.tokenizer,
        pipeline.text_encoder,
    )

    class Decoder(torch.nn.Module):
        """The decoder alone, with the layer before it."""

        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
            return self.vae.decode(latent_sample, return_dict=False)[0]

    tokens = text_encoder.config.max_position_embeddings
    timestep = torch.ones(1, dtype=torch.int64)
    latents = torch.zeros(2, unet.config.in_channels, 16, 16)
    words = torch.zeros(2, tokens, unet.config.cross_attention_dim)
    exports: dict[str, tuple[torch.nn.Module, dict[str, torch.Tensor]]] = {
        "unet": (
            unet,
            {"sample": latents, "timestep": timestep, "encoder_hidden_states": words},
        ),
        "vae_decoder": (Decoder(), {"latent_sample": latents[:1]}),
        "text_encoder": (text_encoder, {"input_ids": torch.ones(1, tokens, dtype=torch.int64)}),
    }
    for name, (network, example) in exports.items():
        with torch.no_grad():
            model = openvino.convert_model(network.eval(), example_input=example)
        for port, key in zip(model.inputs, example, strict=True):
            shape = [-1] * example[key].dim() if key != "timestep" else [1]
            port.get_node().set_partial_shape(openvino.PartialShape(shape))
            port.get_tensor().set_names({key})
        model.validate_nodes_and_infer_types()
        output = {"unet": "out_sample", "vae_decoder": "sample", "text_encoder": "last_hidden_state"}[name]
        model.outputs[0].get_tensor().set_names({output})
        openvino.save_model(model, folder / name / "openvino_model.xml", compress_to_fp16=False)
        config = vae.config if name == "vae_decoder" else network.config
        text = (
            config.to_json_string()
            if hasattr(config, "to_json_string")
            else json.dumps(dict(config), default=str)
        )
        (folder / name / "config.json").write_text(text)
    EulerDiscreteScheduler.from_config(pipeline.scheduler.config).save_pretrained(folder / "scheduler")
    tokenizer.save_pretrained(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    convert = (
        "import sys, openvino\n"
        "from openvino_tokenizers import convert_tokenizer\n"
        "from transformers import AutoTokenizer\n"
        "found = convert_tokenizer(AutoTokenizer.from_pretrained(sys.argv[1]), with_detokenizer=False)\n"
        "openvino.save_model(found, sys.argv[1] + '/openvino_tokenizer.xml')\n"
    )
    subprocess.run([python, "-c", convert, str(folder / "tokenizer")], check=True)


if __name__ == "__main__":
    main()
