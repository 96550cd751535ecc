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
from tests.jobs.book import submission
from tests.times import ago

from safelight.errors import DatabaseBusyError
from safelight.jobs.channels import Channel
from safelight.jobs.job import Job, JobKind, JobState, Signal
from safelight.jobs.queue.claims import LEASE
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue_service import QueueService, prepare
from safelight.jobs.worker import heartbeat as heartbeat_module
from safelight.jobs.worker import maintenance as sweeping_module
from safelight.jobs.worker import process as worker_module
from safelight.jobs.worker.execution import Execution
from safelight.jobs.worker.maintenance import ClockWatch
from safelight.jobs.worker.process import Worker
from safelight.jobs.worker.running_job import RunningJob
from safelight.settings import Settings
from safelight.studio import Studio


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    settings = Settings(home=tmp_path)
    prepare(settings)
    made = Worker(settings, "w")
    yield made
    made.close()


def submit(worker: Worker, count: int) -> None:
    for _ in range(count):
        worker._ledger.submit(submission())


def begun(worker: Worker) -> RunningJob:
    job = worker._ledger.claim("w")
    assert job is not None
    running = RunningJob(job, worker._ledger)
    worker._company.join(running)
    return running


@contextmanager
def claiming(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RunningJob]]:
    """Run the worker's claim loop; its running jobs are in a list and end when they are stopped."""
    running: list[RunningJob] = []

    def run(_: Execution, each: RunningJob) -> None:
        running.append(each)
        while not each.should_stop():
            time.sleep(0.005)
        each.cut_short = True
        worker._execution.conclude(each, {})
        worker._company.leave(each)

    monkeypatch.setattr(Execution, "run", run)
    worker._claims.start()
    try:
        yield running
    finally:
        worker._claims.stop(30)
        for each in worker._company.members:
            each.leaving = True
        until(lambda: not worker._company.members)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_as_many_jobs_as_fit_are_started(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one as soon as one has ended, without another notification."""
    places = worker._company.places
    submit(worker, places + 5)
    with claiming(worker, monkeypatch) as running:
        worker._claims.notify()
        until(lambda: len(running) == places)
        time.sleep(0.05)
        assert len(running) == places
        running[0].told = Signal.CANCEL
        until(lambda: len(running) == places + 1)


def test_a_submitted_job_wakes_an_idle_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it would poll."""
    monkeypatch.setattr("safelight.database.notifications.BACKSTOP", 1000.0)
    monkeypatch.setattr(sweeping_module, "SWEEP_EVERY", 1000.0)
    monkeypatch.setattr(Studio, "preload", lambda *_: None)
    monkeypatch.setattr(worker_module, "described", lambda _: {"device": "cpu"})
    monkeypatch.setattr(QueueService, "close", lambda _: None)
    ended: list[RunningJob] = []

    def run(execution: Execution, running: RunningJob) -> None:
        ended.append(running)
        execution._company.leave(running)

    monkeypatch.setattr(Execution, "run", run)
    process = threading.Thread(target=worker.run)
    process.start()
    until(lambda: worker._state == "idle")
    time.sleep(0.3)  # it has polled everything
    submit(worker, 1)
    until(lambda: ended)
    worker.stop()
    process.join(10)
    assert not process.is_alive()


def test_a_running_job_gets_its_signal_at_once(worker: Worker) -> None:
    submit(worker, 1)
    running = begun(worker)
    worker._listener.wait(0.0)
    worker._ledger.signal(running.job.id, Signal.FINISH)
    changed = worker._listener.wait(2.0)
    assert Channel.COMMANDS in changed
    worker._attend(changed)
    assert running.told is Signal.FINISH


def test_a_defect_does_not_end_the_claim_loop(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, failed = JobStore.claim, threading.Event()

    def fails_once(*args: Any, **options: Any) -> Job | None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a surprise")
        return claim(*args, **options)

    monkeypatch.setattr(JobStore, "claim", fails_once)
    monkeypatch.setattr("safelight.jobs.worker.claim_loop.LOOK_AGAIN", 0.01)
    submit(worker, 1)
    with claiming(worker, monkeypatch) as running:
        worker._claims.notify()
        until(lambda: running)
    assert failed.is_set()


def test_a_locked_database_is_waited_for(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, tried = JobStore.claim, []

    def locked_once(*args: Any, **options: Any) -> Job | None:
        tried.append(None)
        if len(tried) == 1:
            raise DatabaseBusyError
        return claim(*args, **options)

    monkeypatch.setattr(JobStore, "claim", locked_once)
    monkeypatch.setattr("safelight.jobs.retry.RETRY_EVERY", 0.01)
    submit(worker, 1)
    assert worker._claims.claim() is not None


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
    monkeypatch.setattr(worker_module, "described", lambda _: {"device": "cpu"})
    worker._warm_up()
    assert "w" in tried
    assert len(loaded) == 1
    described = worker._description()
    assert (described["device"], described["state"]) == ("cpu", "idle")


def test_a_slow_start_is_not_lost(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a large checkpoint takes minutes, and a worker without a heartbeat for twenty seconds is not listed."""
    seen: list[tuple[str, float]] = []

    def slow(*_: object) -> None:
        deadline = time.monotonic() + 30
        while len(set(seen)) < 3 and time.monotonic() < deadline:
            seen.extend((each["state"], each["seen"]) for each in worker._service.workers())
            time.sleep(0.01)

    monkeypatch.setattr(heartbeat_module, "INTERVAL", 0.02)
    monkeypatch.setattr(worker_module, "described", lambda _: {"device": "cpu"})
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
    monkeypatch.setattr(heartbeat_module, "RETRY_AFTER", 0.01)
    worker._heartbeat.start()
    until(worker._service.workers)
    worker._heartbeat.stop()
    assert len(tried) == 2


def test_a_worker_whose_name_another_process_has_stops(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    prepare(settings)
    worker = Worker(settings, "w", lambda: False)
    assert not worker._heartbeat.beat()
    assert worker.replaced
    assert worker._claims.stopping
    assert worker._service.workers() == []
    worker.close()


class Shelf:
    """Stands for the studio's checkpoint cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[str] = []
        monkeypatch.setattr(Studio, "preload", lambda _, name: self.loaded.append(name))


def heard(worker: Worker, checkpoint: str) -> None:
    worker._service.load(checkpoint)
    worker._keeper.listen()


def test_a_load_command_is_done_before_the_next_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(monkeypatch)
    submit(worker, 2)
    first = begun(worker)
    heard(worker, "apples")
    entering: list[RunningJob | None] = []
    entering.append(worker._claims.claim())
    assert (shelf.loaded, entering) == ([], [None])  # the first job is not interrupted
    worker._company.leave(first)
    entering.append(worker._claims.claim())
    assert shelf.loaded == ["apples"]
    assert entering[1] is not None


def test_the_next_job_does_not_wait_for_a_satisfied_command(worker: Worker) -> None:
    submit(worker, 2)
    first = begun(worker)
    worker._service.unload("apples")
    worker._keeper.listen()
    assert worker._claims.claim() is not None
    worker._company.leave(first)


def test_a_checkpoint_in_use_is_unloaded_after_its_job(worker: Worker) -> None:
    """Also while it is not in memory yet."""
    for named in ({}, {"checkpoint": "mine/own"}):
        worker._ledger.submit(submission(request={"prompt": "a cat", **named}))
        running = begun(worker)
        used = named.get("checkpoint", worker.settings.checkpoint)
        for name, waits in (("apples", False), (used, True), (None, True)):
            worker._service.unload(name)
            worker._keeper.listen()
            assert bool(worker._keeper.wanted) is waits, name
        worker._company.leave(running)
        worker._keeper.listen()
        assert worker._keeper.wanted == []
        assert worker._ledger.cancelled(running.job, None)


def test_jobs_without_generation_use_no_checkpoint(worker: Worker) -> None:
    worker._ledger.submit(submission(kind=JobKind.SCAN, request={"images": []}))
    begun(worker)
    worker._service.unload()
    worker._keeper.listen()
    assert worker._keeper.wanted == []


def test_an_idle_worker_obeys_a_command_at_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(monkeypatch)
    with claiming(worker, monkeypatch):
        worker._listener.wait(0.0)
        worker._service.load("apples")
        worker._attend(worker._listener.wait(2.0))
        until(lambda: shelf.loaded and not worker._keeper.wanted)
    assert shelf.loaded == ["apples"]


def test_a_stopping_worker_loads_nothing_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(monkeypatch)
    heard(worker, "apples")
    worker.stop()
    worker._claims.claim()
    assert shelf.loaded == []


def test_its_state_is_registered(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def states() -> list[tuple[str, str | None]]:
        return [(each["state"], each["loading"]) for each in worker._service.workers()]

    seen = []
    monkeypatch.setattr(worker_module, "described", lambda _: {"device": "cpu", "why": "Because."})
    monkeypatch.setattr(Studio, "preload", lambda *_: seen.append(states()))
    worker._warm_up()
    assert seen.pop() == [("starting", None)]
    assert states() == [("idle", None)]
    submit(worker, 1)
    running = begun(worker)
    heard(worker, "apples")
    assert states() == [("busy", "apples")]
    worker._company.leave(running)
    worker._claims.claim()
    assert seen == [[("loading", "apples")]]
    assert states() == [("idle", None)]
    (told,) = worker._service.workers()
    assert (told["device"], told["why"], told["last_error"]) == ("cpu", "Because.", None)


def test_its_own_jobs_are_not_requeued(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(worker, 1)
    running = begun(worker)
    monkeypatch.setattr("safelight.jobs.queue.claims.now", lambda _: ago(-10 * LEASE))
    worker._sweeper.sweep()
    assert worker._ledger.get(running.job.id).state is JobState.RUNNING
    worker._company.leave(running)
    worker._sweeper.sweep()
    assert worker._ledger.get(running.job.id).state is JobState.QUEUED


@pytest.mark.parametrize("jump", [3600, 7 * 86400, -3600, -7 * 86400])
def test_leases_are_not_checked_just_after_a_clock_jump(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slept, or the clock that measures leases was set."""
    day, monotonic = [1000.0], [50.0]
    monkeypatch.setattr(sweeping_module.time, "monotonic", lambda: monotonic[0])
    watch = ClockWatch(lambda: datetime.fromtimestamp(day[0], UTC))
    assert watch.trusted()
    day[0] += jump
    assert not watch.trusted()
    for seconds, trusted in ((LEASE - 1, False), (2, True)):
        day[0], monotonic[0] = day[0] + seconds, monotonic[0] + seconds
        assert watch.trusted() is trusted


def test_a_job_claimed_while_stopping_is_returned(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(worker, 1)
    claim = JobStore.claim

    def told_to_go_meanwhile(*args: Any, **options: Any) -> Job | None:
        job = claim(*args, **options)
        worker.stop()
        return job

    monkeypatch.setattr(JobStore, "claim", told_to_go_meanwhile)
    running = worker._claims.claim()
    assert running is not None
    assert running.leaving


def test_a_stopping_worker_listens_from_the_first_moment(worker: Worker) -> None:
    submit(worker, 1)
    running = begun(worker)
    worker.stop()
    began = time.monotonic()
    leaving = threading.Thread(target=worker._leave)
    leaving.start()
    worker._ledger.signal(running.job.id, Signal.CANCEL)
    while running.told is None:
        assert time.monotonic() - began < 4
        time.sleep(0.01)
    assert worker._claims.stopping  # no more are started
    assert not running.leaving
    running.cut_short = True
    worker._execution.conclude(running, {"pictures": []})
    worker._company.leave(running)
    leaving.join()
    assert worker._ledger.get(running.job.id).state is JobState.CANCELLED


def test_cancelling_is_obeyed_even_without_a_notification(worker: Worker) -> None:
    submit(worker, 1)
    running = begun(worker)
    running.leaving = running.cut_short = True
    worker._ledger.signal(running.job.id, Signal.CANCEL)
    worker._execution.conclude(running, {"pictures": [1]})
    job = worker._ledger.get(running.job.id)
    assert (job.state, job.result) == (JobState.CANCELLED, {"pictures": [1]})


def test_only_whole_jobs_are_timed(worker: Worker) -> None:
    for partial in (True, False):
        submit(worker, 1)
        running = begun(worker)
        running.partial = partial
        worker._execution.conclude(running, {})
        worker._company.leave(running)
        known = worker._ledger.submit(submission()).eta is not None
        assert known is not partial
        worker._ledger.signal(worker._ledger.find(limit=1)[0].id, Signal.CANCEL)


def test_maintenance_blocks_nothing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    cleanings, done = [], threading.Event()

    def clean(_: QueueService) -> None:
        cleanings.append(threading.current_thread())
        done.wait(30)

    monkeypatch.setattr(QueueService, "clean", clean)
    worker._sweeper.start_cleaning()
    worker._sweeper.start_cleaning()
    worker._heartbeat.beat()
    done.set()
    assert len(cleanings) == 1
    cleanings[0].join()
    worker._sweeper.start_cleaning()
    assert len(cleanings) == 2


def entering(worker: Worker) -> str | None:
    """The owner whose job is running now."""
    job = worker._claims._claimed()
    if job is not None:
        worker._company.join(RunningJob(job, worker._ledger))
    return None if job is None else job.owner


def submit_alone(worker: Worker, owner: str, width: int, **fields: object) -> None:
    """Submit a job that cannot be batched with one of another width."""
    worker._ledger.submit(submission(owner, request={"prompt": "a cat", "width": width}, **fields))


def active(worker: Worker) -> list[str]:
    return [running.job.owner for running in worker._company.active]


def test_others_are_started_after_a_time_slice(worker: Worker) -> None:
    """However many of the owner's own jobs wait before theirs."""
    submit_alone(worker, "anna", 512, cost=1000.0)
    assert entering(worker) == "anna"
    for _ in range(20):
        submit_alone(worker, "anna", 64, cost=0.001)
    submit_alone(worker, "berta", 128)
    assert entering(worker) is None
    worker._company._slice = 0.0
    assert entering(worker) == "berta"
    assert active(worker) == ["berta"]
    assert entering(worker) is None  # Anna's other jobs wait for Anna's first


def test_a_paused_job_resumes_when_no_other_owner_waits(worker: Worker) -> None:
    submit_alone(worker, "anna", 512)
    assert entering(worker) == "anna"
    worker._company._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert entering(worker) == "berta"
    (berta,) = worker._company.active
    worker._company._slice = 1000.0
    assert entering(worker) is None
    assert active(worker) == ["berta"]
    worker._company.leave(berta)
    assert active(worker) == []
    assert entering(worker) is None
    assert active(worker) == ["anna"]


def test_a_paused_job_resumes_after_the_time_slice_of_a_long_one(worker: Worker) -> None:
    """Though no job waits in the queue."""
    submit_alone(worker, "anna", 512)
    assert entering(worker) == "anna"
    worker._company._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert entering(worker) == "berta"
    worker._company._times.charge("berta", 1.0)
    assert entering(worker) is None
    assert active(worker) == ["anna"]


def test_a_waiting_job_starts_where_all_pause(worker: Worker) -> None:
    submit_alone(worker, "anna", 512)
    assert entering(worker) == "anna"
    worker._company._slice = 0.0
    submit_alone(worker, "berta", 128)
    assert entering(worker) == "berta"
    worker._company.leave(worker._company.active[0])
    submit_alone(worker, "carla", 256)
    worker._company._times.charge("anna", 1.0)
    assert entering(worker) == "carla"


def test_an_ended_time_slice_lets_others_in_though_all_slots_are_taken(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without any notification: the claim loop knows how long a time slice is."""
    for _ in range(worker._company.places):
        submit_alone(worker, "anna", 512, cost=1000.0)
    worker._company._slice = 0.3
    with claiming(worker, monkeypatch) as running:
        worker._claims.notify()
        until(lambda: len(running) == worker._company.places)
        submit_alone(worker, "berta", 128)
        until(lambda: active(worker) == ["berta"])


def test_a_long_job_does_not_delay_jobs_that_wait_beside_a_load_command(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(monkeypatch)
    submit_alone(worker, "anna", 512)
    assert entering(worker) == "anna"
    submit_alone(worker, "berta", 128)
    submit_alone(worker, "anna", 512)
    heard(worker, "apples")
    worker._company._slice = 0.0
    running = worker._claims.claim()
    assert running is not None
    assert running.job.owner == "berta"
    assert shelf.loaded == []
    assert worker._claims._claimed() is None  # Anna's other job would only keep the worker busy


def test_the_time_limit_holds_for_each_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._claims, "_max_seconds", 0.001)
    worker._ledger.submit(submission(timeout=3600.0))
    running = worker._claims.claim()
    assert running is not None
    while not running.late:
        time.sleep(0.001)
    running.cut_short = True
    worker._execution.conclude(running, {"pictures": [1]})
    job = worker._ledger.get(running.job.id)
    assert (job.state, job.result) == (JobState.FAILED, {"pictures": [1]})
    assert job.error is not None
    assert "longer than 0.001 seconds" in job.error.message
