"""Parts of a worker whose effects its process shows too late or too seldom; no job is run here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.store_helpers import submission
from tests.times import seconds_ago

from safelight.errors import DatabaseBusyError, DeviceBrokenError
from safelight.jobs.channels import Channel
from safelight.jobs.job import Job, JobKind, JobState, Signal
from safelight.jobs.queue.claims import LEASE_SECONDS
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.jobs.worker import heartbeat as heartbeat_module
from safelight.jobs.worker import maintenance as sweeping_module
from safelight.jobs.worker import process as worker_module
from safelight.jobs.worker.execution import JobRunner
from safelight.jobs.worker.maintenance import ClockMonitor
from safelight.jobs.worker.process import Worker
from safelight.jobs.worker.running_job import RunningJob
from safelight.settings import Settings
from safelight.studio import Studio


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    made = Worker(settings, "w")
    yield made
    made.close()


def submit(worker: Worker, count: int) -> None:
    for _ in range(count):
        worker._store.submit(submission())


def claim_job(worker: Worker) -> RunningJob:
    job = worker._store.claim("w")
    assert job is not None
    running = RunningJob(job, worker._store)
    worker._running_jobs.add(running)
    return running


@contextmanager
def run_claim_loop(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RunningJob]]:
    """Run the worker's claim loop; its running jobs are in a list and end when they are stopped."""
    running: list[RunningJob] = []

    def run(_: JobRunner, each: RunningJob) -> None:
        running.append(each)
        while not each.should_stop():
            time.sleep(0.005)
        each.interrupted = True
        worker._job_runner.finish(each, {})
        worker._running_jobs.remove(each)

    monkeypatch.setattr(JobRunner, "run", run)
    worker._claim_loop.start()
    try:
        yield running
    finally:
        worker._claim_loop.stop(30)
        for each in worker._running_jobs.jobs:
            each.worker_stopping = True
        wait_until(lambda: not worker._running_jobs.jobs)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_as_many_jobs_as_fit_are_started(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one as soon as one has ended, without another notification."""
    places = worker._running_jobs.slots
    submit(worker, places + 5)
    with run_claim_loop(worker, monkeypatch) as running:
        worker._claim_loop.notify()
        wait_until(lambda: len(running) == places)
        time.sleep(0.05)
        assert len(running) == places
        running[0].signal = Signal.CANCEL
        wait_until(lambda: len(running) == places + 1)


def test_a_submitted_job_wakes_an_idle_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it would poll."""
    monkeypatch.setattr("safelight.database.notifications.FALLBACK_INTERVAL", 1000.0)
    monkeypatch.setattr(sweeping_module, "RECLAIM_INTERVAL", 1000.0)
    monkeypatch.setattr(Studio, "preload", lambda *_: None)
    monkeypatch.setattr(worker_module, "describe_worker", lambda _: {"device": "cpu"})
    monkeypatch.setattr(QueueService, "close", lambda _: None)
    ended: list[RunningJob] = []

    def run(execution: JobRunner, running: RunningJob) -> None:
        ended.append(running)
        execution._running_jobs.remove(running)

    monkeypatch.setattr(JobRunner, "run", run)
    process = threading.Thread(target=worker.run)
    process.start()
    wait_until(lambda: worker._state == "idle")
    time.sleep(0.3)  # it has polled everything
    submit(worker, 1)
    wait_until(lambda: ended)
    worker.stop()
    process.join(10)
    assert not process.is_alive()


def test_a_running_job_gets_its_signal_at_once(worker: Worker) -> None:
    submit(worker, 1)
    running = claim_job(worker)
    worker._listener.wait(0.0)
    worker._store.send_signal(running.job.id, Signal.FINISH)
    changed = worker._listener.wait(2.0)
    assert Channel.COMMANDS in changed
    worker._handle_notifications(changed)
    assert running.signal is Signal.FINISH


def test_a_defect_does_not_end_the_claim_loop(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, failed = JobStore.claim, threading.Event()

    def fails_once(*args: Any, **options: Any) -> Job | None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a surprise")
        return claim(*args, **options)

    monkeypatch.setattr(JobStore, "claim", fails_once)
    monkeypatch.setattr("safelight.jobs.worker.claim_loop.POLL_INTERVAL", 0.01)
    submit(worker, 1)
    with run_claim_loop(worker, monkeypatch) as running:
        worker._claim_loop.notify()
        wait_until(lambda: running)
    assert failed.is_set()


def test_a_locked_database_is_waited_for(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, tried = JobStore.claim, []

    def locked_once(*args: Any, **options: Any) -> Job | None:
        tried.append(None)
        if len(tried) == 1:
            raise DatabaseBusyError
        return claim(*args, **options)

    monkeypatch.setattr(JobStore, "claim", locked_once)
    monkeypatch.setattr("safelight.jobs.retry.RETRY_INTERVAL", 0.01)
    submit(worker, 1)
    assert worker._claim_loop.claim() is not None


def test_a_locked_database_does_not_prevent_the_start(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    loaded: list[Studio] = []

    def locked(_: QueueService, name: str, _description: object) -> None:
        tried.append(name)
        raise DatabaseBusyError

    monkeypatch.setattr(QueueService, "register_worker", locked)
    monkeypatch.setattr(Studio, "preload", lambda studio: loaded.append(studio))
    monkeypatch.setattr(worker_module, "describe_worker", lambda _: {"device": "cpu"})
    worker._warm_up()
    assert "w" in tried
    assert len(loaded) == 1
    described = worker._describe()
    assert (described["device"], described["state"]) == ("cpu", "idle")


def test_a_slow_start_is_not_lost(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a large checkpoint takes minutes, and a worker without a heartbeat for twenty seconds is not listed."""
    seen: list[tuple[str, float]] = []

    def slow(*_: object) -> None:
        deadline = time.monotonic() + 30
        while len(set(seen)) < 3 and time.monotonic() < deadline:
            seen.extend((each["state"], each["seen"]) for each in worker._service.workers())
            time.sleep(0.01)

    monkeypatch.setattr(heartbeat_module, "HEARTBEAT_INTERVAL", 0.02)
    monkeypatch.setattr(worker_module, "describe_worker", lambda _: {"device": "cpu"})
    monkeypatch.setattr(Studio, "preload", slow)
    worker._heartbeat.start()
    worker._warm_up()
    worker._heartbeat.stop()
    assert len(set(seen)) >= 3
    assert {state for state, _ in seen} == {"starting"}
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_a_heartbeat_that_cannot_be_written_is_retried(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, tried = JobStore.renew, []

    def locked_once(*args: Any) -> Any:
        tried.append(None)
        if len(tried) == 1:
            raise DatabaseBusyError
        return renew(*args)

    monkeypatch.setattr(JobStore, "renew", locked_once)
    monkeypatch.setattr(heartbeat_module, "RETRY_INTERVAL", 0.01)
    worker._heartbeat.start()
    wait_until(worker._service.workers)
    worker._heartbeat.stop()
    assert len(tried) == 2


def test_a_worker_whose_name_another_process_has_stops(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    worker = Worker(settings, "w", lambda: False)
    assert not worker._heartbeat.beat()
    assert worker.replaced
    assert worker._claim_loop.stopping
    assert worker._service.workers() == []
    worker.close()


class FakeResidentCheckpoints:
    """Stands for the studio's checkpoint cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[str] = []
        monkeypatch.setattr(Studio, "preload", lambda _, name: self.loaded.append(name))


def heard(worker: Worker, checkpoint: str) -> None:
    worker._service.request_load(checkpoint)
    worker._residency.read_commands()


def test_a_load_command_is_done_before_the_next_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = FakeResidentCheckpoints(monkeypatch)
    submit(worker, 2)
    first = claim_job(worker)
    heard(worker, "apples")
    entering: list[RunningJob | None] = []
    entering.append(worker._claim_loop.claim())
    assert (shelf.loaded, entering) == ([], [None])  # the first job is not interrupted
    worker._running_jobs.remove(first)
    entering.append(worker._claim_loop.claim())
    assert shelf.loaded == ["apples"]
    assert entering[1] is not None


def test_the_next_job_does_not_wait_for_a_satisfied_command(worker: Worker) -> None:
    submit(worker, 2)
    first = claim_job(worker)
    worker._service.request_unload("apples")
    worker._residency.read_commands()
    assert worker._claim_loop.claim() is not None
    worker._running_jobs.remove(first)


def test_a_checkpoint_in_use_is_unloaded_after_its_job(worker: Worker) -> None:
    """Also while it is not in memory yet."""
    for named in ({}, {"checkpoint": "mine/own"}):
        worker._store.submit(submission(request={"prompt": "a cat", **named}))
        running = claim_job(worker)
        used = named.get("checkpoint", worker.settings.checkpoint)
        for name, waits in (("apples", False), (used, True), (None, True)):
            worker._service.request_unload(name)
            worker._residency.read_commands()
            assert bool(worker._residency.pending) is waits, name
        worker._running_jobs.remove(running)
        worker._residency.read_commands()
        assert worker._residency.pending == []
        assert worker._store.mark_cancelled(running.job, None)


def test_jobs_without_generation_use_no_checkpoint(worker: Worker) -> None:
    worker._store.submit(submission(kind=JobKind.SCAN, request={"images": []}))
    claim_job(worker)
    worker._service.request_unload()
    worker._residency.read_commands()
    assert worker._residency.pending == []


def test_an_idle_worker_obeys_a_command_at_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = FakeResidentCheckpoints(monkeypatch)
    with run_claim_loop(worker, monkeypatch):
        worker._listener.wait(0.0)
        worker._service.request_load("apples")
        worker._handle_notifications(worker._listener.wait(2.0))
        wait_until(lambda: shelf.loaded and not worker._residency.pending)
    assert shelf.loaded == ["apples"]


def test_a_stopping_worker_loads_nothing_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = FakeResidentCheckpoints(monkeypatch)
    heard(worker, "apples")
    worker.stop()
    worker._claim_loop.claim()
    assert shelf.loaded == []


def test_its_state_is_registered(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def states() -> list[tuple[str, str | None]]:
        return [(each["state"], each["loading"]) for each in worker._service.workers()]

    seen = []
    monkeypatch.setattr(worker_module, "describe_worker", lambda _: {"device": "cpu", "why": "Because."})
    monkeypatch.setattr(Studio, "preload", lambda *_: seen.append(states()))
    worker._warm_up()
    assert seen.pop() == [("starting", None)]
    assert states() == [("idle", None)]
    submit(worker, 1)
    running = claim_job(worker)
    heard(worker, "apples")
    assert states() == [("busy", "apples")]
    worker._running_jobs.remove(running)
    worker._claim_loop.claim()
    assert seen == [[("loading", "apples")]]
    assert states() == [("idle", None)]
    (told,) = worker._service.workers()
    assert (told["device"], told["why"], told["last_error"]) == ("cpu", "Because.", None)


def test_its_own_jobs_are_not_requeued(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(worker, 1)
    running = claim_job(worker)
    monkeypatch.setattr("safelight.jobs.queue.claims.now", lambda _: seconds_ago(-10 * LEASE_SECONDS))
    worker._maintenance.reclaim_lost_jobs()
    assert worker._store.get(running.job.id).state is JobState.RUNNING
    worker._running_jobs.remove(running)
    worker._maintenance.reclaim_lost_jobs()
    assert worker._store.get(running.job.id).state is JobState.QUEUED


@pytest.mark.parametrize("jump", [3600, 7 * 86400, -3600, -7 * 86400])
def test_leases_are_not_checked_just_after_a_clock_jump(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slept, or the clock that measures leases was set."""
    day, monotonic = [1000.0], [50.0]
    monkeypatch.setattr(sweeping_module.time, "monotonic", lambda: monotonic[0])
    watch = ClockMonitor(lambda: datetime.fromtimestamp(day[0], UTC))
    assert watch.is_trusted()
    day[0] += jump
    assert not watch.is_trusted()
    for seconds, trusted in ((LEASE_SECONDS - 1, False), (2, True)):
        day[0], monotonic[0] = day[0] + seconds, monotonic[0] + seconds
        assert watch.is_trusted() is trusted


def test_a_job_claimed_while_stopping_is_returned(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(worker, 1)
    claim = JobStore.claim

    def told_to_go_meanwhile(*args: Any, **options: Any) -> Job | None:
        job = claim(*args, **options)
        worker.stop()
        return job

    monkeypatch.setattr(JobStore, "claim", told_to_go_meanwhile)
    running = worker._claim_loop.claim()
    assert running is not None
    assert running.worker_stopping


def test_a_stopping_worker_listens_from_the_first_moment(worker: Worker) -> None:
    submit(worker, 1)
    running = claim_job(worker)
    worker.stop()
    began = time.monotonic()
    leaving = threading.Thread(target=worker._shut_down)
    leaving.start()
    worker._store.send_signal(running.job.id, Signal.CANCEL)
    while running.signal is None:
        assert time.monotonic() - began < 4
        time.sleep(0.01)
    assert worker._claim_loop.stopping  # no more are started
    assert not running.worker_stopping
    running.interrupted = True
    worker._job_runner.finish(running, {"pictures": []})
    worker._running_jobs.remove(running)
    leaving.join()
    assert worker._store.get(running.job.id).state is JobState.CANCELLED


def test_cancelling_is_obeyed_even_without_a_notification(worker: Worker) -> None:
    submit(worker, 1)
    running = claim_job(worker)
    running.worker_stopping = running.interrupted = True
    worker._store.send_signal(running.job.id, Signal.CANCEL)
    worker._job_runner.finish(running, {"pictures": [1]})
    job = worker._store.get(running.job.id)
    assert (job.state, job.result) == (JobState.CANCELLED, {"pictures": [1]})


def test_only_whole_jobs_are_timed(worker: Worker) -> None:
    for partial in (True, False):
        submit(worker, 1)
        running = claim_job(worker)
        running.partial = partial
        worker._job_runner.finish(running, {})
        worker._running_jobs.remove(running)
        known = worker._store.submit(submission()).eta is not None
        assert known is not partial
        worker._store.send_signal(worker._store.find(limit=1)[0].id, Signal.CANCEL)


def test_maintenance_blocks_nothing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    cleanings, done = [], threading.Event()

    def clean(_: QueueService) -> None:
        cleanings.append(threading.current_thread())
        done.wait(30)

    monkeypatch.setattr(QueueService, "delete_expired", clean)
    worker._maintenance.start_cleanup()
    worker._maintenance.start_cleanup()
    worker._heartbeat.beat()
    done.set()
    assert len(cleanings) == 1
    cleanings[0].join()
    worker._maintenance.start_cleanup()
    assert len(cleanings) == 2


def record_owner(worker: Worker) -> str | None:
    """The owner whose job is running now."""
    job = worker._claim_loop._claim_next()
    if job is not None:
        worker._running_jobs.add(RunningJob(job, worker._store))
    return None if job is None else job.owner


def submit_alone(worker: Worker, owner: str, width: int, **fields: object) -> None:
    """Submit a job that cannot be batched with one of another width."""
    worker._store.submit(submission(owner, request={"prompt": "a cat", "width": width}, **fields))


def active_jobs(worker: Worker) -> list[str]:
    return [running.job.owner for running in worker._running_jobs.active]


def test_others_are_started_after_a_time_slice(worker: Worker) -> None:
    """However many of the owner's own jobs wait before theirs."""
    submit_alone(worker, "anna", 512, cost=1000.0)
    assert record_owner(worker) == "anna"
    for _ in range(20):
        submit_alone(worker, "anna", 64, cost=0.001)
    submit_alone(worker, "berta", 128)
    assert record_owner(worker) is None
    worker._running_jobs._slice = 0.0
    assert record_owner(worker) == "berta"
    assert active_jobs(worker) == ["berta"]
    assert record_owner(worker) is None  # Anna's other jobs wait for Anna's first


def test_a_paused_job_resumes_when_no_other_owner_waits(worker: Worker) -> None:
    submit_alone(worker, "anna", 512)
    assert record_owner(worker) == "anna"
    worker._running_jobs._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert record_owner(worker) == "berta"
    (berta,) = worker._running_jobs.active
    worker._running_jobs._slice = 1000.0
    assert record_owner(worker) is None
    assert active_jobs(worker) == ["berta"]
    worker._running_jobs.remove(berta)
    assert active_jobs(worker) == []
    assert record_owner(worker) is None
    assert active_jobs(worker) == ["anna"]


def test_a_paused_job_resumes_after_the_time_slice_of_a_long_one(worker: Worker) -> None:
    """Though no job waits in the queue."""
    submit_alone(worker, "anna", 512)
    assert record_owner(worker) == "anna"
    worker._running_jobs._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert record_owner(worker) == "berta"
    worker._running_jobs._owner_usage.charge("berta", 1.0)
    assert record_owner(worker) is None
    assert active_jobs(worker) == ["anna"]


def test_a_waiting_job_starts_where_all_pause(worker: Worker) -> None:
    submit_alone(worker, "anna", 512)
    assert record_owner(worker) == "anna"
    worker._running_jobs._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert record_owner(worker) == "berta"
    worker._running_jobs.remove(worker._running_jobs.active[0])
    submit_alone(worker, "carla", 256)
    worker._running_jobs._owner_usage.charge("anna", 1.0)
    assert record_owner(worker) == "carla"


def test_an_ended_time_slice_lets_others_in_though_all_slots_are_taken(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without any notification: the claim loop knows how long a time slice is."""
    for _ in range(worker._running_jobs.slots):
        submit_alone(worker, "anna", 512, cost=1000.0)
    worker._running_jobs._slice = 0.3
    with run_claim_loop(worker, monkeypatch) as running:
        worker._claim_loop.notify()
        wait_until(lambda: len(running) == worker._running_jobs.slots)
        submit_alone(worker, "berta", 128)
        wait_until(lambda: active_jobs(worker) == ["berta"])


def test_a_long_job_does_not_delay_jobs_that_wait_beside_a_load_command(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = FakeResidentCheckpoints(monkeypatch)
    submit_alone(worker, "anna", 512)
    assert record_owner(worker) == "anna"
    submit_alone(worker, "berta", 128)
    submit_alone(worker, "anna", 512)
    heard(worker, "apples")
    worker._running_jobs._slice = 0.0
    running = worker._claim_loop.claim()
    assert running is not None
    assert running.job.owner == "berta"
    assert shelf.loaded == []
    assert worker._claim_loop._claim_next() is None  # Anna's other job would only keep the worker busy


def test_the_time_limit_holds_for_each_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.settings.apply({"max_job_seconds": 0.001})  # as an administrator changes it while the worker runs
    worker._store.submit(submission(timeout=3600.0))
    running = worker._claim_loop.claim()
    assert running is not None
    while not running.timed_out:
        time.sleep(0.001)
    running.interrupted = True
    worker._job_runner.finish(running, {"pictures": [1]})
    job = worker._store.get(running.job.id)
    assert (job.state, job.result) == (JobState.FAILED, {"pictures": [1]})
    assert job.error is not None
    assert "longer than 0.001 seconds" in job.error.message


def test_a_worker_whose_device_failed_ends(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has the error, and a new process finds out whether the device works."""

    def fail(*_: Any) -> Any:
        raise DeviceBrokenError("The device cuda failed: CUDA error.")

    monkeypatch.setattr(JobRunner, "_load_request", fail)
    submit(worker, 1)
    running = claim_job(worker)
    worker._run_job(running)
    job = worker._store.get(running.job.id)
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "device.broken")
    assert worker._claim_loop.stopping
    assert not worker.replaced
