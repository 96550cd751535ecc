"""Real processes for the tests of the queue: workers that can be killed, stopped and limited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safelight.generation.request import Part
from safelight.jobs.job import Job, JobKind, JobState, Submission
from safelight.jobs.payloads import store_request
from safelight.jobs.queue_service import QueueService, prepare
from safelight.settings import Settings

START = 120.0
"""Seconds a worker may take to start, on a machine that has much else to do."""
FAST = {"SAFELIGHT_BACKEND": "onnxruntime", "SAFELIGHT_PRECISION": "fp32"}
"""Without a probe of the machine for what judges fastest on it: each test has a data directory of its own."""


def wait_for(condition: Callable[[], object], seconds: float = START, every: float = 0.05) -> None:
    """Wait until something is so, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


@dataclass
class Workshop:
    """A queue with worker processes."""

    settings: Settings
    service: QueueService
    environment: dict[str, str]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str = "w", *prefix: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker; whatever is given before its command is run around it."""
        command = [*prefix, sys.executable, "-m", "safelight", "worker", "--name", name]
        process = subprocess.Popen(command, env=self.environment | environment, stdin=subprocess.DEVNULL)
        self.workers[name] = process
        return process

    def kill(self, name: str = "w") -> None:
        """End a worker without a word of warning."""
        self.workers[name].kill()
        self.workers[name].wait()

    def end(self, name: str = "w") -> int:
        """Ask a worker to go; returns its exit status."""
        self.workers[name].send_signal(signal.SIGTERM)
        return self.workers[name].wait(60)

    def submit(self, prompt: str = "a red apple", owner: str = "local", **fields: object) -> str:
        """Queue a small drawing; returns its id."""
        request = {"prompt": prompt, "steps": 2, "seed": 1, **fields}
        submission = Submission(
            kind=JobKind.GENERATE, request=request, owner=owner, checkpoint="starter", cost=1.0
        )
        return self.service.store.submit(submission).id

    def submit_other(self, kind: JobKind, request: Part) -> str:
        """Queue something that is no drawing; returns its id."""
        body, pictures = store_request(request)
        return self.service.store.submit(Submission(kind=kind, request=body), pictures).id

    def running(self) -> list[Job]:
        """The jobs that run now."""
        return self.service.store.find(states=[JobState.RUNNING])

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return self.service.store.get(job_id)

    def state(self, job_id: str) -> JobState:
        """Its state."""
        return self.job(job_id).state

    def under_way(self, job_id: str) -> bool:
        """Whether the network has made its first steps."""
        progress = self.job(job_id).progress
        return self.state(job_id) is JobState.RUNNING and progress is not None and progress.step > 0

    def pictures(self, job_id: str) -> list[str]:
        """The digests of a finished job's pictures."""
        result = self.job(job_id).result
        assert result is not None
        return [picture["sha256"] for picture in result["pictures"]]  # type: ignore[index, union-attr, call-overload]


@contextmanager
def workshop(home: Path, database: str = "") -> Iterator[Workshop]:
    """An empty queue in a data directory; all processes are gone afterwards."""
    settings = Settings.load(home=home, database=database or None)
    prepare(settings)
    environment = {**os.environ, **FAST, "SAFELIGHT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    if database:
        environment["SAFELIGHT_DATABASE"] = database
    opened = Workshop(settings, QueueService.open(settings), environment)
    try:
        yield opened
    finally:
        for process in opened.workers.values():
            process.kill()
            process.wait()
        opened.service.close()
