from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import Morsel, SimpleCookie
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client
from tests.times import seconds_ago

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.core.executors.thread_pools import WRITE_THREADS
from safelight.server.middleware.body_limits import MAX_ANONYMOUS_BYTES
from safelight.server.security import rate_limits
from safelight.server.security.credentials import SESSION_COOKIE
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Role
from safelight.server.security.sessions import LIFETIME, SessionStore

FOREIGN = {"Origin": "https://evil.example", "Content-Type": "text/plain"}


@pytest.fixture
def keys(service: QueueService) -> KeyStore:
    return KeyStore(service.engine)


def cookie_of(response: httpx2.Response) -> Morsel[str]:
    return SimpleCookie(response.headers["Set-Cookie"])[SESSION_COOKIE]


def sign_in(client: TestClient, key: str, **more: str) -> httpx2.Response:
    return client.post("/v1/session", json={"key": key} | more)


def events(home: Path) -> list[tuple[str, str]]:
    lines = map(json.loads, (home / "audit.log").read_text().splitlines())
    return [(line["event"], line.get("owner", "")) for line in lines]


def test_without_keys_no_sign_in_is_needed(client: TestClient) -> None:
    local = {"owner": "local", "role": "admin", "keys": False, "cookie": False}
    assert client.get("/v1/session").json() == local
    response = sign_in(client, "anything")
    assert (response.status_code, response.json()) == (200, local)
    assert "Set-Cookie" not in response.headers
    assert client.get("/v1/session", headers={"Authorization": "Basic !!!"}).json() == local
    assert client.delete("/v1/session").status_code == 204


def test_signing_in_and_out(client: TestClient, keys: KeyStore, server_home: Path) -> None:
    key = keys.add("anna")
    assert client.get("/v1/session").status_code == 401
    anna = {"owner": "anna", "role": "user", "keys": True, "cookie": True}
    response = sign_in(client, key)
    assert (response.status_code, response.json()) == (200, anna)
    assert client.get("/v1/session").json() == anna
    assert client.get("/v1/jobs").status_code == 200
    token = client.cookies[SESSION_COOKIE]
    out = client.delete("/v1/session")
    assert (out.status_code, cookie_of(out)["max-age"], out.content) == (204, "0", b"")
    assert SESSION_COOKIE not in client.cookies
    assert client.get("/v1/session", headers={"Cookie": f"{SESSION_COOKIE}={token}"}).status_code == 401
    assert [pair for pair in events(server_home) if pair[0] != "denied"] == [
        ("session.opened", "anna"),
        ("session.closed", "anna"),
    ]
    assert key not in (server_home / "audit.log").read_text()
    assert token not in (server_home / "audit.log").read_text()


def test_the_cookie_is_http_only_and_same_site(client: TestClient, keys: KeyStore) -> None:
    cookie = cookie_of(sign_in(client, keys.add("anna")))
    assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "strict", "")
    assert (cookie["httponly"], cookie["secure"], cookie["max-age"]) == (True, "", str(30 * 86400))
    secure = client.post("https://127.0.0.1:7860/v1/session", json={"key": keys.add("berta")})
    assert cookie_of(secure)["secure"] is True
    assert cookie_of(client.delete("https://127.0.0.1:7860/v1/session"))["secure"] is True


def test_an_administrator_signs_in(client: TestClient, keys: KeyStore) -> None:
    assert sign_in(client, keys.add("root", Role.ADMIN)).json()["role"] == "admin"
    assert client.get("/metrics").status_code == 200


def test_a_key_in_a_header_sets_no_cookie(client: TestClient, keys: KeyStore) -> None:
    headers = {"Authorization": f"Bearer {keys.add('anna')}"}
    assert client.get("/v1/session", headers=headers).json() == {
        "owner": "anna",
        "role": "user",
        "keys": True,
        "cookie": False,
    }
    assert client.delete("/v1/session", headers=headers).status_code == 204


def test_wrong_keys_are_refused(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    assert sign_in(client, key, name="anna").status_code == 200
    for wrong in ({"key": "wrong"}, {"key": ""}, {"key": key[:-1]}, {"key": key, "name": "berta"}):
        response = client.post("/v1/session", json=wrong)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "denied.key"), wrong
        assert "Set-Cookie" not in response.headers
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="safelight"'


@pytest.mark.parametrize("body", [{}, {"key": 5}, {"key": "x" * 201}, {"key": "x", "more": 1}, [], None])
def test_malformed_keys(client: TestClient, keys: KeyStore, body: object) -> None:
    keys.add("anna")
    assert client.post("/v1/session", json=body).status_code == 422


