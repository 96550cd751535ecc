"""Measure memory and rate of a scan of 10,000 files; both must be constant. Needs `make bench-photos`.

Memory is the resident set of the scanning process, sampled every 100 pictures; the first tenth warms up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from safelight.moderation.scan.runner import Scan
from safelight.settings import Settings
from safelight.studio import Studio

HERE = Path(__file__).parent


def main() -> None:
    """Scan and print the figures of both halves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "uploads"
        create_links(folder, count)
        result = scan_measured(folder, Path(scratch) / "report.jsonl", count)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "scan_memory.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({key: value for key, value in result.items() if key != "samples"}))


def create_links(folder: Path, count: int) -> None:
    """Create links to the 512-pixel photographs under as many names as requested."""
    photographs = sorted((HERE / "photos" / "512").iterdir())
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06}.jpg").symlink_to(photographs[number % len(photographs)])


def scan_measured(folder: Path, report: Path, count: int) -> dict[str, object]:
    """Scan while sampling time and memory."""
    scan = Scan(Studio(Settings.load()).moderator(), str(folder), report)
    process, samples, start = psutil.Process(), [], time.perf_counter()
    for number, _ in enumerate(scan.run(), start=1):
        if number % 100 == 0:
            samples.append((number, time.perf_counter() - start, process.memory_info().rss))
    warm = [sample for sample in samples if sample[0] > count // 10]
    middle = count * 11 // 20
    halves = [[s for s in warm if s[0] <= middle], [s for s in warm if s[0] > middle]]
    memory = [statistics.fmean(s[2] for s in half) for half in halves]
    rates = [(half[-1][0] - half[0][0]) / (half[-1][1] - half[0][1]) for half in halves]
    return {
        "files": count,
        "seconds": round(samples[-1][1], 1),
        "memory_mb": [round(value / 1e6, 1) for value in memory],
        "memory_ratio": round(memory[1] / memory[0], 4),
        "pictures_per_second": [round(rate, 1) for rate in rates],
        "samples": samples,
    }


if __name__ == "__main__":
    main()
