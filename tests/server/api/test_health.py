from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tests.server.conftest import app_client
from tests.times import seconds_ago

from safelight.jobs.queue.tables import workers
from safelight.jobs.queue_service import WORKER_TIMEOUT, QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore

WORKER = {
    "host": "here",
    "pid": 1,
    "device": "cpu",
    "state": "idle",
    "checkpoints": ["starter"],
    "memory": 5e8,
    "started": seconds_ago(0),
}


def test_liveness(client: TestClient) -> None:
    response = client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_ready_with_a_worker(client: TestClient, service: QueueService) -> None:
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (503, {"status": "not ready", "missing": ["worker"]})
    assert response.headers["Retry-After"]
    service.register_worker("here:cpu", WORKER)
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "missing": []})
    with service.engine.begin() as connection:
        connection.execute(workers.update().values(seen=seconds_ago(WORKER_TIMEOUT + 1)))
    assert client.get("/health/ready").status_code == 503


def test_not_ready_without_a_database(client: TestClient, service: QueueService, server_home: Path) -> None:
    service.register_worker("here:cpu", WORKER)
    service.engine.dispose()
    for path in server_home.glob("safelight.db*"):
        path.unlink()
    (server_home / "safelight.db").write_text("no database")
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["missing"]) == (503, ["database"])
    assert client.get("/health/live").status_code == 200
    refused = client.get("/v1/jobs")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database.damaged")


def test_health_needs_no_key_and_discloses_little(open_service: Callable[..., QueueService]) -> None:
    service = open_service(host="0.0.0.0")
    KeyStore(service.engine).add("anna")
    with app_client(create_app(service, service.settings)) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").json() == {"status": "not ready", "missing": ["worker"]}


def test_metrics(client: TestClient, service: QueueService) -> None:
    peaks = [{"family": "sdxl", "stage": "decode", "planned": 30, "measured": None}]
    report = {"device": {}, "shortages": 3, "stages": peaks}
    service.register_worker("here:cpu", WORKER | {"memory_report": report})
    service.register_worker("old:cpu", WORKER)
    client.post("/v1/jobs", json={"kind": "generate", "prompt": "a lighthouse"})
    client.get("/v1/jobs/" + "0" * 27)
    client.get("/v1/jobs/" + "1" * 27)
    client.request("BREW", "/coffee")
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert found["safelight_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 2
    assert found["safelight_requests_total", "other", "none", "404"] == 1
    assert found["safelight_stage_peak_bytes", "sdxl", "planned", "decode", "here:cpu"] == 30
    assert not [key for key in found if "measured" in key]
    assert found["safelight_memory_shortages_total", "here:cpu"] == 3
    assert found["safelight_request_seconds_count", "POST", "/v1/jobs"] == 1
    assert found["safelight_jobs", "queued"] == found["safelight_queue_length",] == 1
    assert found["safelight_jobs", "failed"] == 0
    assert (found["safelight_workers", "idle"], found["safelight_workers", "busy"]) == (2, 0)
    assert found["safelight_worker_memory_bytes", "here:cpu"] == 5e8
    assert found["process_resident_memory_bytes",] > 10_000_000


@pytest.mark.parametrize("number", [1, 2])
def test_each_application_has_its_own_metrics(client: TestClient, number: int) -> None:
    client.get("/nothing")
    assert (
        'safelight_requests_total{method="GET",route="none",status="404"} 1.0' in client.get("/metrics").text
    )
