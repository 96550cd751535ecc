from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.filesystems import full_disk, small_disk
from tests.jobs.worker_processes import START_TIMEOUT, WorkerProcesses, run_workers, wait_for

from safelight.errors import JobEndedError, JobNotSkippableError
from safelight.gallery import Search
from safelight.jobs.job import PAUSED, JobKind, JobState, Signal, Submission
from safelight.jobs.payloads import ScanRequest, UpscaleRequest
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.stored_settings.runtime import RuntimeSettings


@pytest.fixture(scope="module")
def shared_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcesses]:
    """A queue that most tests here share, on a small disk where one can be mounted; use ``workers``."""
    home, beside = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("beside")
    with ExitStack() as stack:
        with suppress(pytest.skip.Exception):
            stack.enter_context(small_disk(home, 200))
        opened = stack.enter_context(run_workers(home, log=beside / "worker.log"))
        opened.environment["XDG_CACHE_HOME"] = str(beside)
        yield opened


@pytest.fixture
def workers(shared_workers: WorkerProcesses) -> WorkerProcesses:
    """The shared queue with one worker process, which each test leaves idle or ended."""
    if (process := shared_workers.workers.get("w")) is None or process.poll() is not None:
        shared_workers.start()
    return shared_workers


def wait_for_end(workers: WorkerProcesses, *job_ids: str) -> bool:
    return all(workers.state(job_id).final for job_id in job_ids)


def test_a_job_is_done_and_its_picture_is_in_the_gallery(workers: WorkerProcesses) -> None:
    job_id = workers.submit("a red apple", count=2, seed=7)
    wait_for(lambda: wait_for_end(workers, job_id))
    job = workers.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.worker == "w"
    assert job.result is not None
    first, second = job.result["pictures"]  # type: ignore[misc]
    assert (first["seed"], second["seed"]) == (7, 8)  # type: ignore[index, call-overload]
    data = workers.service.gallery.read(first["id"])  # type: ignore[index, call-overload, arg-type]
    assert data.startswith(b"\x89PNG")
    assert b"a red apple" in data


def test_the_same_job_gives_the_same_pictures(workers: WorkerProcesses) -> None:
    one = workers.submit(seed=3, count=2)
    wait_for(lambda: wait_for_end(workers, one))
    two = workers.submit(seed=4)  # not batched: batched images are the same only within a tolerance
    wait_for(lambda: wait_for_end(workers, two))
    assert workers.image_digests(one)[1] == workers.image_digests(two)[0]


def test_progress_and_previews_are_stored_while_it_runs(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=150)

    seen: list[bytes] = []

    def previewed() -> bool:
        seen.extend(filter(None, [workers.service.store.preview(job_id)]))
        return bool(seen)

    wait_for(previewed)
    progress = workers.job(job_id).progress
    assert progress is not None
    assert progress.stage == "first pass"
    assert 0 < progress.fraction < 1
    with Image.open(BytesIO(seen[0])) as preview:
        assert preview.format == "WEBP"
        preview.load()
    workers.service.store.send_signal(job_id, Signal.CANCEL)
    wait_for(lambda: wait_for_end(workers, job_id))


def test_cancelling_stops_within_a_step(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=1000)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    workers.service.store.send_signal(job_id, Signal.CANCEL)
    told = time.monotonic()
    wait_for(lambda: wait_for_end(workers, job_id))
    assert time.monotonic() - told < 5  # a tenth of a second for the signal and a step, on a busy machine
    job = workers.job(job_id)
    assert job.state is JobState.CANCELLED
    assert job.result == {"version": 2, "pictures": []}


def test_cancelling_keeps_finished_images(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=20, count=200)
    wait_for(lambda: (workers.job(job_id).progress or None) and workers.job(job_id).progress.picture > 0)  # type: ignore[union-attr]
    workers.service.store.send_signal(job_id, Signal.CANCEL)
    wait_for(lambda: wait_for_end(workers, job_id))
    assert workers.state(job_id) is JobState.CANCELLED
    assert len(workers.image_digests(job_id)) >= 1


