"""Shared fixtures of the API tests: users with keys, and jobs that are run without a worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.gallery.conftest import new_entry
from tests.server.conftest import app_client

from safelight.errors import SafelightError
from safelight.jobs.gallery_entries import job_result
from safelight.jobs.job import Job, JobKind, Submission
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Role
from safelight.settings import Settings

GENERATE_REQUEST = {"kind": "generate", "prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1}


@dataclass(frozen=True)
class JobDriver:
    """Runs jobs in place of a worker."""

    service: QueueService

    def submit(self, owner: str = "local", kind: JobKind = JobKind.GENERATE) -> Job:
        return self.service.store.submit(
            Submission(kind=kind, request={"prompt": "a lighthouse"}, owner=owner)
        )

    def start(self, owner: str = "local", kind: JobKind = JobKind.GENERATE) -> Job:
        """Start a new job; no other job may be waiting."""
        submitted = self.submit(owner, kind)
        job = self.service.store.claim("bench")
        assert job is not None
        assert job.id == submitted.id
        return job

    def finish(self, owner: str = "local", *changes: dict[str, Any]) -> Job:
        """Finish a new job with an image for each set of changes."""
        job = self.start(owner)
        entries = [
            self.service.gallery.add(
                new_entry(**{"number": 7 + index, "job_id": job.id, "index": index, "owner": owner} | change)
            )
            for index, change in enumerate(changes or ({},))
        ]
        assert self.service.store.succeed(job, job_result(entries).to_dict(), 1.0)
        return self.service.store.get(job.id)

    def fail(self, error: SafelightError) -> Job:
        job = self.start()
        assert self.service.store.fail(job, error)
        return self.service.store.get(job.id)


@pytest.fixture
def bench(service: QueueService) -> JobDriver:
    return JobDriver(service)


@pytest.fixture
def people(service: QueueService) -> Iterator[Callable[[str], TestClient]]:
    """Clients of a server with keys, by name: anna and berta are users, chief is an administrator."""
    keys = KeyStore(service.engine)
    found = {name: keys.add(name) for name in ("anna", "berta")} | {"chief": keys.add("chief", Role.ADMIN)}
    with app_client(create_app(service, service.settings)) as client:

        def of(name: str) -> TestClient:
            client.headers["Authorization"] = f"Bearer {found[name]}"
            return client

        yield of


@pytest.fixture(scope="session")
def standing(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The application without workers, shared by tests that leave no data behind."""
    home = tmp_path_factory.mktemp("standing") / "home"
    shutil.copytree(prepared, home)
    service = QueueService.open(Settings.load(home=home, backend="onnxruntime", precision="fp32"))
    with app_client(create_app(service, service.settings)) as client:
        yield client
    service.close()
