"""What the way over HTTP and the queue adds to a picture, in milliseconds; see ``safelight/bench/http_overhead.py``."""

from __future__ import annotations

import argparse
import json
import sys

from safelight.bench.http_overhead import measure


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args()
    found = measure(steps=chosen.steps, rounds=chosen.rounds, tell=lambda line: print(line, file=sys.stderr))
    print(json.dumps(found.to_dict(), indent=2))


if __name__ == "__main__":
    main()
