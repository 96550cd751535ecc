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
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from tests.server.api.conftest import GENERATE_REQUEST, JobDriver
from tests.server.conftest import SOCKET, app_client

from safelight.errors import DatabaseBusyError, DatabaseError
from safelight.jobs.job import Job, Progress, Signal
from safelight.jobs.queue_service import QueueService
from safelight.server.api.native.live import send_updates
from safelight.server.app import create_app
from safelight.server.core.events.coalescing_queue import CoalescingQueue
from safelight.server.core.events.previews import load_preview
from safelight.server.security.keys import KeyStore

URL = f"{SOCKET}/v1/live"
HALF = Progress(stage="first pass", step=1, steps=2, picture=1, pictures=3, fraction=0.5)


def webp(colour: str = "green") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "WEBP")
    return buffer.getvalue()


class SocketReader:
    """Reads the messages of a WebSocket."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    def until(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The next message of a type, with some fields; earlier messages are kept."""
        while True:
            message = self.socket.receive_json()
            self.heard.append(message)
            job = message.get("job", {})
            if message["type"] == kind and all(
                wanted[key] == job.get(key, message.get(key)) for key in wanted
            ):
                return dict(message)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.heard]


@contextmanager
def listening(client: TestClient) -> Iterator[SocketReader]:
    with client.websocket_connect(URL) as socket:
        yield SocketReader(socket)


def hello(listener: SocketReader) -> dict[str, Any]:
    message = listener.socket.receive_json()
    assert message["type"] == "hello"
    return dict(message)


