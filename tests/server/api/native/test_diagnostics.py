from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.core.monitoring.log_buffer import LogBuffer
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Role

WORKER = {
    "host": "h",
    "pid": 1,
    "device": "cpu",
    "state": "idle",
    "checkpoints": [],
    "memory": 1e9,
    "started": datetime.fromtimestamp(0, UTC),
}


def test_the_memory_history_of_the_last_hour(service: QueueService) -> None:
    service.register_worker("w", WORKER)
    with app_client(create_app(service, service.settings)) as client:
        deadline = time.monotonic() + 30
        while not (body := client.get("/v1/system/memory").json())["samples"]:
            assert time.monotonic() < deadline
    assert body["every"] == 10
    sample = body["samples"][-1]
    assert sample["workers"] == {"w": 10**9}
    assert sample["server"] > 1e6
    assert sample["free"] > 1e6
    assert abs(datetime.now(UTC) - datetime.fromisoformat(sample["time"])).total_seconds() < 60


def test_the_log(service: QueueService, logged: Callable[[], list[dict[str, Any]]]) -> None:
    with app_client(create_app(service, service.settings)) as client:
        client.get("/nothing?secret=1", headers={"X-Request-ID": "r-7"})
        client.get("/v1/system/log")
        lines = client.get("/v1/system/log").json()["lines"]
        (line,) = [line for line in lines if line["event"] == "request"]
        assert (line["level"], line["source"]) == ("info", "safelight.server.middleware.telemetry")
        assert line["fields"] == line["fields"] | {"path": "/nothing", "status": 404, "request_id": "r-7"}
        logging.getLogger("x").error("it broke")
        assert [line["event"] for line in client.get("/v1/system/log?level=error").json()["lines"]] == [
            "it broke"
        ]
        assert len(client.get("/v1/system/log?limit=1").json()["lines"]) == 1
    assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, LogBuffer)]


@pytest.mark.parametrize("query", ["limit=0", "limit=2001", "level=debug", "level=odd"])
def test_invalid_parameters(client: TestClient, query: str) -> None:
    assert client.get(f"/v1/system/log?{query}").status_code == 422


def test_only_administrators_read_the_log_and_it_holds_no_keys(
    service: QueueService, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    keys = KeyStore(service.engine)
    anna, chief = keys.add("anna"), keys.add("chief", Role.ADMIN)
    with app_client(create_app(service, service.settings)) as client:
        for key in (anna, f"{anna}x"):
            answer = client.get("/v1/system/log", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code in (401, 403)
            client.get("/v1/system", headers={"X-API-Key": key})
        answer = client.get("/v1/system/log", headers={"X-API-Key": chief})
    assert answer.status_code == 200
    assert len(answer.json()["lines"]) >= 2
    for key in (anna, chief):
        assert key.rpartition("_")[2] not in answer.text