def test_wrong_keys_share_one_limit_wherever_they_are_sent(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    half = rate_limits.WRONG_KEYS_PER_MINUTE // 2
    for _ in range(half):
        assert client.get("/v1/system", headers={"X-API-Key": "wrong"}).status_code == 401
        assert sign_in(client, "wrong").status_code == 401
    refused = [sign_in(client, "wrong") for _ in range(2)][-1]
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit.rate")
    assert int(refused.headers["Retry-After"]) >= 1
    assert sign_in(client, key).status_code == 200


def test_signing_in_counts_as_a_request(open_service: Callable[..., QueueService]) -> None:
    service = open_service(requests_per_minute=2)
    key = KeyStore(service.engine).add("anna")
    with app_client(create_app(service, service.settings)) as client:
        assert [sign_in(client, key).status_code for _ in range(3)] == [200, 200, 429]


def test_the_body_of_a_sign_in_is_small(client: TestClient, keys: KeyStore) -> None:
    keys.add("anna")
    assert sign_in(client, "x" * MAX_ANONYMOUS_BYTES).status_code == 413
    chunks = iter([b"x" * MAX_ANONYMOUS_BYTES, b"x"])
    response = client.post("/v1/session", content=chunks, headers={"Content-Type": "image/png"})
    assert response.status_code == 413


def test_foreign_sites_cannot_sign_in_or_out(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    response = client.post("/v1/session", content=json.dumps({"key": key}), headers=FOREIGN)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "denied.origin")
    sign_in(client, key)
    assert client.delete("/v1/session", headers=FOREIGN).status_code == 403
    assert client.post("/v1/jobs", content="{}", headers=FOREIGN).status_code == 403
    assert client.get("/v1/session").status_code == 200
    assert client.get("/v1/session", headers={"Host": "evil.example"}).status_code == 403


def test_allowed_origins_cannot_sign_in(open_service: Callable[..., QueueService]) -> None:
    """Not even origins that may use the API: a sign-in would change the identity of the browser."""
    allowed = "https://studio.example"
    service = open_service(cors_origins=(allowed,))
    key = KeyStore(service.engine).add("anna")
    with app_client(create_app(service, service.settings)) as client:
        response = client.post("/v1/session", json={"key": key}, headers={"Origin": allowed})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "denied.origin")
        assert "Set-Cookie" not in response.headers
        ours = client.post("/v1/session", json={"key": key}, headers={"Origin": "http://127.0.0.1:7860"})
        assert ours.status_code == 200


def test_signing_in_again_ends_the_former_session(
    client: TestClient, keys: KeyStore, server_home: Path
) -> None:
    anna, berta = keys.add("anna"), keys.add("berta")
    sign_in(client, anna)
    former = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    assert sign_in(client, "wrong").status_code == 401
    assert client.get("/v1/session").json()["owner"] == "anna"
    assert sign_in(client, berta).json()["owner"] == "berta"
    assert client.get("/v1/session").json()["owner"] == "berta"
    client.cookies.clear()
    assert client.get("/v1/session", headers=former).status_code == 401
    assert [pair for pair in events(server_home) if pair[0] != "denied"] == [
        ("session.opened", "anna"),
        ("session.closed", "anna"),
        ("session.opened", "berta"),
    ]


def test_a_closed_session_is_audited_under_its_owner(
    client: TestClient, keys: KeyStore, server_home: Path
) -> None:
    sign_in(client, keys.add("anna"))
    client.delete("/v1/session", headers={"Authorization": f"Bearer {keys.add('berta')}"})
    assert events(server_home)[-1] == ("session.closed", "anna")


def test_failed_sign_ins_neither_wait_for_the_database_nor_block_others(
    client: TestClient, keys: KeyStore
) -> None:
    keys.add("anna")
    threads = client.app.state.safelight.threads  # type: ignore[attr-defined]
    blocked = threading.Event()

    async def keep_busy() -> list[asyncio.Task[bool]]:
        waiting = [asyncio.create_task(threads.run_write(blocked.wait)) for _ in range(WRITE_THREADS)]
        await asyncio.sleep(0.05)
        return waiting

    assert client.portal is not None
    waiting = client.portal.call(keep_busy)
    with ThreadPoolExecutor() as pool:
        try:
            assert pool.submit(sign_in, client, "wrong").result(10).status_code == 401
            assert not any(task.done() for task in waiting)
        finally:
            blocked.set()


def test_revoking_a_key_ends_its_sessions(client: TestClient, keys: KeyStore) -> None:
    keys.add("berta")
    sign_in(client, keys.add("anna"))
    keys.revoke("anna")
    response = client.get("/v1/jobs")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "denied.no_key")
    assert "/sign-in" in response.json()["error"]["hint"]


def test_an_expired_session(client: TestClient, keys: KeyStore, service: QueueService) -> None:
    key_id = str(keys.authenticate(keys.add("anna")).key_id)
    token = SessionStore(service.engine, keys).open(key_id, seconds_ago(LIFETIME.total_seconds()))
    assert client.get("/v1/jobs", headers={"Cookie": f"{SESSION_COOKIE}={token}"}).status_code == 401
