"""Compiled forms beside eager networks: `python bench/compiled_forms.py pictures|batch|first|memory [CHECKPOINT]`.

``pictures`` alternates between an eager and an OpenVINO engine in one process and prints medians and their ratio;
``batch`` does so with eight threads; ``first`` starts processes and measures their first picture and the next ones,
with an empty cache of forms, with a filled one, and eagerly; ``memory`` prints the memory of a process of its own after
two pictures. --size, --steps and --precision are those of the pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.settings import Settings

BACKENDS = ("eager", "openvino")


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


def warm_engines(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both engines, with all forms in memory."""
    engines = {backend: make_engine(home, backend, options.precision) for backend in BACKENDS}
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
    seconds: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for seed in range(options.rounds):
        for backend in BACKENDS if seed % 2 else reversed(BACKENDS):
            seconds[backend].append(generate(engines[backend], options, seed)[0])
    print_ratio(seconds, "s a picture")


def compare_batches(home: Path, options: argparse.Namespace, threads: int = 8) -> None:
    """As many pictures as threads at a time."""
    engines = warm_engines(home, options)
    seconds: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    with ThreadPoolExecutor(threads) as pool:
        for seed in range(options.rounds):
            for backend in BACKENDS if seed % 2 else reversed(BACKENDS):
                started = time.perf_counter()
                list(pool.map(partial(generate, engines[backend], options), range(threads)))
                seconds[backend].append((time.perf_counter() - started) / threads)
    print_ratio(seconds, f"s a picture, {threads} threads")


def print_ratio(seconds: dict[str, list[float]], unit: str) -> None:
    """Print medians, and the ratio of the two."""
    for backend, values in seconds.items():
        print(f"{backend:9s} {statistics.median(values):.3f} {unit} ({min(values):.3f} to {max(values):.3f})")
    ratios = [a / b for a, b in zip(seconds["eager"], seconds["openvino"], strict=True)]
    print(f"openvino is {statistics.median(ratios):.2f} times as fast (median of {len(ratios)} pairs)")


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
    for name, backend, folder, wait in (
        ("eager", "eager", "eager", False),
        ("no forms on disk", "openvino", "forms", False),
        ("the same, waiting", "openvino", "forms", True),
        ("forms on disk", "openvino", "forms", False),
    ):
        found = run_process(home / folder, backend, options, options.rounds, wait=wait)
        listed = ", ".join(f"{seconds:.2f} ({ran})" for seconds, ran in found["pictures"])
        print(f"{name:18s} first step after {found['first_step']:.2f} s; pictures: {listed}")


def compare_memory(home: Path, options: argparse.Namespace) -> None:
    """Print the memory of processes."""
    run_process(home, "openvino", options, 1, wait=True)
    for backend in BACKENDS:
        found = run_process(home, backend, options, 2, wait=True)
        print(f"{backend:9s} {found['memory'] / 1e6:.0f} MB after two pictures")


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pictures", "batch", "first", "memory", "child"))
    parser.add_argument("checkpoint", nargs="?", default="starter")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--home", default="")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--wait", action="store_true")
    options = parser.parse_args()
    if options.what == "child":
        measure_process(options)
        return
    measures = {"pictures": compare_pictures, "batch": compare_batches, "first": compare_first}
    with tempfile.TemporaryDirectory() as folder:
        (measures | {"memory": compare_memory})[options.what](Path(options.home or folder), options)


if __name__ == "__main__":
    main()