def test_finishing_returns_the_partial_image(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=1000)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    workers.service.store.send_signal(job_id, Signal.FINISH)
    wait_for(lambda: wait_for_end(workers, job_id))
    assert workers.state(job_id) is JobState.SUCCEEDED
    assert len(workers.image_digests(job_id)) == 1


def test_skipping_continues_with_the_next_image(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=80, count=2, seed=20)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    workers.service.store.send_signal(job_id, Signal.SKIP)
    wait_for(lambda: wait_for_end(workers, job_id))
    job = workers.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert [picture["seed"] for picture in job.result["pictures"]] == [21]  # type: ignore[index, union-attr, call-overload]


def test_a_long_job_lets_other_owners_in(workers: WorkerProcesses) -> None:
    """However much its owner has queued: another owner's image starts within seconds, and the long job continues."""
    long = {"owner": "anna", "steps": 1000, "count": 1000, "width": 64, "height": 64}
    flood = [workers.submit(**long) for _ in range(20)]  # type: ignore[arg-type]
    wait_for(lambda: workers.has_begun_denoising(flood[0]))
    short, asked = workers.submit(owner="berta", steps=1, width=128, height=128), time.monotonic()
    assert (workers.job(short).position or 0) <= 20
    wait_for(lambda: wait_for_end(workers, short))
    assert time.monotonic() - asked < 15
    paused = workers.service.store.events(0, flood[0], limit=100_000)
    assert [event for event in paused if event.data.get("stage") == PAUSED]
    before = workers.job(flood[0]).progress
    assert before is not None
    wait_for(lambda: workers.job(flood[0]).progress.step > before.step)  # type: ignore[union-attr]
    job = workers.job(flood[0])
    assert (job.state, job.attempt, job.lost) == (JobState.RUNNING, 1, 0)
    for job_id in reversed(flood):
        workers.service.store.send_signal(job_id, Signal.CANCEL)
    wait_for(lambda: wait_for_end(workers, *flood))


def test_unused_checkpoints_are_unloaded_on_command(workers: WorkerProcesses) -> None:
    def loaded() -> list[str]:
        return [name for worker in workers.service.workers() for name in worker["checkpoints"]]

    before = workers.submit()
    wait_for(lambda: wait_for_end(workers, before) and loaded())
    workers.service.request_unload()
    wait_for(lambda: not loaded())
    again = workers.submit()
    wait_for(lambda: wait_for_end(workers, again))
    assert workers.image_digests(again) == workers.image_digests(before)


def test_a_checkpoint_is_loaded_and_unloaded_between_two_jobs(workers: WorkerProcesses) -> None:
    """And the images generated meanwhile are unchanged."""
    copy_starter(workers, "apples")

    def how() -> dict[str, Any]:
        (worker,) = workers.service.workers()
        return worker

    whole = workers.submit(steps=60)
    wait_for(lambda: wait_for_end(workers, whole))
    beside = workers.submit(steps=60)
    wait_for(lambda: workers.has_begun_denoising(beside))
    workers.service.request_load("apples")
    wait_for(lambda: how()["loading"] == "apples")
    assert (how()["state"], workers.state(beside)) == ("busy", JobState.RUNNING)
    wait_for(lambda: "apples" in how()["checkpoints"])
    assert workers.state(beside) is JobState.SUCCEEDED
    assert workers.image_digests(beside) == workers.image_digests(whole)
    wait_for(lambda: (how()["state"], how()["loading"]) == ("idle", None))
    assert how()["checkpoints"] == ["apples", "starter"]
    workers.service.request_unload("apples")
    wait_for(lambda: how()["checkpoints"] == ["starter"])


def test_a_checkpoint_that_cannot_be_loaded_is_reported(workers: WorkerProcesses) -> None:
    def error() -> dict[str, Any] | None:
        return workers.service.workers()[0]["last_error"]  # type: ignore[no-any-return]

    workers.service.request_load("nothing")
    wait_for(error)
    assert error() == error() | {"code": "checkpoint.missing", "checkpoint": "nothing"}  # type: ignore[operator]
    workers.service.request_load("starter")
    wait_for(lambda: error() is None)


