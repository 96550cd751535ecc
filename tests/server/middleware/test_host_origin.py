from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.server.conftest import SOCKET, app_client

from safelight.errors import SettingsError
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.settings import Settings

JOB = "0" * 27
FOREIGN = "https://evil.example"
ALLOWED = "https://studio.example"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:7860", "localhost:80", "LOCALHOST", "[::1]:7860", "a.localhost"]
)
def test_local_host_names(client: TestClient, host: str) -> None:
    assert client.get("/v1/system", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "192.168.1.5",
        "0.0.0.0",
        "",
        "[::1",
        "a@127.0.0.1",
    ],
)
def test_foreign_host_names_are_refused(client: TestClient, host: str) -> None:
    response = client.get("/v1/system", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "denied.host")


def test_two_host_headers_are_refused(client: TestClient) -> None:
    response = client.get("/v1/system", headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert response.status_code == 403


def test_health_accepts_any_host_name(client: TestClient) -> None:
    assert client.get("/health/live", headers={"Host": "10.1.2.3"}).status_code == 200


def test_allowed_host_names(open_service: Callable[..., QueueService]) -> None:
    service = open_service(allowed_hosts=("Studio.example",))
    with app_client(create_app(service, service.settings)) as client:
        assert client.get("/v1/system", headers={"Host": "studio.example:443"}).status_code == 401
        assert client.get("/v1/system", headers={"Host": "192.168.1.5"}).status_code == 401
        assert client.get("/v1/system", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1:7861", "http://evil.example:7860"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"),
        ("DELETE", f"/v1/jobs/{JOB}"),
        ("POST", "/sdapi/v1/txt2img"),
        ("POST", "/v1/images/generations"),
    ],
)
def test_foreign_origins_cannot_write(client: TestClient, method: str, path: str, origin: str) -> None:
    # a form's content type, which browsers send without a preflight request
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    response = client.request(method, path, content='{"kind": "generate", "prompt": "x"}', headers=headers)
    assert response.status_code == 403
    assert "denied.origin" in response.text
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_foreign_requests_without_an_origin_header_are_refused(client: TestClient) -> None:
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert client.get("/v1/system", headers=picture).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=link).status_code == 200
    assert client.post("/v1/jobs", json={}, headers=link).status_code == 403


def test_our_own_origin_may_write(client: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
    body = {"kind": "generate", "prompt": "a lighthouse"}
    assert client.post("/v1/jobs", json=body, headers=headers).status_code == 202


def test_foreign_origins_open_no_websocket(client: TestClient) -> None:
    job = client.post("/v1/jobs", json={"kind": "generate", "prompt": "a lighthouse"}).json()["id"]
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers={"Origin": FOREIGN}),
    ):
        pass
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers={"Origin": "http://127.0.0.1:7860"}):
        pass


def test_no_origin_may_read_by_default(client: TestClient) -> None:
    response = client.get("/v1/system", headers={"Origin": FOREIGN})
    assert "access-control-allow-origin" not in response.headers
    asking = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/jobs", headers=asking).headers


def test_allowed_origins_may_read(open_service: Callable[..., QueueService]) -> None:
    service = open_service(cors_origins=(ALLOWED,))
    with app_client(create_app(service, service.settings)) as client:
        asking = {
            "Origin": ALLOWED,
            "Sec-Fetch-Site": "cross-site",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }
        allowed = client.options("/v1/jobs", headers=asking)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ALLOWED)
        body = {"kind": "generate", "prompt": "a lighthouse"}
        response = client.post(
            "/v1/jobs", json=body, headers={"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}
        )
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (202, ALLOWED)
        assert (
            "access-control-allow-origin" not in client.get("/v1/system", headers={"Origin": FOREIGN}).headers
        )
        assert client.post("/v1/jobs", json=body, headers={"Origin": FOREIGN}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["*", "evil.example", "https://*.example", "https://a.example/path", "null", "ftp://a"]
)
def test_origins_are_named_one_by_one(server_home: Path, origin: str) -> None:
    with pytest.raises(SettingsError, match="cors_origins"):
        Settings.load(home=server_home, cors_origins=(origin,))
