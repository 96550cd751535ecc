from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
from starlette.testclient import TestClient
from tests.server.api.conftest import JobDriver
from tests.server.conftest import app_client

from safelight import __version__
from safelight.jobs.queue_service import QueueService
from safelight.runtime.machine import inspect_machine
from safelight.server.app import create_app


def test_versions_workers_and_job_counts(client: TestClient, bench: JobDriver) -> None:
    bench.finish()
    bench.submit()
    body = client.get("/v1/system").json()
    assert body["version"] == __version__
    assert body["versions"]["torch"]
    assert body["workers"] == []
    assert body["jobs"] == {"queued": 1, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert (body["classifier"], body["policy"]) == ("open-nsfw", "standard")
    assert body["limits"]["max_frames"] == 16
    machine = inspect_machine()
    assert body["machine"] == {
        "processor": machine.processor,
        "cores": machine.cores,
        "memory": machine.memory,
        "features": list(machine.vector_units),
    }


def test_how_a_worker_generates_and_why(server: str) -> None:
    def the_worker() -> dict[str, Any]:
        (worker,) = httpx2.get(f"{server}/v1/system", timeout=60).json()["workers"]
        return dict(worker)

    wait_until(lambda: the_worker()["state"] != "starting")
    worker = the_worker()
    assert (worker["device"], worker["precision"], worker["backend"]) == ("cpu", "fp32", "eager")
    assert worker["why"].startswith("Generates on cpu, as the setting device says, in fp32, ")
    assert "Judges with open-nsfw (fast, onnxruntime fp32)" in worker["why"]
    assert (worker["last_error"], worker["loading"]) == (None, None)


def test_a_real_server_records_its_memory(server: str) -> None:
    def newest() -> dict[str, Any]:
        samples = httpx2.get(f"{server}/v1/system/memory", timeout=60).json()["samples"]
        return dict(samples[-1]) if samples else {"workers": {}}

    wait_until(lambda: newest()["workers"])
    assert newest()["server"] > 1e7
    lines = httpx2.get(f"{server}/v1/system/log", timeout=60).json()["lines"]
    assert "/v1/system/memory" in [line["fields"].get("path") for line in lines]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_secrets_are_disclosed(open_service: Callable[..., QueueService]) -> None:
    service = open_service(
        policy="/secret-folder/rules.toml", key="sl_secret", classifier="/secret-folder/mine"
    )
    with app_client(create_app(service, service.settings)) as client:
        text = client.get("/v1/system").text
    assert "rules.toml" in text
    assert "secret" not in text