def copy_starter(workers: WorkerProcesses, name: str) -> None:
    """Copy the starter under another name."""
    folder = workers.settings.home / "checkpoints" / name
    shutil.copytree(
        STARTER_PATH, folder, copy_function=lambda source, target: Path(target).symlink_to(source)
    )


def test_two_jobs_are_batched(workers: WorkerProcesses) -> None:
    jobs = [workers.submit(seed=seed, steps=30) for seed in range(2)]
    wait_for(lambda: wait_for_end(workers, *jobs))
    for job_id in jobs:
        entry = workers.service.gallery.find(job_id, 0)
        assert entry is not None
        assert entry.record is not None
        assert json.loads(entry.record)["batched"] is True


def small(colour: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_upscaling(workers: WorkerProcesses) -> None:
    job_id = workers.submit_request(JobKind.UPSCALE, UpscaleRequest(image=small(9), by=2))
    wait_for(lambda: wait_for_end(workers, job_id))
    assert workers.state(job_id) is JobState.SUCCEEDED
    entry = workers.service.gallery.find(job_id, 0)
    assert entry is not None
    assert (entry.width, entry.height) == (128, 96)


def test_a_cancelled_scan_keeps_its_verdicts(workers: WorkerProcesses) -> None:
    pictures = tuple(small(number % 256) for number in range(3000))
    job_id = workers.submit_request(JobKind.SCAN, ScanRequest(images=pictures))
    wait_for(lambda: (workers.job(job_id).progress or None) and workers.job(job_id).progress.fraction > 0)  # type: ignore[union-attr]
    with pytest.raises(JobNotSkippableError):
        workers.service.store.send_signal(job_id, Signal.SKIP)
    workers.service.store.send_signal(job_id, Signal.CANCEL)
    wait_for(lambda: wait_for_end(workers, job_id))
    job = workers.job(job_id)
    assert job.state is JobState.CANCELLED
    assert job.result is not None
    verdicts = job.result["verdicts"]
    assert isinstance(verdicts, list)
    assert 0 < len(verdicts) < len(pictures)


def test_a_job_that_runs_too_long_fails(workers: WorkerProcesses) -> None:
    request = {"prompt": "a cat", "steps": 1000, "seed": 1}
    job = workers.service.store.submit(
        Submission(kind=JobKind.GENERATE, request=request, checkpoint="starter", timeout=0.5)
    )
    wait_for(lambda: wait_for_end(workers, job.id))
    error = workers.job(job.id).error
    assert error is not None
    assert error.code == "job.timeout"


def test_a_changed_setting_has_an_effect_without_a_restart(workers: WorkerProcesses) -> None:
    runtime = RuntimeSettings(workers.service.engine, workers.service.settings)
    process = workers.workers["w"]
    runtime.change({"max_job_seconds": 0.05}, "anna")
    try:

        def is_effective() -> bool:  # the first job may start before the worker has read the change
            job_id = workers.submit(steps=100)
            wait_for(lambda: wait_for_end(workers, job_id))
            error = workers.job(job_id).error
            return error is not None and error.code == "job.timeout"

        wait_for(is_effective)
    finally:
        runtime.change({"max_job_seconds": None}, "anna")
    assert workers.workers["w"] is process


def test_a_worker_starts_no_job_while_the_queue_is_paused(workers: WorkerProcesses) -> None:
    workers.service.store.pause("anna")
    job_id = workers.submit()
    assert workers.state(job_id) is JobState.QUEUED
    workers.service.store.resume()
    wait_for(lambda: wait_for_end(workers, job_id))
    assert workers.state(job_id) is JobState.SUCCEEDED


def test_a_job_keeps_the_checkpoint_that_was_the_default_one(workers: WorkerProcesses) -> None:
    """However often the default changes while it waits."""
    workers.service.store.pause("anna")
    submission = Submission(
        kind=JobKind.GENERATE,
        request={"prompt": "x", "steps": 1, "seed": 1, "width": 64, "height": 64},
        checkpoint="nosuch",
    )
    job_id = workers.service.store.submit(submission).id
    workers.service.store.resume()
    wait_for(lambda: wait_for_end(workers, job_id))
    error = workers.job(job_id).error
    assert error is not None
    assert (error.code, error.field) == ("checkpoint.missing", "checkpoint")


def test_an_invalid_request_fails_and_the_worker_continues(workers: WorkerProcesses) -> None:
    bad, good = workers.submit(sampler="Nonsense"), workers.submit()
    wait_for(lambda: wait_for_end(workers, bad, good))
    error = workers.job(bad).error
    assert error is not None
    assert error.code == "sampler.unknown"
    assert workers.state(good) is JobState.SUCCEEDED
    assert workers.workers["w"].poll() is None


def test_a_locked_database_is_waited_for(workers: WorkerProcesses) -> None:
    """Another program holds the write lock during a generation: the result is written once it is released."""
    job_id = workers.submit(steps=40)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    other = sqlite3.connect(workers.settings.home / "safelight.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(6)
    assert workers.state(job_id) is JobState.RUNNING
    other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: wait_for_end(workers, job_id))
    assert workers.state(job_id) is JobState.SUCCEEDED
    assert len(workers.image_digests(job_id)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_worker_out_of_memory_fails_the_job_and_survives(workers: WorkerProcesses) -> None:
    """Its address space is limited so that a large image does not fit."""
    import resource

    process = workers.workers["w"]
    small = workers.submit()
    wait_for(lambda: wait_for_end(workers, small))
    used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * 4096
    unlimited = resource.prlimit(process.pid, resource.RLIMIT_AS)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (used + 300 * 2**20, unlimited[1]))
    try:
        large = workers.submit(width=2048, height=2048)
        wait_for(lambda: wait_for_end(workers, large))
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_AS, unlimited)
    after = workers.submit(seed=9)
    wait_for(lambda: wait_for_end(workers, after))
    error = workers.job(large).error
    assert error is not None
    assert error.code in ("memory.budget", "memory.exhausted")  # wherever it ran out
    assert workers.state(after) is JobState.SUCCEEDED, str(workers.job(after).error)[:2000]
    assert process.poll() is None


