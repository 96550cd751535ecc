from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.dependencies import CurrentPrincipal


@pytest.mark.parametrize("given", ["r-1", "a" * 64, "0af7651916cd43dd8448eb211c80319c", "A.b:c_d"])
def test_a_valid_request_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/v1/system", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'x"y', "<script>"])
def test_an_invalid_request_id_is_replaced(client: TestClient, given: str) -> None:
    made = client.get("/v1/system", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert made != given
    assert len(made) == 32


def test_the_job_and_the_log_have_the_request_id(
    client: TestClient, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    body = {"kind": "generate", "prompt": "a secret prompt"}
    job = client.post("/v1/jobs?secret=1", json=body, headers={"X-Request-ID": "r-7"}).json()
    assert job["request_id"] == "r-7"
    lines = [line for line in logged() if line["logger"] != "httpx2"]  # the client's own
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["request_id"], line["owner"], line["status"], line["path"]) == (
        "r-7",
        "local",
        202,
        "/v1/jobs",
    )
    assert "secret" not in str(lines)


@pytest.mark.parametrize("path", ["/v1/system", "/nothing", "/health/live", "/sdapi/v1/samplers"])
def test_general_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert "Server" not in headers


@pytest.fixture
def broken(service: QueueService) -> FastAPI:
    app = create_app(service, service.settings)

    @app.get("/v1/broken")
    async def broken(_: CurrentPrincipal) -> None:
        raise ZeroDivisionError("a secret detail")

    return app


def test_a_defect_becomes_an_error_response(
    broken: FastAPI, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    with app_client(broken) as client:
        response = client.get("/v1/broken")
        metrics = client.get("/metrics").text
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert response.headers["X-Request-ID"]
    assert "a secret detail" in str([line for line in logged() if line["event"] == "a defect"])
    assert 'safelight_requests_total{method="GET",route="/v1/broken",status="500"} 1.0' in metrics
