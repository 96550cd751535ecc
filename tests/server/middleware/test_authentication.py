from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.server.conftest import SOCKET, app_client

from safelight.errors import DatabaseBusyError
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.core.lazy_ui import LazyUi
from safelight.server.middleware import authentication
from safelight.server.security import rate_limits
from safelight.server.security.credentials import SESSION_COOKIE, parse_credentials
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Role

DRAWING = {"kind": "generate", "prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1}
GUARDED = [
    "/v1/system",
    "/v1/jobs",
    "/v1/models",
    "/v1/gallery",
    "/sdapi/v1/samplers",
    "/metrics",
    "/docs",
    "/openapi.json",
]


@pytest.fixture
def keys(service: QueueService) -> KeyStore:
    return KeyStore(service.engine)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(name: str, key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}


def audit_events(home: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (home / "audit.log").read_text().splitlines()]


@pytest.mark.parametrize("path", GUARDED)
def test_without_keys_local_requests_are_allowed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert (
        client.get(path, headers=bearer("anything, as some clients always send something")).status_code == 200
    )
    assert client.get(path, headers={"Authorization": "Basic !!!"}).status_code == 200


@pytest.mark.parametrize("path", [*GUARDED, "/nothing", "/sdapi/v1/nothing"])
def test_with_keys_a_request_needs_one(client: TestClient, keys: KeyStore, path: str) -> None:
    keys.add("anna")
    response = client.get(path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "denied.no_key" in response.text


def test_every_way_to_send_a_key(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    for headers in (bearer(key), basic("anna", key), {"X-API-Key": key}, {"Authorization": f"bearer  {key}"}):
        assert client.get("/v1/system", headers=headers).status_code == 200, headers


def test_wrong_keys(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    wrong = [
        bearer("sl_wrong"),
        bearer(key[:-1]),
        basic("berta", key),
        basic("anna", "wrong"),
        {"Authorization": "Basic !!!"},
        {"Authorization": b"Basic \xe4\xf6"},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"X-API-Key": "wrong"},
        bearer("wrong") | {"X-API-Key": key},
    ]
    for headers in wrong:
        response = client.get("/v1/system", headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "denied.key"), headers


def test_a_revoked_key_is_refused_at_once(client: TestClient, keys: KeyStore) -> None:
    key, _ = keys.add("anna"), keys.add("berta")
    assert client.get("/v1/system", headers=bearer(key)).status_code == 200
    keys.revoke("anna")
    assert client.get("/v1/system", headers=bearer(key)).status_code == 401


def test_revoking_the_last_key_allows_local_requests_only(open_service: Callable[..., QueueService]) -> None:
    for host, status in (("127.0.0.1", 200), ("0.0.0.0", 401)):
        service = open_service(host=host)
        keys = KeyStore(service.engine)
        keys.add("anna")
        keys.revoke("anna")
        with app_client(create_app(service, service.settings)) as client:
            assert client.get("/v1/system").status_code == status


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/system", {"error": {"code", "message", "hint"}}),
        ("/v1/images/generations", {"error": {"message", "type", "param", "code"}}),
        ("/sdapi/v1/txt2img", {"error", "detail", "errors"}),
    ],
)
def test_errors_have_the_shape_of_each_api_family(
    client: TestClient, keys: KeyStore, path: str, shape: object
) -> None:
    keys.add("anna")
    body = client.post(path, json={}).json()
    found = {"error": set(body["error"])} if isinstance(shape, dict) else set(body)
    assert found == shape


def test_websockets_are_refused_likewise(client: TestClient, keys: KeyStore) -> None:
    key = keys.add("anna")
    job = client.post("/v1/jobs", json=DRAWING, headers=bearer(key)).json()["id"]
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws"):
        pass
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers=bearer(key)) as socket:
        assert socket.receive_json()["kind"] == "state"


