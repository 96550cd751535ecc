"""A complete Safelight installation while parts of it are killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import START_TIMEOUT, ServeProcess, run_serve

TRIES = [{"X-Stainless-Retry-Count": str(tries)} for tries in range(2)]
"""The headers that OpenAI's client sends with its first attempt, and with its second."""


def check_all_done_once(studio: ServeProcess, job_ids: list[str]) -> None:
    """Assert that every job succeeded, and that each of its images is in the gallery once."""
    jobs = [studio.job(job_id) for job_id in job_ids]
    assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs), [job["error"] for job in jobs]
    named = [picture["id"] for job in jobs for picture in job["result"]["pictures"]]
    assert len(named) == len(set(named)) == len(jobs)
    found, after = [], None
    while True:
        page = studio.request(
            "GET", "/v1/gallery", params={"limit": 50} | ({"after": after} if after else {})
        )
        found += [entry["id"] for entry in page.json()["entries"]]
        if not (after := page.json()["next"]):
            break
    assert sorted(found) == sorted(named)
    files = [path.stem for path in (studio.home / "gallery").glob("[0-9]*/*/*/*")]  # images that are complete
    assert sorted(files) == sorted(named)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The database setting for an empty SQLite or PostgreSQL database."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""


@pytest.mark.slow
def test_everything_may_be_killed(tmp_path: Path, database: str) -> None:
    """A worker within a step, the API process, both at once."""
    with run_serve(tmp_path, database=database) as studio:
        jobs = [studio.submit(seed, steps=20) for seed in range(6)]
        wait_for(lambda: (studio.job(jobs[0])["progress"] or {}).get("step", 0) > 0, START_TIMEOUT)
        studio.kill("0")
        jobs += [studio.submit(seed) for seed in range(6, 9)]
        studio.kill("api")
        jobs += [studio.submit(seed) for seed in range(9, 12)]
        wait_for(lambda: studio.have_ended(jobs[0]), START_TIMEOUT)
        studio.kill("api", "0")
        wait_for(lambda: studio.have_ended(*jobs), START_TIMEOUT)
        check_all_done_once(studio, jobs)


