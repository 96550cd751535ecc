"""Compare this checkout with an earlier one: the same benchmarks on both, in turn, in one run.

    git worktree add ../before COMMIT
    python bench/compare.py --before ../before --rounds 3

Each round runs every benchmark on both checkouts, and the next round in the opposite order. Prints, as JSON, the median
of each figure that both give, and its ratio after/before. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parents[1]
COMMANDS = {
    "generate": ["-m", "safelight", "bench", "generate", "--rounds", "7", "--json"],
    "moderate": ["-m", "safelight", "bench", "moderate", "--rounds", "3", "--json"],
    "serve": ["-m", "safelight", "bench", "serve", "--seconds", "15", "--soak", "0", "--json"],
    "studio": ["bench/studio.py"],
}


def figures(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a JSON value by their path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from figures(inner, f"{name}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def run(checkout: Path, command: list[str]) -> dict[str, float]:
    """Run a benchmark of a checkout; returns its figures."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    ended = subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        print(f"{checkout}: {' '.join(command)}: {ended.stderr[-500:]}", file=sys.stderr)
        return {}
    return dict(figures(json.loads(ended.stdout)))


def main() -> None:
    """Run the rounds and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier commit")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    given = parser.parse_args()
    checkouts = {"before": given.before.resolve(), "after": HERE}
    seen: dict[str, dict[str, dict[str, list[float]]]] = {}
    for number in range(given.rounds):
        for name in given.only:
            for side in list(checkouts) if number % 2 == 0 else list(reversed(checkouts)):
                began = time.monotonic()
                found = run(checkouts[side], COMMANDS[name])
                print(
                    f"round {number + 1}: {name} {side}, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                for figure, value in found.items():
                    of_figure = seen.setdefault(name, {}).setdefault(figure, defaultdict(list))
                    of_figure[side].append(value)
    print(
        json.dumps(
            {
                name: {figure: summary(sides) for figure, sides in by_figure.items() if len(sides) == 2}
                for name, by_figure in seen.items()
            },
            indent=1,
        )
    )


def summary(sides: dict[str, list[float]]) -> dict[str, float | None]:
    """The medians of a figure, and their ratio."""
    before, after = (statistics.median(sides[side]) for side in ("before", "after"))
    return {"before": before, "after": after, "ratio": round(after / before, 4) if before else None}


if __name__ == "__main__":
    main()