def listeners(client: TestClient) -> Any:
    return client.app.state.safelight.events._listeners  # type: ignore[attr-defined]


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_hello_has_the_owners_jobs(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    ended = bench.finish()
    running = bench.start()
    queued = bench.submit()
    with listening(client) as listener:
        said = hello(listener)
    assert [job["id"] for job in said["jobs"]] == [queued.id, running.id, ended.id]
    assert [job["state"] for job in said["jobs"]] == ["queued", "running", "succeeded"]
    assert said["jobs"][2] == client.get(f"/v1/jobs/{ended.id}").json()
    assert said["jobs"][2]["result"]["pictures"]
    assert said["jobs"][0]["position"] == 1
    assert said["last_event"] == service.store.last_event()


def test_hello_has_the_latest_ended_jobs(
    client: TestClient, bench: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.core.events.broadcaster.MAX_ENDED", 2)
    jobs = [bench.finish("local", {"number": number}) for number in (1, 2, 3)]
    with listening(client) as listener:
        assert [job["id"] for job in hello(listener)["jobs"]] == [jobs[2].id, jobs[1].id]


def test_hello_has_all_running_jobs(
    client: TestClient, bench: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many newer jobs wait."""
    monkeypatch.setattr("safelight.server.core.events.broadcaster.MAX_WAITING", 2)
    running = bench.start()
    queued = [bench.submit() for _ in range(3)]
    with listening(client) as listener:
        told = hello(listener)["jobs"]
    assert [job["id"] for job in told] == [queued[2].id, queued[1].id, running.id]


def test_hello_is_bounded(client: TestClient, bench: JobDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.server.core.events.broadcaster.MAX_CHARACTERS", 30)
    bench.submit()
    bench.submit()
    with listening(client) as listener:
        told = hello(listener)["jobs"]
    assert sorted(len(job["request"]) for job in told) == [0, 1]


def test_a_job_from_its_submission_to_its_end(
    client: TestClient, bench: JobDriver, service: QueueService
) -> None:
    with listening(client) as listener:
        assert hello(listener)["jobs"] == []
        submitted = client.post("/v1/jobs", json=GENERATE_REQUEST).json()
        assert listener.until("job", state="queued")["job"]["request"] == submitted["request"]
        job = service.store.claim("bench")
        assert job is not None
        assert listener.until("job", state="running")["job"]["worker"] == "bench"
        service.store.report(job, HALF, webp())
        progress = listener.until("progress")
        assert (progress["id"], progress["progress"]) == (job.id, HALF.model_dump())
        assert "eta" in progress
        preview = listener.until("preview")
        assert (preview["id"], preview["picture"]) == (job.id, 1)
        assert base64.b64decode(preview["image"]) == webp()
        service.store.succeed(job, {"pictures": []}, 1.0)
        assert listener.until("job", state="succeeded")["job"]["result"] == {"pictures": []}
    assert listener.kinds().count("job") == 3


def test_nothing_is_sent_twice(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    """The contents of hello are not sent again, though the running job's owner was unknown before."""
    job = bench.start()
    with listening(client) as listener:
        hello(listener)
        service.store.report(job, HALF)
        listener.until("progress")
        service.store.mark_cancelled(job)
        listener.until("job", state="cancelled")
    assert listener.kinds().count("job") == 1


def test_queue_positions_are_updated(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    first, second = bench.submit(), bench.submit()
    with listening(client) as listener:
        hello(listener)
        assert listener.until("queue")["positions"] == {first.id: 1, second.id: 2}
        began = time.monotonic()
        service.store.claim("bench")
        queue = listener.until("queue", positions={second.id: 1})
        assert queue["etas"] == {}
        assert time.monotonic() - began < 3
        service.store.send_signal(second.id, Signal.CANCEL)
        listener.until("queue", positions={})


def test_etas_of_known_jobs(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    bench.finish()
    job = bench.start()
    with listening(client) as listener:
        assert hello(listener)["jobs"][0]["eta"] <= 1.0
        etas = listener.until("queue")["etas"]
        assert list(etas) == [job.id]
        service.store.report(job, HALF)
        assert 0 <= listener.until("progress")["eta"] <= 1.0


def test_signals(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    queued = bench.submit()
    wrong = (
        "no JSON",
        "[]",
        "{}",
        json.dumps({"action": "dance", "id": job.id}),
        json.dumps({"action": "cancel"}),
        json.dumps({"action": "cancel", "id": "x"}),
        json.dumps({"action": "cancel", "id": job.id, "more": 1}),
        "[" * 20_000,
    )
    with listening(client) as listener:
        hello(listener)
        for text in wrong:
            listener.socket.send_text(text)
            assert listener.until("error")["error"]["code"] == "request.invalid"
        listener.socket.send_bytes(b"\xff")
        assert listener.until("error")["error"]["code"] == "request.invalid"
        listener.socket.send_json({"action": "cancel", "id": "0" * 27})
        assert listener.until("error")["error"]["code"] == "job.missing"
        listener.socket.send_json({"action": "skip", "id": job.id})
        until(lambda: service.store.signals([job.id]) == {job.id: "skip"})
        listener.socket.send_json({"action": "cancel", "id": queued.id})
        assert listener.until("job", state="cancelled")["job"]["id"] == queued.id
    assert '"event": "job.cancel"' in (service.settings.home / "audit.log").read_text()


def test_each_user_gets_their_own_jobs(
    people: Callable[[str], TestClient], bench: JobDriver, service: QueueService
) -> None:
    hers, others = bench.start("anna"), bench.submit("berta")
    with listening(people("anna")) as anna, listening(people("chief")) as chief:
        assert [job["id"] for job in hello(anna)["jobs"]] == [hers.id]
        assert {job["id"] for job in hello(chief)["jobs"]} == {hers.id, others.id}
        anna.socket.send_json({"action": "cancel", "id": others.id})
        assert anna.until("error")["error"]["code"] == "job.missing"
        service.store.send_signal(others.id, Signal.CANCEL)
        assert chief.until("job")["job"]["id"] == others.id
        service.store.report(hers, HALF, webp())
        service.store.mark_cancelled(hers)
        assert anna.until("job")["job"]["id"] == hers.id
        chief.until("job", state="cancelled", id=hers.id)
    assert others.id not in json.dumps([told for told in anna.heard if told["type"] != "error"])


def test_previews_pass_the_policy(open_service: Callable[..., QueueService], tmp_path: Path) -> None:
    policy = tmp_path / "nothing-goes.toml"
    policy.write_text(
        'name = "nothing-goes"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 0.0 }\n'
    )
    service = open_service(policy=str(policy))
    job = JobDriver(service).start()
    with app_client(create_app(service, service.settings)) as client, listening(client) as listener:
        hello(listener)
        service.store.report(job, HALF, webp())
        listener.until("progress")
        time.sleep(1)
        service.store.mark_cancelled(job)
        listener.until("job", state="cancelled")
    assert "preview" not in listener.kinds()


def test_large_fields_of_a_job_are_left_out(
    client: TestClient, bench: JobDriver, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.core.events.broadcaster.MAX_JOB_CHARACTERS", 1000)
    job = bench.start()
    with listening(client) as listener:
        hello(listener)
        service.store.succeed(job, {"pictures": ["x" * 1000]}, 1.0)
        told = listener.until("job", state="succeeded")["job"]
    assert (told["result"], told["request"]) == (None, {"prompt": "a lighthouse"})


def test_jobs_are_serialised_in_a_thread_and_only_for_their_owner(
    people: Callable[[str], TestClient], bench: JobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serialising large ones would block the event loop."""
    written: list[tuple[str, str]] = []
    write = Job.model_dump_json

    def noted(job: Job) -> str:
        written.append((job.owner, threading.current_thread().name.partition("_")[0]))
        return write(job)

    monkeypatch.setattr(Job, "model_dump_json", noted)
    with listening(people("anna")) as anna:
        hello(anna)
        bench.submit("berta")
        bench.submit("anna")
        anna.until("job", owner="anna")
    assert set(written) == {("anna", "others")}


def test_progress_is_rate_limited(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    with listening(client) as listener:
        hello(listener)
        began = time.monotonic()
        for step in range(60):
            service.store.report(job, Progress(stage="first pass", step=step, steps=60))
        service.store.mark_cancelled(job)
        listener.until("job", state="cancelled")
    told = [message["progress"]["step"] for message in listener.heard if message["type"] == "progress"]
    assert told == sorted(told)
    assert len(told) <= (time.monotonic() - began) / 0.1 + 1


def test_a_client_that_disconnects(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    job = bench.start()
    for _ in range(2):  # and may reconnect
        with listening(client) as listener:
            assert len(hello(listener)["jobs"]) == 1
    until(lambda: not listeners(client))
    assert service.store.get(job.id).state == "running"


def test_it_counts_as_a_stream(people: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch) -> None:
    client = people("anna")
    monkeypatch.setattr(client.app.state.safelight.stream_quota, "_per_owner", 1)  # type: ignore[attr-defined]
    with listening(client) as listener:
        hello(listener)
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(URL):
            pass
        assert "429" in repr(refused.value) or refused.value.code == 1008
    with listening(people("anna")) as listener:
        hello(listener)


def test_revoking_a_key_ends_it(
    people: Callable[[str], TestClient], service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.middleware.authentication.RECHECK_INTERVAL", 0.05)
    with listening(people("anna")) as listener:
        hello(listener)
        KeyStore(service.engine).revoke("anna")
        with pytest.raises(WebSocketDisconnect) as closed:
            listener.until("job")
        assert closed.value.code == 1008


def test_an_outage_is_survived(
    client: TestClient, bench: JobDriver, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    several, failures = service.store.find_many, []

    def fail(*given: Any) -> list[Job]:
        if len(failures) < 2:
            failures.append(given)
            raise DatabaseBusyError
        return several(*given)

    monkeypatch.setattr("safelight.server.core.events.broadcaster.RETRY_INTERVAL", 0.05)
    monkeypatch.setattr(service.store, "find_many", fail)
    with listening(client) as listener:
        hello(listener)
        job = bench.submit()
        assert listener.until("job")["job"]["id"] == job.id
    assert len(failures) == 2


def defects(logged: Callable[[], list[dict[str, Any]]]) -> list[str]:
    return [line["exception"].splitlines()[-1] for line in logged() if line["event"] == "a defect"]


def test_a_defect_is_survived(
    client: TestClient,
    bench: JobDriver,
    service: QueueService,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    """It closes no connection, it is logged, and clients that missed messages get a new hello."""
    several, failures = service.store.find_many, []

    def fail(*given: Any) -> list[Job]:
        if not failures:
            failures.append(given)
            raise RuntimeError("surprising")
        return several(*given)

    monkeypatch.setattr(service.store, "find_many", fail)
    with listening(client) as listener:
        hello(listener)
        job = bench.submit()
        assert [told["id"] for told in listener.until("hello")["jobs"]] == [job.id]
        service.store.send_signal(job.id, Signal.CANCEL)
        listener.until("job", id=job.id, state="cancelled")
    assert defects(logged) == ["RuntimeError: surprising"]


def test_a_failing_preview_ends_nothing(
    client: TestClient,
    bench: JobDriver,
    service: QueueService,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    failures = []

    async def fail(*given: Any) -> bytes | None:
        if not failures:
            failures.append(given)
            raise RuntimeError("surprising")
        return await load_preview(*given)

    monkeypatch.setattr("safelight.server.core.events.broadcaster.load_preview", fail)
    job = bench.start()
    with listening(client) as listener:
        hello(listener)
        service.store.report(job, HALF, webp())
        until(lambda: failures)
        service.store.report(job, HALF, webp("red"))
        assert base64.b64decode(listener.until("preview")["image"]) == webp("red")
    assert defects(logged) == ["RuntimeError: surprising"]


def test_a_database_outage_at_the_start_is_reported(
    client: TestClient, bench: JobDriver, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client waits for ever; one that connects after the outage gets everything."""
    last_event, away = service.store.last_event, [True]

    def fail() -> int:
        if away:
            raise DatabaseBusyError
        return last_event()

    monkeypatch.setattr(service.store, "last_event", fail)
    monkeypatch.setattr("safelight.server.core.events.broadcaster.START_TIMEOUT", 0.2)
    with listening(client) as listener:
        assert listener.until("error")["error"]["code"] == DatabaseError.code
        with pytest.raises(WebSocketDisconnect) as closed:
            listener.socket.receive_json()
        assert closed.value.code == 1011
    monkeypatch.setattr("safelight.server.core.events.broadcaster.START_TIMEOUT", 30.0)
    away.clear()
    job = bench.submit()
    with listening(client) as listener:
        assert [told["id"] for told in hello(listener)["jobs"]] == [job.id]


def test_a_lasting_database_outage_closes_it(
    client: TestClient, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> list[Job]:
        raise DatabaseBusyError

    monkeypatch.setattr(service.store, "overview", fail)
    with listening(client) as listener:
        assert listener.until("error")["error"]["code"] == DatabaseBusyError.code
        with pytest.raises(WebSocketDisconnect) as closed:
            listener.socket.receive_json()
        assert closed.value.code == 1011


class StuckSocket:
    """A WebSocket whose client reads nothing until it is released."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent: list[str] = []

    async def send_text(self, text: str) -> None:
        self.sent.append(text)
        await self.reads.wait()


class Hub:
    """A broadcaster that sends hello and nothing else."""

    async def snapshot(self, queue: CoalescingQueue) -> str:
        queue.reset()
        return "hello"


def test_a_slow_reader_uses_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest unread messages are kept, up to a limit; beyond it the client gets a new hello."""
    monkeypatch.setattr("safelight.server.core.events.coalescing_queue.MAX_CHARACTERS", 1000)

    async def run() -> None:
        socket, queue = StuckSocket(), CoalescingQueue(None)
        task = asyncio.create_task(send_updates(socket, Hub(), queue))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        for number in range(10_000):
            queue.put("progress", "job", f"{number:0100}")
        assert queue._size == 100
        for number in range(10_000):
            queue.put("progress", f"job {number}", f"{number:0100}")
            assert queue._size <= 1000
            assert len(queue._waiting) <= 10
        assert queue.overflowed
        socket.reads.set()
        while socket.sent.count("hello") < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        assert socket.sent[0] == "hello"
        assert len(socket.sent) <= 12

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_pause_is_sent_while_nothing_else_happens(client: TestClient, service: QueueService) -> None:
    """By another process as well: it is read from the database."""
    with listening(client) as listener:
        assert hello(listener)["paused"] is False
        listener.until("queue", paused=False)
        service.store.pause("anna")
        listener.until("queue", paused=True)
        with listening(client) as second:
            assert hello(second)["paused"] is True
        service.store.resume()
        listener.until("queue", paused=False)


def test_a_move_sends_new_positions(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    first, second = bench.submit(), bench.submit()
    with listening(client) as listener:
        hello(listener)
        listener.until("queue", positions={first.id: 1, second.id: 2})
        service.store.move(second.id, first.id)
        listener.until("queue", positions={second.id: 1, first.id: 2})


def test_cleared_jobs_are_in_no_snapshot(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    ended = bench.finish()
    with listening(client) as listener:
        assert [job["id"] for job in hello(listener)["jobs"]] == [ended.id]
        service.store.clear_ended("local")
        assert listener.until("hello")["jobs"] == []
