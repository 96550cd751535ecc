"""Real worker processes for the queue's tests: they can be killed, stopped and limited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from safelight.generation.request import RequestPart
from safelight.jobs.job import Job, JobKind, JobState, Submission
from safelight.jobs.payloads import store_request
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.settings import Settings

START_TIMEOUT = 120.0
"""Seconds in which a worker has to start, on a loaded machine."""
FAST_SETTINGS = {"SAFELIGHT_BACKEND": "onnxruntime", "SAFELIGHT_PRECISION": "fp32"}
"""Settings without a backend probe, since each test has its own data directory."""


def wait_for(condition: Callable[[], object], seconds: float = START_TIMEOUT, every: float = 0.05) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


@dataclass
class WorkerProcesses:
    """A queue with worker processes."""

    settings: Settings
    service: QueueService
    environment: dict[str, str]
    log: Path | None = None
    """The file that the workers' log goes to; the test process' own error output when None."""
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str = "w", *prefix: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker; ``prefix`` is a command that runs the worker's."""
        command = [*prefix, sys.executable, "-m", "safelight", "worker", "--name", name]
        with self.log.open("ab") if self.log else nullcontext() as log:
            process = subprocess.Popen(
                command, env=self.environment | environment, stdin=subprocess.DEVNULL, stderr=log
            )
        self.workers[name] = process
        return process

    def kill(self, name: str = "w") -> None:
        """Kill a worker without warning."""
        self.workers[name].kill()
        self.workers[name].wait()

    def terminate(self, name: str = "w") -> int:
        """Stop a worker with SIGTERM; returns its exit status."""
        self.workers[name].send_signal(signal.SIGTERM)
        return self.workers[name].wait(60)

    def submit(self, prompt: str = "a red apple", owner: str = "local", **fields: object) -> str:
        """Queue a small generation job; returns its id."""
        request = {"prompt": prompt, "steps": 2, "seed": 1, "width": 64, "height": 64, **fields}
        submission = Submission(
            kind=JobKind.GENERATE, request=request, owner=owner, checkpoint="starter", cost=1.0
        )
        return self.service.store.submit(submission).id

    def submit_request(self, kind: JobKind, request: RequestPart) -> str:
        """Queue a job of another kind; returns its id."""
        body, pictures = store_request(request)
        return self.service.store.submit(Submission(kind=kind, request=body), pictures).id

    def running(self) -> list[Job]:
        """The running jobs."""
        return self.service.store.find(states=[JobState.RUNNING])

    def job(self, job_id: str) -> Job:
        """The current state of a job."""
        return self.service.store.get(job_id)

    def state(self, job_id: str) -> JobState:
        """Whether a job is queued, running or ended."""
        return self.job(job_id).state

    def has_begun_denoising(self, job_id: str) -> bool:
        """Whether the network has run its first steps."""
        progress = self.job(job_id).progress
        return self.state(job_id) is JobState.RUNNING and progress is not None and progress.step > 0

    def image_digests(self, job_id: str) -> list[str]:
        """The digests of a finished job's images."""
        result = self.job(job_id).result
        assert result is not None
        return [picture["sha256"] for picture in result["pictures"]]  # type: ignore[index, union-attr, call-overload]


@contextmanager
def run_workers(home: Path, database: str = "", log: Path | None = None) -> Iterator[WorkerProcesses]:
    """An empty queue in a data directory; all worker processes are killed afterwards."""
    settings = Settings.load(home=home, database=database or None)
    prepare_database(settings)
    environment = {**os.environ, **FAST_SETTINGS, "SAFELIGHT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    if database:
        environment["SAFELIGHT_DATABASE"] = database
    opened = WorkerProcesses(settings, QueueService.open(settings), environment, log)
    try:
        yield opened
    finally:
        for process in opened.workers.values():
            process.kill()
            process.wait()
        opened.service.close()
