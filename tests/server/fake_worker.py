"""A fake worker that ends every job at once with a small image, for tests that submit more jobs than could be
generated."""

from __future__ import annotations

import io
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from safelight.gallery import NewEntry
from safelight.jobs.gallery_entries import job_result
from safelight.jobs.job import Job, JobKind
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision
from safelight.settings import Settings

WORKER_INFO = {
    "host": "here",
    "pid": 1,
    "device": "cpu",
    "memory_report": {
        "device": {"kind": "cpu", "total": 8 * 10**9, "usable": 6 * 10**9, "host": 6 * 10**9},
        "shortages": 0,
        "stages": [],
    },
    "state": "idle",
    "checkpoints": [],
    "memory": 1.0,
    "started": datetime.fromtimestamp(0, UTC),
}


def red_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


class FakeWorker(threading.Thread):
    """A thread that claims every job and ends it at once."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._service = QueueService.open(Settings(home=home))
        self._stopped = threading.Event()

    def run(self) -> None:
        heard = 0.0
        while not self._stopped.wait(0.02):
            if time.monotonic() - heard > 5:
                heard = time.monotonic()
                self._service.register_worker("here:cpu", WORKER_INFO)
            while job := self._service.store.claim("here:cpu"):
                self._service.store.succeed(job, self._result(job), 0.01)

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)
        self._service.close()

    def _result(self, job: Job) -> dict[str, Any]:
        if job.kind == JobKind.SCAN:
            return {"verdicts": []}
        return job_result([self._service.gallery.add(self._new_entry(job))]).to_dict()

    @staticmethod
    def _new_entry(job: Job) -> NewEntry:
        return NewEntry(
            job_id=job.id,
            owner=job.owner,
            created=job.created,
            data=red_png(),
            width=16,
            height=16,
            decision=Decision.ALLOW,
            unsafe=0.0,
            scores={"sfw": 1.0, "nsfw": 0.0},
            policy="standard",
            seed=1,
            steps=1,
            sampler="Euler",
            checkpoint="starter",
            prompt=str(job.request.get("prompt", "")),
            infotext="a picture\nSteps: 1",
        )
