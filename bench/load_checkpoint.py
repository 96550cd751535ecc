"""How long a checkpoint takes to load, and its first picture: each round in a process of its own.

    python bench/load_checkpoint.py [ROUNDS [SOURCE_TREE ...]]

With several source trees (folders with ``src/safelight``), rounds alternate between them, so that two versions are
compared on one machine. Prints the median and the minimum of seconds of wall and of processor time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUND = """
import json, sys, time
from pathlib import Path
from safelight import Settings, Studio
from safelight.generation.request import GenerationRequest
engine = Studio(Settings(home=Path(sys.argv[1]), device="cpu")).engine
found = {}
def timed(name, work):
    wall, processor = time.perf_counter(), time.process_time()
    work()
    found[name] = [time.perf_counter() - wall, time.process_time() - processor]
request = GenerationRequest(prompt="a red apple", seed=7, steps=8)
timed("load", lambda: engine.preload("starter"))
timed("first picture", lambda: list(engine.generate(request)))
timed("second picture", lambda: list(engine.generate(request)))
engine.unload()
timed("load again", lambda: engine.preload("starter"))
print(json.dumps(found))
"""


def main(rounds: int, trees: list[Path]) -> None:
    """Measure and print."""
    found: dict[Path, list[dict[str, list[float]]]] = {tree: [] for tree in trees}
    with tempfile.TemporaryDirectory() as home:
        for number in range(rounds + 1):
            for tree in trees:
                environment = os.environ | {"PYTHONPATH": str(tree / "src")}
                command = [sys.executable, "-c", ROUND, home]
                result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                if number:  # the first round caches digests and files
                    found[tree].append(json.loads(result.stdout))
    for tree, measured in found.items():
        print(tree)
        for name in measured[0]:
            wall, processor = ([each[name][kind] for each in measured] for kind in (0, 1))
            print(
                f"  {name:15} wall {statistics.median(wall):6.3f} (min {min(wall):6.3f}), "
                f"processor {statistics.median(processor):6.3f} (min {min(processor):6.3f})"
            )


if __name__ == "__main__":
    given = [Path(name).resolve() for name in sys.argv[2:]]
    main(int(sys.argv[1]) if sys.argv[1:] else 5, given or [Path(__file__).resolve().parents[1]])
