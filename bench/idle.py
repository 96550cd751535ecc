"""What ``safelight serve`` takes of an idle machine: memory (PSS) by process, and processor time.

PSS counts each shared page once in all, divided between the processes that share it, so that the sum is what the
machine would have more of without them. Linux only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import httpx2
import psutil

from safelight.bench.serve import RunningServer, safelight_server, until_ready

PICTURE = {"prompt": "a red apple", "seed": 1, "steps": 20}


def pss_mb(process: psutil.Process) -> float:
    """A process' proportional share of memory, in megabytes."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def family(served: RunningServer) -> dict[str, psutil.Process]:
    """The server's processes by what they do."""
    first = psutil.Process(served.process.pid)
    roles = {"supervisor": first}
    for child in first.children(recursive=True):
        words = child.cmdline()
        roles["api" if "api" in words else "worker" if "worker" in words else str(child.pid)] = child
    return roles


def memory(served: RunningServer) -> dict[str, float]:
    """PSS of each process and in all, in megabytes."""
    found = {role: round(pss_mb(process), 1) for role, process in family(served).items()}
    return found | {"in all": round(sum(found.values()), 1)}


def processor(served: RunningServer, seconds: float) -> dict[str, float]:
    """Processor time that each process takes while nothing happens, in percent of one core."""
    processes = family(served)
    before = {role: sum(process.cpu_times()[:2]) for role, process in processes.items()}
    time.sleep(seconds)
    return {
        role: round(100 * (sum(process.cpu_times()[:2]) - before[role]) / seconds, 2)
        for role, process in processes.items()
    }


def wait_until_idle(url: str, seconds: float = 120.0) -> None:
    """Wait until every worker has loaded what it loads at its start."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        workers = httpx2.get(url + "/v1/system").raise_for_status().json()["workers"]
        if workers and all(worker["state"] == "idle" for worker in workers):
            return
        time.sleep(0.5)
    raise TimeoutError(f"The workers are not idle after {seconds:g} seconds.")


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is watched while idle")
    parser.add_argument("--no-studio", action="store_true", help="without the page for browsers")
    parser.add_argument("--checkpoint", default="starter", help="what the worker loads at its start")
    chosen = parser.parse_args()
    studio = "false" if chosen.no_studio else "true"
    with (
        tempfile.TemporaryDirectory(prefix="safelight-bench-") as home,
        safelight_server(
            Path(home), checkpoint=chosen.checkpoint, environment={"SAFELIGHT_WEB_UI": studio}
        ) as served,
    ):
        until_ready(served.url)
        wait_until_idle(served.url)
        time.sleep(10.0)  # the studio's page is loaded after the start
        found: dict[str, object] = {"pss_mb": memory(served)}
        found["processor_percent"] = processor(served, chosen.seconds)
        if chosen.checkpoint == "starter":
            httpx2.post(served.url + "/sdapi/v1/txt2img", json=PICTURE, timeout=600).raise_for_status()
            time.sleep(2.0)
            found["pss_mb_after_a_picture"] = memory(served)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
