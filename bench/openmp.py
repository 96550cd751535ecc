"""What OpenMP's way of waiting costs a starter picture, alone and beside one busy process: `python bench/openmp.py`.

By default a thread of GNU's OpenMP that waits for others keeps its core busy for a while (it spins); under
``OMP_WAIT_POLICY=passive`` it sleeps at once. Each row is a process of its own; the pixels must be the same in all.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICIES = {
    "default": {},
    "10,000 spins": {"GOMP_SPINCOUNT": "10000"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
}
CHOSEN_HERE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
BUSY = "while True: pass"


def generate(pictures: int) -> None:
    """Generate pictures after one to warm up; print seconds, processor seconds and a digest as JSON."""
    from safelight.generation.engine import Engine
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    engine, digest = Engine(Settings.load(device="cpu")), hashlib.sha256()
    seconds, processor = [], []
    for seed in range(pictures + 1):
        wall, used = time.perf_counter(), time.process_time()
        (picture,) = engine.draw(GenerationRequest.parse(prompt="a red apple", seed=seed))
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - used)
        digest.update(picture.image.tobytes())
    json.dump({"seconds": seconds[1:], "processor": processor[1:], "digest": digest.hexdigest()}, sys.stdout)


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


def main() -> None:
    """Measure every policy, alone and with a busy neighbour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        generate(chosen.pictures)
        return
    digests = set()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the measurement")
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, str(Path(__file__)), "--child", "--pictures", str(chosen.pictures)]
        plain = {name: value for name, value in os.environ.items() if name not in CHOSEN_HERE}
        for count in (0, 1):
            for policy, variables in POLICIES.items():
                seconds, processor = [], []
                for _ in range(chosen.rounds):
                    with neighbours(count):
                        environment = plain | variables | {"SAFELIGHT_HOME": home}
                        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                    found = json.loads(done.stdout)
                    seconds += found["seconds"]
                    processor += found["processor"]
                    digests.add(found["digest"])
                print(
                    f"{count} busy neighbours, {policy:12}: {statistics.median(seconds):.3f} s a picture "
                    f"(best {min(seconds):.3f}), {statistics.median(processor):.3f} s of a core",
                    flush=True,
                )
    print("same pixels in all" if len(digests) == 1 else f"pixels differ: {len(digests)} digests")


if __name__ == "__main__":
    main()
