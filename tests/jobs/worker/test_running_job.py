from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from tests.jobs.store_helpers import claim_job, submission

from safelight.errors import DatabaseBusyError, RunStoppedError, StorageFullError
from safelight.jobs import retry
from safelight.jobs.job import Progress, Signal
from safelight.jobs.queue.store import JobStore
from safelight.jobs.worker import running_job as running_module
from safelight.jobs.worker.running_job import RunningJob


@pytest.fixture
def running(store: JobStore) -> RunningJob:
    store.submit(submission())
    return RunningJob(claim_job(store), store)


def test_cancelling_is_obeyed_after_a_skip(running: RunningJob) -> None:
    running.receive_signal(Signal.SKIP, 0)
    running.receive_signal(Signal.CANCEL, 0)
    assert running.signal is Signal.CANCEL
    running.receive_signal(Signal.SKIP, 0)
    running.receive_signal(None, 0)
    assert running.signal is Signal.CANCEL


def test_a_skip_is_obeyed_once(running: RunningJob, store: JobStore) -> None:
    """It was read just before it was obeyed, and is notified just after."""
    store.send_signal(running.job.id, Signal.SKIP)
    running.receive_signal(Signal.SKIP, running.skip_count)
    before = running.skip_count
    read = store.signals([running.job.id])[running.job.id]
    running.acknowledge_skip()
    running.receive_signal(read, before)
    assert running.signal is None
    store.send_signal(running.job.id, Signal.SKIP)
    running.receive_signal(store.signals([running.job.id])[running.job.id], running.skip_count)
    assert running.signal is Signal.SKIP


def test_cancelling_during_a_skip_is_not_lost(running: RunningJob, store: JobStore) -> None:
    running.receive_signal(Signal.SKIP, 0)
    store.send_signal(running.job.id, Signal.CANCEL)
    running.receive_signal(Signal.CANCEL, 0)
    running.acknowledge_skip()
    assert running.signal is Signal.CANCEL
    assert store.signals([running.job.id]) == {running.job.id: Signal.CANCEL}


def locked() -> None:
    raise DatabaseBusyError


def test_an_outage_is_waited_for_until_the_job_is_stopped(
    running: RunningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_INTERVAL", 0.0)
    tries: list[Callable[[], None]] = [locked, locked, lambda: None]
    running.retry_database(lambda: tries.pop(0)())
    assert not tries
    running.signal = Signal.FINISH  # which keeps the finished images
    tries = [locked, lambda: None]
    running.retry_database(lambda: tries.pop(0)())
    running.worker_stopping = True
    with pytest.raises(RunStoppedError):
        running.retry_database(locked)
    assert running.interrupted


def full() -> None:
    raise StorageFullError


def test_a_full_disk_is_waited_for_and_shown_in_the_progress(
    running: RunningJob, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_INTERVAL", 0.0)
    running.report(Progress(stage="first pass", step=3, steps=4, fraction=0.75))
    tries = iter([full, full, lambda: "done"])
    assert running.retry_database(lambda: next(tries)()) == "done"
    running.flush()
    progress = store.get(running.job.id).progress
    assert progress is not None
    assert (progress.stage, progress.step, progress.fraction) == ("waiting for disk space", 3, 0.75)


def test_a_disk_that_stays_full_fails_the_job(running: RunningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "STORAGE_FULL_TIMEOUT", 0.0)
    with pytest.raises(StorageFullError):
        running.retry_database(full)
    assert not running.interrupted


def test_important_progress_is_written(database: Engine, store: JobStore) -> None:
    store.submit(submission())
    store.reclaim(claim_job(store).worker)
    again = RunningJob(claim_job(store), store)
    assert again.job.lost == 1
    again.reset_lost_count()
    assert store.get(again.job.id).lost == 0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(running_module.time, "monotonic", lambda: self.now)


def pausing(running: RunningJob, monkeypatch: pytest.MonkeyPatch, *meanwhile: Callable[[], object]) -> None:
    """Let the job pause, and run a function between two checks of whether it may resume."""
    happening = iter(meanwhile)
    monkeypatch.setattr(running_module.time, "sleep", lambda _: next(happening)())
    running.paused = True
    running.pause()
    assert next(happening, None) is None


def test_pauses_do_not_count_in_the_time_limit(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store.submit(submission(timeout=60.0))
    running = RunningJob(claim_job(store), store, _started_at=clock.now)
    clock.now += 50.0

    def waited() -> None:
        clock.now += 1000.0
        assert running.seconds == 50.0
        assert not running.timed_out

    pausing(running, monkeypatch, waited, lambda: setattr(running, "paused", False))
    assert running.seconds == 50.0
    clock.now += 11.0
    assert running.timed_out


def test_no_job_runs_longer_than_the_time_limit(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store.submit(submission(timeout=600.0))
    store.submit(submission())
    for limit in (100.0, 100.0):
        running = RunningJob(claim_job(store), store, max_seconds=100.0, _started_at=clock.now)
        assert running.time_limit == limit
        clock.now += 99.0
        assert not running.timed_out
        clock.now += 2.0
        assert running.timed_out


def test_a_paused_job_reports_its_pause_and_its_end(
    running: RunningJob, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> str:
        progress = store.get(running.job.id).progress
        assert progress is not None
        return progress.stage

    running.report(Progress(stage="first pass", step=7, steps=20, fraction=0.35))
    running.flush()
    pausing(
        running,
        monkeypatch,
        lambda: running.flush() or stage() == "paused" or 1 / 0,  # type: ignore[func-returns-value]
        lambda: setattr(running, "paused", False),
    )
    stages = [event.data["stage"] for event in store.events(0, running.job.id) if event.kind == "progress"]
    assert stages == ["first pass", "paused"]
    running.report(
        Progress(stage="first pass", step=8, steps=20, fraction=0.4)
    )  # a moment after the last report
    running.flush()
    assert stage() == "first pass"


@pytest.mark.parametrize("how", ["told", "leaving"])
def test_a_paused_job_receives_signals(
    running: RunningJob, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def tell() -> None:
        if how == "told":
            running.receive_signal(Signal.CANCEL, 0)
        running.worker_stopping = how == "leaving"

    pausing(running, monkeypatch, lambda: None, tell)
    assert running.should_end