def test_a_full_disk_is_waited_for(workers: WorkerProcesses) -> None:
    """It is full when an image is written: nothing is lost or half written, and the job continues with free space."""
    home, log = workers.settings.home, workers.log
    if not home.is_mount():
        pytest.skip("no small disk can be mounted here")
    assert log is not None
    before = workers.submit(seed=1)
    wait_for(lambda: wait_for_end(workers, before))
    job_id = workers.submit(seed=2, steps=150)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    known = log.stat().st_size
    with full_disk(home):
        wait_for(lambda: b"the database cannot be used" in log.read_bytes()[known:])
        time.sleep(1.5)  # and it tries again
        assert workers.workers["w"].poll() is None
    wait_for(lambda: wait_for_end(workers, job_id))
    after = workers.submit(seed=3)
    wait_for(lambda: wait_for_end(workers, after))
    assert workers.state(job_id) is workers.state(after) is JobState.SUCCEEDED
    assert len(workers.image_digests(job_id)) == 1
    assert workers.job(job_id).lost == 0
    for entry in workers.service.gallery.search(Search()).entries:
        assert workers.service.gallery.read(entry.id).endswith(b"IEND\xaeB`\x82")
    assert not list((home / "gallery" / "coming").glob("*"))


def test_a_killed_worker_restarts_and_redoes_its_job(workers: WorkerProcesses) -> None:
    def files() -> int:
        return len(list((workers.settings.home / "gallery").rglob("*.png")))

    before = files()
    whole = workers.submit(seed=5, steps=30)
    wait_for(lambda: wait_for_end(workers, whole))
    interrupted = workers.submit(seed=5, steps=30, count=3)
    waiting = workers.submit(seed=6, width=96, height=96)  # does not fit beside the other
    wait_for(lambda: (found := workers.job(interrupted).progress) and found.picture == 1)
    workers.kill()
    assert workers.state(interrupted) is JobState.RUNNING
    workers.start()
    wait_for(lambda: wait_for_end(workers, interrupted, waiting))
    assert workers.job(interrupted).attempt == 2
    pictures = workers.image_digests(interrupted)
    assert pictures[0] == workers.image_digests(whole)[0]
    assert len(set(pictures)) == 3
    assert files() == before + 5


