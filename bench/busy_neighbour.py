"""How fast pictures are generated and classified beside busy processes: `python bench/busy_neighbour.py [NAME ...]`.

Each row is a process that stays loaded. In each round all of them do their work in turn, first alone, then beside one
and beside two processes that keep a core busy each, so that noise of the machine affects all of them. Prints medians,
processor time, and the speed beside neighbours as a share of the speed alone. The rows "spinning", "sleeping" and "one
thread" are what was not chosen; the pixels of all eager rows but "one thread" must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

BUSY = "while True: pass"
OPENMP_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
ROWS: dict[str, tuple[str, str, dict[str, str]]] = {
    "eager": ("generate", "eager", {}),
    "eager, spinning": ("generate", "eager", {"GOMP_SPINCOUNT": "300000"}),  # GNU's default
    "eager, sleeping": ("generate", "eager", {"OMP_WAIT_POLICY": "passive"}),
    "eager, one thread": ("generate", "eager", {"OMP_NUM_THREADS": "1"}),
    "openvino": ("generate", "openvino", {}),
    "onnxruntime": ("generate", "onnxruntime", {}),
    "inductor": ("generate", "inductor", {}),
    "classify, openvino": ("classify", "openvino", {}),
    "classify, onnxruntime": ("classify", "onnxruntime", {}),
}
"""What runs: the work, the engine, and variables of the environment."""


def generator(home: Path, backend: str) -> Callable[[int], bytes]:
    """Returns what generates a starter picture from a seed."""
    from safelight.generation.engine import Engine
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    engine = Engine(Settings(home=home, device="cpu", generation_backend=backend))

    def generate(seed: int) -> bytes:
        (picture,) = engine.generate(GenerationRequest.parse(prompt="a red apple", seed=seed))
        return picture.image.tobytes()

    generate(0)
    engine.forms.wait(600)
    return generate


def classifier(home: Path, backend: str, repeats: int = 2) -> Callable[[int], bytes]:
    """Returns what classifies photographs in one batch."""
    from safelight.moderation import load_classifier
    from safelight.moderation.classifiers.probe_images import probe_images
    from safelight.settings import Settings

    found = load_classifier(Settings(home=home, backend=backend))
    squares = np.stack([found.prepare(picture) for picture in probe_images()] * repeats)

    def classify(_: int) -> bytes:
        return str(found.predict(squares)).encode()

    return classify


def serve_work(what: str, backend: str, home: Path) -> None:
    """In a child: for each line of standard input, the number of repetitions, print what they took as JSON."""
    work = (generator if what == "generate" else classifier)(home, backend)
    work(0)
    print("ready", flush=True)
    for line in sys.stdin:
        found: dict[str, list[Any]] = {"seconds": [], "processor": [], "results": []}
        for seed in range(int(line)):
            wall, used = time.perf_counter(), time.process_time()
            result = work(seed)
            found["seconds"].append(time.perf_counter() - wall)
            found["processor"].append(time.process_time() - used)
            found["results"].append(hashlib.sha256(result).hexdigest())
        print(json.dumps(found), flush=True)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many other processes, each of which keeps one core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def worker(name: str, home: Path) -> Iterator[Callable[[int], dict[str, list[Any]]]]:
    """A loaded process; gives what lets it repeat its work."""
    what, backend, variables = ROWS[name]
    environment = {key: value for key, value in os.environ.items() if key not in OPENMP_VARIABLES}
    command = [sys.executable, str(Path(__file__)), "--child", what, backend, str(home)]
    with subprocess.Popen(
        command, env=environment | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def repeat(times: int) -> dict[str, list[Any]]:
            stdin.write(f"{times}\n")
            stdin.flush()
            found: dict[str, list[Any]] = json.loads(stdout.readline())
            return found

        try:
            if "ready\n" not in stdout:  # behind lines of the log
                raise RuntimeError(f"{name} could not be started.")
            yield repeat
        finally:
            stdin.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {'; '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--repetitions", type=int, default=3, help="pictures, or batches of photographs, in each round"
    )
    parser.add_argument("--neighbours", type=int, default=2, help="the most busy processes beside")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "BACKEND", "HOME"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        what, backend, home = chosen.child
        serve_work(what, backend, Path(home))
        return
    names = chosen.names or list(ROWS)
    measured: dict[tuple[str, int], dict[str, list[Any]]] = {}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the measurement", flush=True)
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        workers = {name: stack.enter_context(worker(name, Path(home))) for name in names}
        for number in range(chosen.rounds):
            for count in range(chosen.neighbours + 1):
                for name in names if number % 2 else reversed(names):
                    with neighbours(count):
                        found = workers[name](chosen.repetitions)
                    into = measured.setdefault((name, count), defaultdict(list))
                    for kind, values in found.items():
                        into[kind] += values
    print_table(names, chosen.neighbours, measured)


def print_table(names: list[str], most: int, measured: dict[tuple[str, int], dict[str, list[Any]]]) -> None:
    """Print medians, and speeds as a share of the speed alone."""
    for name in names:
        alone = statistics.median(measured[name, 0]["seconds"])
        cells = []
        for count in range(most + 1):
            found = measured[name, count]
            seconds = statistics.median(found["seconds"])
            processor = statistics.median(found["processor"])
            cells.append(
                f"{seconds:7.3f} s ({min(found['seconds']):.3f}), {processor:.2f} s of cores, {alone / seconds:4.0%}"
            )
        digests = {digest for count in range(most + 1) for digest in measured[name, count]["results"]}
        print(f"{name:22} {' | '.join(cells)} | {len(digests)} results", flush=True)


if __name__ == "__main__":
    main()
