from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.server.api.conftest import JobDriver
from tests.server.conftest import SOCKET, app_client

from safelight.jobs.job import Event, Job, Progress
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore


def webp(colour: str = "green") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "WEBP")
    return buffer.getvalue()


def read_stream(client: TestClient, job: Job, **query: Any) -> list[dict[str, str]]:
    """The events of a job as they arrived: fields by name."""
    answer = client.get(f"/v1/jobs/{job.id}/events", **query)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    blocks = [block.splitlines() for block in answer.text.strip().split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block) for block in blocks]


@contextmanager
def act_later(client: TestClient, *steps: Callable[[], Any]) -> Iterator[None]:
    """Take steps one after the other, once a client follows the job."""

    def take() -> None:
        _until(lambda: client.app.state.safelight.events._listeners)  # type: ignore[attr-defined]
        for step in steps:
            time.sleep(0.1)
            step()

    thread = threading.Thread(target=take)
    thread.start()
    yield
    thread.join()


def test_events_of_a_job_that_has_ended(client: TestClient, bench: JobDriver) -> None:
    job = bench.finish()
    events = read_stream(client, job)
    assert [json.loads(event["data"])["data"]["state"] for event in events] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert {event["event"] for event in events} == {"state"}
    for event in events:
        body = json.loads(event["data"])
        assert (body["id"], body["job_id"], body["kind"]) == (int(event["id"]), job.id, event["event"])


def test_events_after_one(client: TestClient, bench: JobDriver) -> None:
    job = bench.finish()
    ids = [event["id"] for event in read_stream(client, job)]
    assert [event["id"] for event in read_stream(client, job, params={"after": ids[0]})] == ids[1:]
    assert [event["id"] for event in read_stream(client, job, headers={"Last-Event-ID": ids[1]})] == ids[2:]
    assert read_stream(client, job, params={"after": 2**53}) == []
    for wrong in ("x", "-1", str(2**80)):
        assert client.get(f"/v1/jobs/{job.id}/events", params={"after": wrong}).status_code == 422