def test_jobs_and_pictures_of_other_owners_are_not_found(client: TestClient, keys: KeyStore) -> None:
    anna, berta, root = (
        bearer(keys.add("anna")),
        bearer(keys.add("berta")),
        bearer(keys.add("root", Role.ADMIN)),
    )
    job = client.post("/v1/jobs", json=DRAWING, headers=anna).json()["id"]
    paths = [f"/v1/jobs/{job}", f"/v1/jobs/{job}/result", f"/v1/jobs/{job}/preview", f"/v1/jobs/{job}/events"]
    for path in paths:
        assert client.get(path, headers=berta).status_code == 404, path
    for path in (f"/v1/jobs/{job}/finish", f"/v1/jobs/{job}/skip"):
        assert client.post(path, headers=berta).status_code == 404, path
    assert client.delete(f"/v1/jobs/{job}", headers=berta).status_code == 404
    assert client.get("/v1/jobs", headers=berta).json()["jobs"] == []
    assert client.get(f"/v1/jobs/{job}", headers=anna).json()["state"] == "queued"
    assert client.get(f"/v1/jobs/{job}", headers=root).json()["owner"] == "anna"
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers=berta),
    ):
        pass


@pytest.mark.parametrize("path", ["/metrics", "/sdapi/v1/log"])
def test_routes_for_administrators_only(client: TestClient, keys: KeyStore, path: str) -> None:
    anna, root = bearer(keys.add("anna")), bearer(keys.add("root", Role.ADMIN))
    response = client.get(path, headers=anna)
    assert response.status_code == 403
    assert "denied.role" in response.text
    assert client.get(path, headers=root).status_code == 200


def test_requests_are_limited(open_service: Callable[..., QueueService]) -> None:
    service = open_service(requests_per_minute=3)
    anna = bearer(KeyStore(service.engine).add("anna"))
    with app_client(create_app(service, service.settings), **anna) as client:
        first = client.get("/v1/system")
        assert first.headers["RateLimit-Policy"] == '"requests";q=3;w=60'
        assert first.headers["RateLimit"] == '"requests";r=2;t=20'
        assert [client.get("/nothing").status_code for _ in range(3)] == [404, 404, 429]
        refused = client.get("/sdapi/v1/samplers")
        assert (refused.status_code, refused.json()["error"]) == (429, "limit.rate")
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
        assert client.get("/health/live").status_code == 200


def test_pictures_are_counted_before_the_work(open_service: Callable[..., QueueService]) -> None:
    service = open_service(pictures_per_minute=4)
    anna = bearer(KeyStore(service.engine).add("anna"))
    with app_client(create_app(service, service.settings), **anna) as client:
        assert client.post("/v1/jobs", json=DRAWING | {"count": 3}).status_code == 202
        refused = client.post("/v1/jobs", json=DRAWING | {"count": 2})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit.rate")
        # one picture of four comes back every 15 seconds, some of which have passed on a busy machine
        assert re.search(r'"pictures";r=1;t=(4[0-5]|3\d)\b', refused.headers["RateLimit"])
        assert client.post("/v1/jobs", json=DRAWING | {"count": 2, "steps": 0}).status_code == 422
        assert client.post("/v1/jobs", json=DRAWING).status_code == 202
        assert len(client.get("/v1/jobs").json()["jobs"]) == 2


def test_a_quota_holds_for_the_day(client: TestClient, service: QueueService) -> None:
    anna = bearer(KeyStore(service.engine).add("anna", pictures_per_day=2))
    assert client.post("/v1/jobs", json=DRAWING | {"count": 2}, headers=anna).status_code == 202
    refused = client.post("/v1/jobs", json=DRAWING, headers=anna)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit.quota")
    assert 1 <= int(refused.headers["Retry-After"]) <= 86400
    compatible = client.post("/sdapi/v1/txt2img", json={"prompt": "x", "steps": 1}, headers=anna)
    assert (compatible.status_code, compatible.json()["error"]) == (429, "limit.quota")


def test_the_same_idempotency_key_counts_once(client: TestClient, service: QueueService) -> None:
    anna = bearer(KeyStore(service.engine).add("anna", pictures_per_day=1)) | {"Idempotency-Key": "k"}
    jobs = {client.post("/v1/jobs", json=DRAWING, headers=anna).json()["id"] for _ in range(3)}
    assert len(jobs) == 1