@pytest.fixture(scope="module")
def shared_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with one worker that the tests of its ends share; use ``studio``."""
    with run_serve(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.fixture
def studio(shared_studio: ServeProcess) -> ServeProcess:
    """The shared server, running. A test may end it, and leaves no job that has not ended."""
    if shared_studio.process.poll() is not None:
        shared_studio.start()
    return shared_studio


def test_a_client_that_waits_while_the_server_dies_loses_only_the_response(studio: ServeProcess) -> None:
    """In all three API families: the job runs once, and a retry as clients send it returns its result.

    It is the first test with this server, since it looks at all jobs and at the whole gallery.
    """
    with ThreadPoolExecutor(3) as pool:
        ours = studio.submit(1, steps=60)
        drawing = {"prompt": "a red apple", "model": "starter", "size": "256x256", "n": 1}
        plain = {"prompt": "a red apple", "steps": 60, "seed": 3}
        waiting = [
            pool.submit(httpx2.request, method, studio.url + path, timeout=START_TIMEOUT, **given)
            for method, path, given in (
                ("GET", f"/v1/jobs/{ours}/events", {}),
                ("POST", "/v1/images/generations", {"json": drawing, "headers": TRIES[0]}),
                ("POST", "/sdapi/v1/txt2img", {"json": plain}),
            )
        ]
        wait_for(lambda: len(jobs_of(studio)) == 3, START_TIMEOUT)
        wait_for(lambda: (studio.job(ours)["progress"] or {}).get("step", 0) > 0, START_TIMEOUT)
        studio.kill("api")
        for answer in waiting:
            with pytest.raises(httpx2.TransportError):
                answer.result(START_TIMEOUT)
    assert studio.submit(1, steps=60) == ours
    again = studio.request("POST", "/v1/images/generations", json=drawing, headers=TRIES[1])
    assert again.status_code == 200, again.text
    assert len(again.json()["data"]) == 1
    jobs = [job["id"] for job in jobs_of(studio)]
    assert len(jobs) == 3
    wait_for(lambda: studio.have_ended(*jobs), START_TIMEOUT)
    check_all_done_once(studio, jobs)
    assert [studio.job(job_id)["attempt"] for job_id in jobs] == [1, 1, 1]


def jobs_of(studio: ServeProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = studio.request("GET", "/v1/jobs").json()["jobs"]
    return found


def test_shutdown_and_restart(studio: ServeProcess) -> None:
    """SIGTERM during a job: it shuts down cleanly, nothing is lost, and the rest is done after the next start."""
    jobs = [studio.submit(seed, steps=1000 if seed == 10 else 2) for seed in range(10, 13)]
    wait_for(lambda: (studio.job(jobs[0])["progress"] or {}).get("step", 0) > 0, START_TIMEOUT)
    children = psutil.Process(studio.process.pid).children()
    studio.process.send_signal(signal.SIGTERM)
    assert studio.process.wait(60) == 0
    assert not [child for child in children if child.is_running()]
    studio.start()
    assert studio.job(jobs[0])["state"] in ("queued", "running")
    assert studio.job(jobs[0])["attempt"] <= 1
    studio.request("DELETE", f"/v1/jobs/{jobs[0]}")
    wait_for(lambda: studio.have_ended(*jobs), START_TIMEOUT)
    assert [studio.job(job_id)["state"] for job_id in jobs] == ["cancelled", "succeeded", "succeeded"]


def test_children_exit_with_their_supervisor(studio: ServeProcess) -> None:
    wait_for(lambda: studio.child("api") and studio.child("0"), START_TIMEOUT)
    studio.request("GET", "/health/live")
    children = psutil.Process(studio.process.pid).children()
    studio.process.kill()
    studio.process.wait()
    wait_for(lambda: not any(child.is_running() for child in children), 60)


def test_a_port_in_use_ends_it_with_a_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "safelight", "serve", "--port", port]
        environment = os.environ | {"SAFELIGHT_HOME": str(tmp_path)}
        ended = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert b"server.port" in ended.stderr


Way = Callable[[ServeProcess], None]
KILL_API: Way = lambda studio: studio.kill("api")  # noqa: E731
KILL_FIRST: Way = lambda studio: studio.kill("0")  # noqa: E731
KILL_SECOND: Way = lambda studio: studio.kill("1")  # noqa: E731
KILL_ALL: Way = lambda studio: studio.kill_supervisor(supervisor_only=False)  # noqa: E731
WAYS: list[Way] = [
    KILL_API,
    KILL_FIRST,
    KILL_SECOND,
    lambda studio: studio.kill("0", "1"),
    lambda studio: studio.kill("api", "0"),
    lambda studio: studio.kill_supervisor(supervisor_only=True),
    KILL_ALL,
]
"""Processes that may be killed at any moment, whatever is running."""


def kill_while_working(
    studio: ServeProcess, count: int, ways: list[Way], seconds: float, lot: random.Random
) -> None:
    """Submit jobs, and kill processes again and again until all jobs have ended; each image exists once.

    Args:
        studio: The server whose processes are killed.
        count: The number of jobs.
        ways: What is killed, one after the other; each at a random moment after a further job has ended.
        seconds: The mean delay after that.
        lot: Chooses the jobs and the moments.
    """
    left, due = [studio.submit(number, steps=lot.choice([2, 2, 20])) for number in range(count)], float("inf")
    jobs, kills = left, 0
    while left:
        looked_at = left[:10]  # they end in roughly this order
        still = [job_id for job_id in looked_at if not studio.have_ended(job_id)]
        if len(still) < len(looked_at):
            due = min(due, time.monotonic() + lot.uniform(0.0, 2 * seconds))
        left = still + left[10:]
        if kills < len(ways) and time.monotonic() > due:
            ways[kills](studio)
            kills += 1
            due = float("inf")
        time.sleep(0.1)
    assert kills > 0
    check_all_done_once(studio, jobs)


INNOCENT = {"SAFELIGHT_MAX_ATTEMPTS": "1000"}
"""An attempt that is lost here is not lost through its job's fault."""


def test_twelve_jobs_while_processes_are_killed(tmp_path: Path, database: str) -> None:
    """With one worker, and with two of which one is killed."""
    workers, ways = (2, [KILL_API, KILL_SECOND]) if database else (1, [KILL_ALL, KILL_API, KILL_FIRST])
    with run_serve(tmp_path, workers=workers, database=database, **INNOCENT) as studio:
        kill_while_working(studio, count=12, ways=ways, seconds=0.3, lot=random.Random(4))
    made = [path for path in tmp_path.rglob("*") if path.name != "server.log" and not path.is_symlink()]
    assert [path for path in made if path.lstat().st_mode & 0o077] == []  # nobody else may read the files


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_jobs_while_processes_are_killed(tmp_path: Path, database: str) -> None:
    lot = random.Random(4)
    ways = [way for _ in range(6) for way in lot.sample(WAYS, len(WAYS))][:40]
    with run_serve(tmp_path, workers=2, database=database, **INNOCENT) as studio:
        kill_while_working(studio, count=100, ways=ways, seconds=2.0, lot=lot)
