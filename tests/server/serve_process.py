"""A complete Safelight installation, started as a user starts it: supervisor, API process and workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx2
import psutil
from tests.free_port import free_port
from tests.jobs.worker_processes import FAST_SETTINGS

START_TIMEOUT = 180.0
"""Seconds in which everything has to start, on a loaded machine."""


@dataclass
class ServeProcess:
    """A running ``safelight serve``."""

    home: Path
    command: list[str]
    environment: dict[str, str]
    url: str
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))
    """One client for all requests: creating one takes 60 ms of a core that the workers need."""
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start everything, after its end again."""
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stderr=log
            )

    def processes(self) -> list[psutil.Process]:
        """The supervisor, if it is running, and its children."""
        if self.process.poll() is not None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *first.children()]

    def child(self, role: str) -> psutil.Process | None:
        """A child process by its role: "api", or a worker's number."""
        wanted = ["api"] if role == "api" else ["worker", "--number", role]
        for child in psutil.Process(self.process.pid).children():
            try:
                if all(word in child.cmdline() for word in wanted):
                    return child
            except psutil.Error:
                continue
        return None

    def kill(self, *roles: str) -> None:
        """Kill processes without warning, if they are running."""
        for child in filter(None, map(self.child, roles)):
            child.kill()

    def kill_supervisor(self, *, supervisor_only: bool) -> None:
        """Kill the supervisor without warning, and start everything again once all of its processes have ended.

        Args:
            supervisor_only: Kill only the supervisor, whose children notice and exit; otherwise kill them as well.
        """
        family = self.processes()
        for member in family[: 1 if supervisor_only else None]:
            member.kill()
        self.process.wait()
        psutil.wait_procs(family[1:], START_TIMEOUT)
        self.start()

    def request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        """Send a request, and retry it while the server is unreachable or answers 503."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                response = self.client.request(method, self.url + path, **arguments)
            except httpx2.TransportError:
                response = None
            if response is not None and response.status_code != 503:
                return response
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.2)

    def submit(self, seed: int, **fields: Any) -> str:
        """Queue a small generation job, with an idempotency key so that a retry does no harm."""
        small = {"kind": "generate", "steps": 2, "width": 64, "height": 64}
        body = {**small, "prompt": f"a red apple {seed}", "seed": seed, **fields}
        key = f"job {seed} {crc32(json.dumps(fields, sort_keys=True).encode())}"
        response = self.request("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The current state of a job."""
        found: dict[str, Any] = self.request("GET", f"/v1/jobs/{job_id}").json()
        return found

    def have_ended(self, *job_ids: str) -> bool:
        """Whether all of the jobs have ended."""
        return all(self.job(job_id)["state"] not in ("queued", "running") for job_id in job_ids)


@contextmanager
def run_serve(
    home: Path, *, command: str = "serve", workers: int = 1, database: str = "", **settings: str
) -> Iterator[ServeProcess]:
    """Start everything; kill what is left of it afterwards. Settings are given by the names of their variables.

    With the command "api", there is an API process only: a worker takes 10 s of a core to start.
    """
    port = free_port()
    environment = {
        **os.environ,
        **FAST_SETTINGS,
        "SAFELIGHT_HOME": str(home),
        "SAFELIGHT_WORKER_DEVICES": str(["cpu"] * workers).replace("'", '"'),
        "OMP_NUM_THREADS": "1",
        **({"SAFELIGHT_DATABASE": database} if database else {}),
        **settings,
    }
    words = [sys.executable, "-m", "safelight", command, "--port", str(port)]
    studio = ServeProcess(home, words, environment, f"http://127.0.0.1:{port}")
    try:
        yield studio
    finally:
        studio.client.close()
        for member in studio.processes():
            member.kill()
        studio.process.wait()