def test_wrong_keys_are_rate_limited(
    client: TestClient, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.add("anna")
    with_wrong = bearer("wrong")
    statuses = [
        client.get("/v1/system", headers=with_wrong).status_code
        for _ in range(rate_limits.WRONG_KEYS_PER_MINUTE + 2)
    ]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert client.get("/v1/system", headers=bearer(key)).status_code == 200


def test_audit_lines_of_refusals_are_limited(client: TestClient, keys: KeyStore, server_home: Path) -> None:
    keys.add("anna")
    for _ in range(rate_limits.AUDIT_NOTES_PER_MINUTE + 20):
        client.get("/v1/system")
    assert (
        rate_limits.AUDIT_NOTES_PER_MINUTE
        <= len(audit_events(server_home))
        < rate_limits.AUDIT_NOTES_PER_MINUTE + 20
    )


def test_refusals_are_audited(client: TestClient, keys: KeyStore, server_home: Path) -> None:
    anna = bearer(keys.add("anna", pictures_per_day=0))
    client.get("/v1/system", headers={"X-Request-ID": "r-1"})
    client.get("/v1/system", headers={"Host": "evil.example"})
    client.get("/metrics", headers=anna)
    client.post("/v1/jobs", json=DRAWING | {"prompt": "a secret"}, headers=anna)
    lines = audit_events(server_home)
    assert [(line["event"], line["why"], line["path"], line.get("owner")) for line in lines] == [
        ("denied", "denied.no_key", "/v1/system", None),
        ("denied", "denied.host", "/v1/system", None),
        ("denied", "denied.role", "/metrics", "anna"),
        ("limited", "limit.quota", "/v1/jobs", "anna"),
    ]
    assert (lines[0]["request_id"], lines[0]["address"]) == ("r-1", "127.0.0.1")


@pytest.mark.parametrize("audit_prompts", [False, True])
def test_actions_are_audited(
    open_service: Callable[..., QueueService], server_home: Path, audit_prompts: bool
) -> None:
    service = open_service(audit_prompts=audit_prompts)
    with app_client(create_app(service, service.settings), **{"X-Request-ID": "r-2"}) as client:
        job = client.post("/v1/jobs", json=DRAWING).json()
        client.delete(f"/v1/jobs/{job['id']}")
    submitted, cancelled = audit_events(server_home)
    assert (submitted["event"], submitted["job_id"], submitted["owner"]) == (
        "job.submitted",
        job["id"],
        "local",
    )
    assert submitted.get("prompt") == ("a lighthouse" if audit_prompts else None)
    assert (cancelled["event"], cancelled["job_id"], cancelled["request_id"]) == (
        "job.cancel",
        job["id"],
        "r-2",
    )
    assert job["request_id"] == "r-2"


def test_authorization_with_unknown_schemes() -> None:
    from starlette.datastructures import Headers

    assert parse_credentials(Headers({"Authorization": "Digest x", "X-API-Key": "k"})) == (None, "k")
    assert parse_credentials(Headers({})) == (None, None)


def test_concurrent_requests_of_a_user_are_limited(
    service: QueueService, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_CONCURRENT_REQUESTS", 1)
    anna, root = bearer(keys.add("anna")), bearer(keys.add("root", Role.ADMIN))
    with app_client(create_app(service, service.settings)) as client:
        job = client.post("/v1/jobs", json=DRAWING, headers=anna).json()["id"]
        with client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers=anna) as socket:
            socket.receive_json()
            refused = client.get("/v1/system", headers=anna)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert client.get("/v1/system", headers=root).status_code == 200
            assert client.get("/health/live", headers=anna).status_code == 200
        assert client.get("/v1/system", headers=anna).status_code == 200


def test_a_silent_database_ends_no_request(
    service: QueueService, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The principal is looked up again during the response; a database error is not a refusal."""
    monkeypatch.setattr(authentication, "RECHECK_INTERVAL", 0.02)
    anna = bearer(keys.add("anna"))
    with app_client(create_app(service, service.settings), **anna) as client:
        job = client.post("/v1/jobs", json=DRAWING).json()["id"]
        with client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws") as socket:
            socket.receive_json()

            def silent(*_: object) -> None:
                raise DatabaseBusyError

            with monkeypatch.context() as patch:
                patch.setattr(KeyStore, "authenticate", silent)
                time.sleep(0.2)
            client.delete(f"/v1/jobs/{job}")
            assert socket.receive_json()["data"] == {"state": "cancelled"}


VISIT = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
"""The headers that a browser sends when a person opens an address."""


def signed_in(client: TestClient, key: str) -> None:
    assert client.post("/v1/session", json={"key": key}).status_code == 200


def test_a_session_cookie_authenticates_like_its_key(client: TestClient, keys: KeyStore) -> None:
    signed_in(client, keys.add("anna"))
    root = bearer(keys.add("root", Role.ADMIN))
    for path in GUARDED:
        assert client.get(path).status_code == (403 if path == "/metrics" else 200), path
    assert client.get("/metrics", headers=root).status_code == 200  # a key in a header takes precedence
    for wrong in (bearer("wrong"), basic("anna", "wrong"), {"X-API-Key": "wrong"}):
        assert client.get("/v1/system", headers=wrong).status_code == 401


def test_an_invalid_cookie_is_not_counted_as_a_wrong_key(client: TestClient, keys: KeyStore) -> None:
    keys.add("anna")
    for _ in range(rate_limits.WRONG_KEYS_PER_MINUTE + 2):
        response = client.get("/v1/system", headers={"Cookie": f"{SESSION_COOKIE}=wrong"})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "denied.no_key")


def test_websockets_accept_the_cookie(client: TestClient, keys: KeyStore) -> None:
    signed_in(client, keys.add("anna"))
    cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    job = client.post("/v1/jobs", json=DRAWING).json()["id"]
    path = f"{SOCKET}/v1/jobs/{job}/ws"
    with client.websocket_connect(path, headers=cookie | {"Origin": "http://127.0.0.1:7860"}) as socket:
        assert socket.receive_json()["kind"] == "state"
    for headers in (cookie | {"Origin": "https://evil.example"}, {"Cookie": f"{SESSION_COOKIE}=wrong"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=headers):
            pass


NEIGHBOUR = "http://127.0.0.1:7861"
"""Another origin of the same site, to which a browser sends our cookie."""


def test_the_cookie_is_accepted_from_our_own_pages_only(open_service: Callable[..., QueueService]) -> None:
    service = open_service(cors_origins=(NEIGHBOUR,))
    key = KeyStore(service.engine).add("anna")
    with app_client(create_app(service, service.settings)) as client:
        signed_in(client, key)
        form = {"files": {"image": ("a.png", b"", "image/png")}}
        job = client.post("/v1/jobs", json=DRAWING).json()["id"]
        theirs = {"Origin": NEIGHBOUR, "Sec-Fetch-Site": "same-site"}
        ours = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
        for method, path, body in (
            ("GET", "/v1/jobs", {}),
            ("DELETE", f"/v1/jobs/{job}", {}),
            ("DELETE", "/v1/session", {}),
            ("POST", "/v1/moderate", form),
        ):
            refused = client.request(method, path, headers=theirs, **body)  # type: ignore[arg-type]
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "denied.no_key"), path
            assert client.get("/v1/jobs", headers=theirs | bearer(key)).status_code == 200
        assert client.get("/v1/session", headers=ours).json()["cookie"] is True

        path, cookie = (
            f"{SOCKET}/v1/jobs/{job}/ws",
            {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"},
        )
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=cookie | theirs):
            pass
        for headers in (cookie | ours, cookie | theirs | bearer(key)):
            with client.websocket_connect(path, headers=headers) as socket:
                assert socket.receive_json()["kind"] == "state"


@pytest.mark.parametrize("ended_by", ["its key", "signing out"])
def test_streams_end_with_the_session(
    client: TestClient, keys: KeyStore, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    monkeypatch.setattr(authentication, "RECHECK_INTERVAL", 0.02)
    keys.add("berta")
    signed_in(client, keys.add("anna"))
    cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    job = client.post("/v1/jobs", json=DRAWING).json()["id"]
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job}/ws", headers=cookie) as socket:
        socket.receive_json()
        if ended_by == "its key":
            keys.revoke("anna")
        else:
            client.delete("/v1/session")
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert (caught.value.code, "not signed in" in caught.value.reason) == (1008, True)


@pytest.mark.parametrize(
    ("path", "back"),
    [
        ("/", "%2F"),
        ("/studio", "%2Fstudio"),
        ("/studio/", "%2Fstudio%2F"),
        ("/studio/?tab=gallery&q=a%26b", "%2Fstudio%2F%3Ftab%3Dgallery%26q%3Da%2526b"),
        ("/studio//evil.example", "%2Fstudio%2F%2Fevil.example"),
        ("/studio/%5Cevil", "%2Fstudio%2F%255Cevil"),
        ("/studio/%0d%0aSet-Cookie:x", "%2Fstudio%2F%250D%250ASet-Cookie%253Ax"),
    ],
)
def test_a_signed_out_browser_is_redirected_to_sign_in(
    client: TestClient, keys: KeyStore, path: str, back: str
) -> None:
    keys.add("anna")
    for headers in (VISIT, VISIT | basic("anna", "wrong"), VISIT | {"Cookie": f"{SESSION_COOKIE}=old"}):
        response = client.get(path, headers=headers, follow_redirects=False)
        assert (response.status_code, response.headers["Location"]) == (303, f"/sign-in?next={back}")
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/docs", "/studios", "/studiox/", "//evil.example", "//studio/", "/v1/session"]
)
def test_requests_from_other_sites_are_not_redirected_to_sign_in(
    client: TestClient, keys: KeyStore, path: str
) -> None:
    keys.add("anna")
    response = client.get(f"http://127.0.0.1:7860{path}", headers=VISIT, follow_redirects=False)
    assert response.status_code == 401


def test_programs_are_not_redirected_to_sign_in(client: TestClient, keys: KeyStore) -> None:
    keys.add("anna")
    assert client.get("/studio/", follow_redirects=False).status_code == 401
    assert client.get("/studio/", headers={"Accept": "application/json"}).status_code == 401
    assert client.post("/studio/", headers=VISIT, follow_redirects=False).status_code == 401


def test_a_401_to_a_page_opens_no_browser_dialog(client: TestClient, keys: KeyStore) -> None:
    keys.add("anna")

    def offers_basic(path: str, headers: dict[str, str]) -> bool:
        return "Basic" in client.get(path, headers=headers).headers["WWW-Authenticate"]

    assert offers_basic("/v1/jobs", {})
    assert offers_basic("/docs", VISIT | {"Sec-Fetch-Mode": "navigate"})
    assert not offers_basic("/v1/jobs", {"Sec-Fetch-Mode": "cors"})
    assert not offers_basic("/v1/jobs", {"Cookie": f"{SESSION_COOKIE}=old"})
    assert not offers_basic("/v1/session", {})


def test_static_files_are_not_rate_limited(open_service: Callable[..., QueueService]) -> None:
    service = open_service(requests_per_minute=2, web_ui=False)
    app = create_app(service, service.settings)
    app.mount("/studio", PlainTextResponse("a file"))
    parts = ("/studio/assets/a.js", "/studio/static/b.woff2", "/studio/safelight/c.js")
    anna = bearer(KeyStore(service.engine).add("anna"))
    with app_client(app) as client:
        assert {client.get(path).status_code for path in parts} == {401}
        assert {client.get(path, headers=anna).text for path in parts * 3} == {"a file"}
        counting = ("/studio/", "/studio/gradio_api/x", "/studio/assets")
        assert [client.get(path, headers=anna).status_code for path in counting] == [200, 200, 429]
        assert client.get(parts[0], headers=anna).status_code == 200
        assert client.post(parts[0], headers=anna).status_code == 429


@pytest.mark.parametrize(("studio", "leads"), [(True, "/studio/"), (False, "/docs")])
def test_the_root_redirects_to_the_studio(
    open_service: Callable[..., QueueService], monkeypatch: pytest.MonkeyPatch, studio: bool, leads: str
) -> None:
    monkeypatch.setattr(LazyUi, "start", lambda _: None)  # the web UI is not loaded for this
    service = open_service(web_ui=studio)
    with app_client(create_app(service, service.settings)) as client:
        response = client.get("/", headers=VISIT, follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, leads)
