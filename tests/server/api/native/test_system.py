from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
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


def test_plans_and_figures_of_a_real_worker(server: str) -> None:
    """The plan for the worker's device; then a picture, and its memory in the job, the system's state and metrics."""
    with httpx2.Client(base_url=server, timeout=120) as http:
        wait_until(lambda: http.get("/v1/system/plan").status_code != 503)
        plan = http.get("/v1/system/plan").json()
        assert (plan["checkpoint"], plan["width"], plan["fits"]) == ("starter", 128, True)
        assert [stage["name"] for stage in plan["stages"]] == ["text_encoder", "denoise", "decode"]
        assert 0 < plan["peak_bytes"] < plan["usable_bytes"]
        fields = {"kind": "generate", "prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1}
        job = http.post("/v1/jobs", json=fields).json()["id"]
        wait_until(lambda: http.get(f"/v1/jobs/{job}").json()["state"] == "succeeded")
        (picture,) = http.get(f"/v1/jobs/{job}").json()["result"]["pictures"]
        wait_until(lambda: http.get("/v1/system").json()["workers"][0]["stages"])
        (worker,) = http.get("/v1/system").json()["workers"]
        measured = {stage["stage"]: stage["measured"] for stage in worker["stages"]}
        cpu = worker["devices"][0]
        assert (cpu["name"], cpu["used_for"]) == ("cpu", ["denoiser", "text_encoders", "vae"])
        assert 0 < cpu["free"] <= cpu["total"]
        assert worker["device_notes"] == []
        assert measured == picture["memory"]["measured"]
        assert worker["shortages"] == 0
        found = {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(http.get("/metrics").text)
            for sample in family.samples
            if sample.name == "safelight_stage_peak_bytes"
        }
        assert (
            found[worker["stages"][0]["family"], "measured", "denoise", worker["name"]] == measured["denoise"]
        )
        assert http.get("/v1/system/plan", params={"checkpoint": "none"}).status_code == 404
        assert http.get("/v1/system/plan", params={"width": 16384, "height": 16384}).status_code == 413


def test_no_plan_without_a_worker(client: TestClient) -> None:
    response = client.get("/v1/system/plan")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "worker.missing")


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