def test_events_come_as_they_happen(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    store = service.store
    with act_later(
        client,
        lambda: store.report(job, Progress(stage="first pass", step=1, steps=2, fraction=0.5), webp()),
        lambda: store.mark_cancelled(job),
    ):
        events = read_stream(client, job)
    assert [event["event"] for event in events] == ["state", "state", "progress", "preview", "state"]
    assert json.loads(events[2]["data"])["data"]["fraction"] == 0.5


def test_the_stream_sends_keep_alive_comments(
    client: TestClient, bench: JobDriver, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.02)
    job = bench.start()
    with act_later(client, lambda: time.sleep(0.2), lambda: service.store.mark_cancelled(job)):
        answer = client.get(f"/v1/jobs/{job.id}/events")
    assert answer.text.count(": ping") > 2
    assert "no-cache" in answer.headers["Cache-Control"]


def test_a_last_event_id_of_the_future_hides_no_event(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    """A client that claims to have seen later events still gets the job's end."""
    job = bench.start()
    with act_later(client, lambda: service.store.mark_cancelled(job)):
        events = read_stream(client, job, params={"after": 2**53})
    assert [json.loads(event["data"])["data"]["state"] for event in events] == ["cancelled"]


def test_previews(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    path = f"/v1/jobs/{job.id}/preview"
    missing = client.get(path)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "job.no_preview")
    service.store.report(job, Progress(stage="first pass"), webp())
    answer = client.get(path)
    assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == ("image/webp", "no-store")
    assert answer.content == webp()
    service.store.mark_cancelled(job)
    assert client.get(path).status_code == 404


def test_previews_blocked_by_the_policy_are_withheld(
    open_service: Callable[..., QueueService], nothing_goes: Path
) -> None:
    service = open_service(policy=str(nothing_goes))
    job = JobDriver(service).start()
    service.store.report(job, Progress(stage="first pass"), webp())
    with app_client(create_app(service, service.settings)) as client:
        assert client.get(f"/v1/jobs/{job.id}/preview").status_code == 404
        with (
            act_later(client, lambda: service.store.mark_cancelled(job)),
            client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws") as socket,
        ):
            kinds = [socket.receive_json()["kind"] for _ in range(4)]
        assert "preview" not in kinds


@pytest.fixture(scope="session")
def nothing_goes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "nothing-goes.toml"
    path.write_text(
        'name = "nothing-goes"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 0.0 }\n'
    )
    return path


def test_a_websocket_sends_events_and_previews(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    job = bench.start()
    service.store.report(job, Progress(stage="first pass"), webp())
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws") as socket:
        assert [socket.receive_json()["kind"] for _ in range(4)] == ["state", "state", "progress", "preview"]
        assert socket.receive_bytes() == webp()
        service.store.mark_cancelled(job)
        assert socket.receive_json()["data"] == {"state": "cancelled"}
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1000


def test_a_websocket_sends_previews_as_text_or_not_at_all(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    job = bench.start()
    service.store.report(job, Progress(stage="first pass"), webp())
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws?previews=base64") as socket:
        events = [socket.receive_json() for _ in range(4)]
        assert base64.b64decode(events[3]["data"]["image"]) == webp()
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws?previews=none&after=1") as socket:
        assert [socket.receive_json()["kind"] for _ in range(2)] == ["state", "progress"]
        service.store.mark_cancelled(job)
        assert socket.receive_json()["data"] == {"state": "cancelled"}


def test_a_websocket_accepts_signals(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws?after=2") as socket:
        for wrong in ("no JSON", "[]", "{}", '{"action": "dance"}', '{"action": null}', "[" * 20_000):
            socket.send_text(wrong)
            assert socket.receive_json()["error"]["code"] == "request.invalid"
        socket.send_bytes(b"\xff")
        assert socket.receive_json()["error"]["code"] == "request.invalid"
        socket.send_json({"action": "skip"})
        _until(lambda: service.store.signals([job.id]) == {job.id: "skip"})
        socket.send_json({"action": "cancel"})
        _until(lambda: service.store.signals([job.id]) == {job.id: "cancel"})
        service.store.mark_cancelled(job)
        assert socket.receive_json()["data"] == {"state": "cancelled"}
    assert '"event": "job.cancel"' in (service.settings.home / "audit.log").read_text()


def test_a_websocket_that_its_client_closes(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    job = bench.start()
    with client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws") as socket:
        socket.receive_json()
    assert service.store.get(job.id).state == "running"
    assert service.store.signals([job.id]) == {}
    _until(lambda: not client.app.state.safelight.events._listeners)  # type: ignore[attr-defined]


def test_a_websocket_on_a_job_of_another_owner(people: Callable[[str], TestClient], bench: JobDriver) -> None:
    job = bench.start("anna")
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        people("berta").websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws"),
    ):
        pass
    assert "404" in repr(refused.value) or refused.value.code == 1008
    with people("anna").websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws") as socket:
        assert socket.receive_json()["data"] == {"state": "queued"}


def _until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stream_that_its_client_leaves(client: TestClient, bench: JobDriver) -> None:
    job = bench.start()
    listeners = client.app.state.safelight.events._listeners  # type: ignore[attr-defined]

    async def leave() -> None:
        """Request the events as a server does, and disconnect after the first have arrived."""
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if b"running" in message.get("body", b""):
                assert job.id in listeners
                gone.set()

        scope = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "GET",
            "path": f"/v1/jobs/{job.id}/events",
            "raw_path": b"",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:7860")],
            "client": ("127.0.0.1", 50000),
            "state": {},
        }
        await asyncio.wait_for(client.app(scope, receive, send), 10)  # type: ignore[arg-type]

    client.portal.call(leave)  # type: ignore[union-attr]
    _until(lambda: not listeners)


def test_all_events_of_a_long_job(
    client: TestClient, bench: JobDriver, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store returns events page by page; clients get them all, of running and of ended jobs."""
    every, all_read = service.store.events, threading.Event()

    def few(after: int, job_id: str | None = None, **options: Any) -> list[Event]:
        page = every(after, job_id, **options) if job_id is None else every(after, job_id, 2)
        if job_id is not None and not page:
            all_read.set()
        return page

    def end() -> None:
        """End the job once its past events are read: only the states are kept of a job that has ended."""
        assert all_read.wait(10)
        service.store.mark_cancelled(job)

    monkeypatch.setattr(service.store, "events", few)
    job = bench.start()
    for step in range(8):
        service.store.report(job, Progress(stage="first pass", step=step, steps=8))
    with act_later(client, end):
        events = read_stream(client, job)
    assert [event["event"] for event in events] == ["state", "state", *["progress"] * 8, "state"]
    assert [event["event"] for event in read_stream(client, job)] == ["state"] * 3  # the rest at the end


def test_signals_over_a_websocket_are_limited_and_audited_once(
    open_service: Callable[..., QueueService], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_service(requests_per_minute=4)
    key = KeyStore(service.engine).add("anna")
    job = JobDriver(service).start("anna")
    app = create_app(service, service.settings)
    with (
        app_client(app, Authorization=f"Bearer {key}") as client,
        client.websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws?after={2**53}") as socket,
    ):
        for _ in range(5):
            socket.send_json({"action": "skip"})
        assert socket.receive_json()["error"]["code"] == "limit.rate"
    audit = (service.settings.home / "audit.log").read_text()
    assert audit.count('"event": "job.skip"') == 1


def test_revoking_a_key_ends_its_streams(
    people: Callable[[str], TestClient],
    bench: JobDriver,
    service: QueueService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("safelight.server.middleware.authentication.RECHECK_INTERVAL", 0.05)
    job = bench.start("anna")
    keys = KeyStore(service.engine)
    with people("anna").websocket_connect(f"{SOCKET}/v1/jobs/{job.id}/ws") as socket:
        assert socket.receive_json()["data"] == {"state": "queued"}
        assert socket.receive_json()["data"]["state"] == "running"
        time.sleep(0.2)  # a valid key is verified again and again, and the stream continues
        keys.revoke("anna")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1008
    with act_later(people("chief"), lambda: keys.revoke("chief")):
        assert [event["event"] for event in read_stream(people("chief"), job)] == ["state", "state"]
    assert service.store.get(job.id).state == "running"
    _until(lambda: not people("berta").app.state.safelight.events._listeners)  # type: ignore[attr-defined]


def test_streams_of_a_user_are_limited(
    people: Callable[[str], TestClient], bench: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = people("anna")
    monkeypatch.setattr(client.app.state.safelight.stream_quota, "_per_owner", 1)  # type: ignore[attr-defined]
    job = bench.start("anna")
    path = f"/v1/jobs/{job.id}"
    with client.websocket_connect(f"{SOCKET}{path}/ws") as socket:
        socket.receive_json()
        refused = client.get(f"{path}/events")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit.rate")
        assert people("anna").get(path).status_code == 200
        with people("chief").websocket_connect(f"{SOCKET}{path}/ws") as other:
            other.receive_json()
    with people("anna").websocket_connect(f"{SOCKET}{path}/ws") as socket:
        socket.receive_json()