def test_a_stopped_worker_returns_its_job(workers: WorkerProcesses) -> None:
    job_id = workers.submit(steps=1000, count=5)
    wait_for(lambda: workers.has_begun_denoising(job_id))
    assert workers.terminate() == 0
    job = workers.job(job_id)
    assert (job.state, job.attempt, job.worker) == (JobState.QUEUED, 0, None)
    assert workers.service.workers() == []
    workers.service.store.send_signal(job_id, Signal.CANCEL)
    assert workers.state(job_id) is JobState.CANCELLED


@pytest.mark.slow
def test_a_stopping_worker_claims_no_jobs(tmp_path: Path) -> None:
    """While it waits for its job, all others stay in the queue; and the next worker runs them together."""
    with run_workers(tmp_path) as workers:
        workers.start()
        running = workers.submit(steps=1000)
        others = [workers.submit(seed=seed, steps=60, width=64, height=64) for seed in range(40)]
        wait_for(lambda: workers.has_begun_denoising(running))
        assert workers.terminate() == 0
        assert {workers.state(job_id) for job_id in others} == {JobState.QUEUED}
        workers.service.store.send_signal(running, Signal.CANCEL)
        workers.start()
        wait_for(lambda: len(workers.running()) > 2)
        for job_id in others[8:]:
            with suppress(JobEndedError):
                workers.service.store.send_signal(job_id, Signal.CANCEL)
        wait_for(lambda: wait_for_end(workers, *others))
        assert workers.state(others[0]) is JobState.SUCCEEDED


@pytest.mark.slow
def test_a_job_that_kills_workers_fails_alone(tmp_path: Path) -> None:
    """The others ran beside it once; then it runs alone, and fails after its third worker."""
    with run_workers(tmp_path) as workers:
        workers.start()
        killer = workers.submit(steps=1000)
        beside = [workers.submit(seed=seed, steps=40) for seed in range(2, 4)]
        wait_for(lambda: len(workers.running()) == 3)
        for attempt in range(1, 4):
            wait_for(lambda: workers.has_begun_denoising(killer) and workers.job(killer).attempt == attempt)  # noqa: B023
            workers.kill()
            workers.start()
        wait_for(lambda: wait_for_end(workers, killer, *beside))
        error = workers.job(killer).error
        assert error is not None
        assert error.code == "worker.lost"
        assert {workers.state(job_id) for job_id in beside} == {JobState.SUCCEEDED}


@contextmanager
def memory_group() -> Iterator[Path]:
    """A kernel control group, whose processes are killed when they exceed its memory limit."""
    group = Path("/sys/fs/cgroup/memory") / f"safelight-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"there are no control groups for memory here: {error}")
    try:
        yield group
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), 10.0)
        group.rmdir()


@pytest.mark.slow
def test_a_worker_that_the_kernel_kills_for_memory(tmp_path: Path) -> None:
    """The job that needs too much fails with a reason after its third worker; the others are done."""
    with memory_group() as group, run_workers(tmp_path) as workers:
        within = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
        workers.start("w", *within)
        small = workers.submit()
        wait_for(lambda: wait_for_end(workers, small))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        (group / "memory.limit_in_bytes").write_text(str(int(stat["total_rss"]) + 250 * 2**20))
        large, after = workers.submit(width=2048, height=2048), workers.submit(seed=9)
        for _ in range(3):
            assert workers.workers["w"].wait(START_TIMEOUT) == -signal.SIGKILL
            workers.start("w", *within)
        wait_for(lambda: wait_for_end(workers, large, after))
        error = workers.job(large).error
        assert error is not None
        assert error.code == "worker.lost"
        assert "more memory than there is" in error.hint
        assert workers.state(after) is JobState.SUCCEEDED
        workers.kill()
