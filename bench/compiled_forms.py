"""Compiled forms beside eager networks: `python bench/compiled_forms.py WHAT [CHECKPOINT]`.

``call`` measures one call of the denoiser by each of the ``--backends`` in turn, and the seconds that making its form
took; ``pictures`` alternates between the backends' engines in one process and prints medians and their ratios to
the first one; ``batch`` does so with eight threads, and says when the first picture is finished; ``first`` starts
processes and measures their first picture and the next ones, with an empty cache of forms, with a filled one, and
eagerly; ``memory`` prints the memory of a process of its own after two pictures.

``components`` measures one call of each network by each backend, and its share of what a large matrix product reaches
here. ``upscale`` measures a tile of an upscaler, by default of an RRDB network with 23 blocks and random weights.

--size, --steps and --precision are those of the pictures; --home keeps the forms, so that a second run only measures.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from safelight.generation.compiling import load_network
from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling import UpscalerFile
from safelight.models.checkpoints.parts import NamedParts
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import form_engine
from safelight.runtime.compilation.values import CallModule, NetworkCall
from safelight.settings import Settings


def make_engine(home: Path, backend: str, precision: str) -> Any:
    """An engine with a backend."""
    from safelight.generation.engine import Engine

    return Engine(
        Settings(home=home, device="cpu", generation_backend=backend, generation_precision=precision)
    )


def request_of(options: argparse.Namespace, seed: int) -> GenerationRequest:
    """A request of the checkpoint and size."""
    fields: dict[str, Any] = {"checkpoint": options.checkpoint, "seed": seed, "steps": options.steps}
    if options.size:
        fields |= {"width": options.size, "height": options.size}
    return GenerationRequest.parse(prompt="a red apple", **fields)


def generate(
    engine: Any, options: argparse.Namespace, seed: int, watcher: Watcher | None = None
) -> tuple[float, str]:
    """Seconds of a picture, and the backend that its record names."""
    started = time.perf_counter()
    (picture,) = engine.generate(request_of(options, seed), watcher)
    return time.perf_counter() - started, picture.record.machine.backend


def compare_calls(home: Path, options: argparse.Namespace) -> None:
    """One call of the denoiser: the least seconds of each backend in alternating rounds."""
    runs: dict[str, Callable[[], object]] = {}
    for backend in options.backends:
        if backend != "eager":
            engine = make_engine(home, backend, options.precision)
            wanted = next(
                each
                for each in engine.wanted_forms(request_of(options, 0))
                if each.name in ("unet", "transformer")
            )
            started = time.perf_counter()
            engine.forms.make(wanted)
            print(f"{backend:11s} {time.perf_counter() - started:.0f} s until its form was made", flush=True)
            stored = engine.forms.cache.find(wanted.key)
            started = time.perf_counter()
            form = form_engine(backend).load(stored.folder, wanted.plan)
            print(
                f"{backend:11s} {time.perf_counter() - started:.2f} s to load it, {form.nbytes / 1e6:.0f} MB"
            )
            runs[backend] = partial(form.run, wanted.call.tensors)
            engine.unload()
    settings = Settings(home=home, device="cpu")
    network = load_network(settings, options.checkpoint, NamedParts(), wanted.name, wanted.component)
    module = CallModule(network, wanted.call.method, wanted.call.structure).eval()
    runs = {"eager": partial(module, *wanted.call.tensors)} | runs
    seconds = least_seconds(runs, options.rounds)
    for backend, least in seconds.items():
        print(f"{backend:11s} {1000 * least:8.1f} ms, {seconds['eager'] / least:.2f} times as fast as eager")


def peak_gflops(side: int = 2048) -> float:
    """What a product of two large matrices reaches in fp32, in 10⁹ operations a second."""
    first, second = torch.randn(side, side), torch.randn(side, side)
    best = least_seconds({"product": partial(torch.mm, first, second)}, 5)["product"]
    return 2 * side**3 / best / 1e9


def least_seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least seconds of each run in alternating rounds."""
    seconds = dict.fromkeys(runs, float("inf"))
    with torch.no_grad():
        for _ in range(rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def print_call(
    name: str, module: Callable[..., object], tensors: Any, runs: dict[str, Any], rounds: int
) -> None:
    """Rows of a table: a network's call by each backend."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*tensors)
    gflop, peak = counter.get_total_flops() / 1e9, peak_gflops()
    for backend, least in least_seconds({"eager": partial(module, *tensors)} | runs, rounds).items():
        rate = gflop / least
        print(
            f"| {name} | {gflop:.1f} | {backend} | {1000 * least:.0f} | {rate:.0f} | {rate / peak:.0%} |",
            flush=True,
        )


TABLE = (
    "| network and shapes | GFLOP | backend | ms | GFLOP/s | of a matrix product |\n|---|---|---|---|---|---|"
)


def compare_components(home: Path, options: argparse.Namespace) -> None:
    """One call of each network of a checkpoint."""
    print(TABLE)
    found: dict[str, tuple[Any, dict[str, Callable[[], object]]]] = {}
    for backend in options.backends:
        if backend == "eager":
            continue
        engine = make_engine(home, backend, options.precision)
        for wanted in engine.wanted_forms(request_of(options, 0)):
            engine.forms.make(wanted)
            stored = engine.forms.cache.find(wanted.key)
            form = form_engine(backend).load(stored.folder, wanted.plan)
            name = f"{wanted.name} {wanted.call.place}"
            found.setdefault(name, (wanted, {}))[1][backend] = partial(form.run, wanted.call.tensors)
        engine.unload()
    settings = Settings(home=home, device="cpu")
    for name, (wanted, runs) in found.items():
        network = load_network(settings, options.checkpoint, NamedParts(), wanted.name, wanted.component)
        module = CallModule(network, wanted.call.method, wanted.call.structure).eval()
        print_call(name, module, wanted.call.tensors, runs, options.rounds)


def compare_upscaler(home: Path, options: argparse.Namespace) -> None:
    """One tile of an upscaler, and the PSNR of each form's result against PyTorch's."""
    from spandrel.architectures.ESRGAN import ESRGAN

    path = Path(options.checkpoint)
    if options.checkpoint == "starter":
        torch.manual_seed(0)
        path = home / "rrdb-4x.safetensors"
        save_file(ESRGAN(num_filters=64, num_blocks=23, scale=4).state_dict(), path)
    upscaler = UpscalerFile.at(path).load(home / "cache")
    side = options.size or 128
    tile = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    call = NetworkCall.of(upscaler.module, "forward", (tile,), {})
    module = CallModule(upscaler.module, call.method, call.structure).eval()
    runs: dict[str, Callable[[], object]] = {}
    for backend in options.backends:
        if backend != "eager":
            folder = home / backend
            folder.mkdir(exist_ok=True)
            engine, started = form_engine(backend), time.perf_counter()
            engine.convert(module, call.tensors, folder)
            form = engine.load(folder, BackendPlan(backend, "fp32", torch.get_num_threads()))
            with torch.no_grad():
                error = float((form.run(call.tensors)[0] - module(tile)[0]).square().mean())
            psnr = -10 * math.log10(max(error, 1e-12))
            print(f"{backend}: {time.perf_counter() - started:.0f} s until its form is loaded, {psnr:.0f} dB")
            runs[backend] = partial(form.run, call.tensors)
    print(TABLE)
    print_call(f"{path.stem} {side}x{side}", module, call.tensors, runs, options.rounds)


def warm_engines(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """An engine for each backend, with all forms in memory."""
    engines = {backend: make_engine(home, backend, options.precision) for backend in options.backends}
    for backend, engine in engines.items():
        for wanted in engine.wanted_forms(request_of(options, 0)):
            engine.forms.make(wanted)
        generate(engine, options, 0)
        engine.forms.wait(3600)
        assert generate(engine, options, 0)[1] == backend, engine.forms.problems
    return engines


def compare_pictures(home: Path, options: argparse.Namespace) -> None:
    """One picture at a time."""
    engines = warm_engines(home, options)
    seconds: dict[str, list[float]] = {backend: [] for backend in options.backends}
    for seed in range(options.rounds):
        for backend in options.backends if seed % 2 else reversed(options.backends):
            seconds[backend].append(generate(engines[backend], options, seed)[0])
    print_ratio(seconds, "s a picture")


def compare_batches(home: Path, options: argparse.Namespace, threads: int = 8) -> None:
    """As many pictures as threads at a time."""
    engines = warm_engines(home, options)
    seconds: dict[str, list[float]] = {backend: [] for backend in options.backends}
    firsts: dict[str, list[float]] = {backend: [] for backend in options.backends}
    with ThreadPoolExecutor(threads) as pool:
        for seed in range(options.rounds):
            for backend in options.backends if seed % 2 else reversed(options.backends):
                found = list(pool.map(partial(generate, engines[backend], options), range(threads)))
                ends = [each for each, _ in found]
                seconds[backend].append(max(ends) / threads)
                firsts[backend].append(min(ends))
    print_ratio(seconds, f"s a picture, {threads} threads")
    print_ratio(firsts, "s until the first picture is finished")


def print_ratio(seconds: dict[str, list[float]], unit: str) -> None:
    """Print medians, and the ratios to the first backend."""
    first = next(iter(seconds.values()))
    for backend, values in seconds.items():
        ratios = [a / b for a, b in zip(first, values, strict=True)]
        print(
            f"{backend:11s} {statistics.median(values):.3f} {unit} ({min(values):.3f} to {max(values):.3f}), "
            f"{statistics.median(ratios):.2f} times as fast (median of {len(ratios)} pairs)"
        )


def measure_process(options: argparse.Namespace) -> None:
    """In a child: the first pictures, and the memory of this process's own."""
    started, first_step = psutil.Process().create_time(), 0.0

    def on_progress(_: object) -> None:
        nonlocal first_step
        first_step = first_step or time.time() - started

    engine = make_engine(Path(options.home), options.backend, options.precision)
    engine.preload(options.checkpoint)
    pictures = []
    for seed in range(options.rounds):
        pictures.append(generate(engine, options, seed, Watcher(on_progress)))
        if options.wait:
            engine.forms.wait(3600)
    rollup = Path("/proc/self/smaps_rollup")
    memory = 0
    if rollup.exists():
        sizes = dict(line.split()[:2] for line in rollup.read_text().splitlines()[1:])
        memory = int(sizes["Pss:"]) * 1024
    json.dump({"pictures": pictures, "memory": memory, "first_step": first_step}, sys.stdout)


def run_process(home: Path, backend: str, options: argparse.Namespace, rounds: int, *, wait: bool) -> Any:
    """A child's measurements."""
    command = [
        sys.executable,
        __file__,
        "child",
        options.checkpoint,
        "--home",
        str(home),
        "--backend",
        backend,
    ]
    command += ["--rounds", str(rounds), "--steps", str(options.steps), "--precision", options.precision]
    command += ["--size", str(options.size)] if options.size else []
    command += ["--wait"] if wait else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def compare_first(home: Path, options: argparse.Namespace) -> None:
    """The first pictures of processes: while forms are compiled they must not take more than 30 % longer."""
    compiled = options.backends[-1]
    for name, backend, folder, wait in (
        ("eager", "eager", "eager", False),
        ("no forms on disk", compiled, "forms", False),
        ("the same, waiting", compiled, "forms", True),
        ("forms on disk", compiled, "forms", False),
    ):
        found = run_process(home / folder, backend, options, options.rounds, wait=wait)
        listed = ", ".join(f"{seconds:.2f} ({ran})" for seconds, ran in found["pictures"])
        print(f"{name:18s} first step after {found['first_step']:.2f} s; pictures: {listed}")


def compare_memory(home: Path, options: argparse.Namespace) -> None:
    """Print the memory of processes."""
    for backend in options.backends:
        run_process(home, backend, options, 1, wait=True)
        found = run_process(home, backend, options, 2, wait=True)
        print(f"{backend:11s} {found['memory'] / 1e6:.0f} MB after two pictures")


MEASURES = {
    "call": compare_calls,
    "pictures": compare_pictures,
    "batch": compare_batches,
    "first": compare_first,
    "memory": compare_memory,
    "components": compare_components,
    "upscale": compare_upscaler,
}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=(*MEASURES, "child"))
    parser.add_argument("checkpoint", nargs="?", default="starter")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--home", default="")
    parser.add_argument("--backends", type=lambda text: text.split(","), default=["eager", "openvino"])
    parser.add_argument("--backend", default="openvino", help="of the process that measures its own pictures")
    parser.add_argument("--wait", action="store_true")
    options = parser.parse_args()
    if options.what == "child":
        measure_process(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        MEASURES[options.what](Path(options.home or folder), options)


if __name__ == "__main__":
    main()
