"""Measure finding pictures among 100,000 other files, by content and by names alone. No picture is judged."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from safelight.moderation.scan.sources import count_images

HERE = Path(__file__).parent
ROADS = ("content", "names")
FOLDERS = 100


def main() -> None:
    """Create the files, scan them, print seconds and files per second: the better of two runs, so from memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as scratch:
        create_files(Path(scratch), count)
        seconds = {
            name: min(time_search(scratch, only_known=name == "names") for _ in range(2)) for name in ROADS
        }
    result = {
        name: {"seconds": round(each, 2), "files_per_second": round(count / each)}
        for name, each in seconds.items()
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "finding.json").write_text(json.dumps({"files": count} | result, indent=1))
    print(json.dumps({"files": count} | result))


def create_files(folder: Path, count: int) -> None:
    """Create text files of two kilobytes without telling suffixes, in a hundred folders."""
    text = b"Words, and no picture. " * 90
    for number in range(FOLDERS):
        (folder / f"{number:03}").mkdir()
    for number in range(count):
        (folder / f"{number % FOLDERS:03}" / f"{number:07}").write_bytes(text)


def time_search(folder: str, *, only_known: bool) -> float:
    """Seconds that finding the pictures takes."""
    start = time.perf_counter()
    assert count_images(folder, only_known=only_known) == 0
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
