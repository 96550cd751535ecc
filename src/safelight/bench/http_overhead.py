"""What the way over HTTP and the queue adds to a picture: the same engine in this process and behind the server.

Rounds alternate, so that a noisy machine is noisy to all. The server's worker and this process have a copy of the
starter checkpoint each, and only one of them is at work at a time.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from safelight.bench.serve import safelight_server, until_ready
from safelight.settings import Settings
from safelight.studio import Studio

PROMPT = "a red apple, 3d style"
WARM_UP = 2


@dataclass(frozen=True)
class HttpOverhead:
    """Milliseconds a picture on each way, from all rounds.

    Args:
        steps: Of each picture.
        in_process: ``Studio.generate`` in this process, gate and record included.
        jobs: POST /v1/jobs, its events until the end, and the picture's file.
        txt2img: POST /sdapi/v1/txt2img.
    """

    steps: int
    in_process: list[float]
    jobs: list[float]
    txt2img: list[float]

    def to_dict(self) -> dict[str, object]:
        """Medians, and what each way adds: the median of the differences within a round."""
        return {
            "steps": self.steps,
            "rounds": len(self.in_process),
            "in_process_ms": round(statistics.median(self.in_process), 1),
            "jobs_ms": round(statistics.median(self.jobs), 1),
            "txt2img_ms": round(statistics.median(self.txt2img), 1),
            "jobs_adds_ms": self._added(self.jobs),
            "txt2img_adds_ms": self._added(self.txt2img),
        }

    def _added(self, way: list[float]) -> float:
        differences = (there - here for there, here in zip(way, self.in_process, strict=True))
        return round(statistics.median(differences), 1)


def measure(
    *, steps: int = 20, rounds: int = 20, tell: Callable[[str], None] = lambda _: None
) -> HttpOverhead:
    """Start a server and measure.

    Args:
        steps: Of each picture.
        rounds: How many pictures each way, after a warm-up.
        tell: Called with a line for the user.
    """
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as folder:
        home = Path(folder)
        studio = Studio(Settings.load(home=home / "own", checkpoint="starter"))
        with safelight_server(home) as served, httpx2.Client(base_url=served.url, timeout=600) as client:
            until_ready(served.url)
            tell("Measuring …")
            ways: list[Callable[[int], object]] = [
                lambda seed: studio.generate(PROMPT, steps=steps, seed=seed),
                lambda seed: _over_jobs(client, steps, seed),
                lambda seed: _over_txt2img(client, steps, seed),
            ]
            times: list[list[float]] = [[] for _ in ways]
            for seed in range(rounds + WARM_UP):
                for way, found in zip(ways, times, strict=True):
                    began = time.perf_counter()
                    way(seed)
                    found.append(1000 * (time.perf_counter() - began))
            return HttpOverhead(steps, *(found[WARM_UP:] for found in times))


def _over_jobs(client: httpx2.Client, steps: int, seed: int) -> bytes:
    body = {"kind": "generate", "prompt": PROMPT, "seed": seed, "steps": steps}
    job = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events") as lines:
        for line in lines.iter_lines():
            if line.startswith("data:"):
                json.loads(line[5:])
    answer = client.get(f"/v1/jobs/{job}/result", headers={"Accept": "image/png"})
    return answer.raise_for_status().content


def _over_txt2img(client: httpx2.Client, steps: int, seed: int) -> bytes:
    body = {"prompt": PROMPT, "seed": seed, "steps": steps, "width": 128, "height": 128}
    return client.post("/sdapi/v1/txt2img", json=body).raise_for_status().content
