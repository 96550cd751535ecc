from __future__ import annotations

from sqlalchemy import Engine
from tests.jobs.store_helpers import claim_job, notified_channels, submission

from safelight.database.notifications import Listener
from safelight.jobs.channels import Channel
from safelight.jobs.job import JobState
from safelight.jobs.queue.store import JobStore


def test_no_job_starts_in_a_paused_queue(store: JobStore, database: Engine, listener: Listener) -> None:
    first, second = (store.submit(submission()).id for _ in range(2))
    running = claim_job(store)
    paused = store.pause("anna")
    assert (paused.paused, paused.paused_by) == (True, "anna")
    assert store.pause("bert") == paused
    assert store.claim("w1") is None
    assert store.succeed(running, {}, 1.0)
    assert store.get(first).state is JobState.SUCCEEDED
    again = JobStore(database)  # as after a restart
    assert again.queue_state() == paused
    assert again.claim("w1") is None
    notified_channels(listener)
    resumed = store.resume()
    assert (resumed.paused, resumed.paused_since, resumed.paused_by) == (False, None, "")
    assert notified_channels(listener) == {Channel.JOBS}
    assert claim_job(store).id == second


def test_a_paused_queue_has_positions_and_no_estimates(store: JobStore) -> None:
    store.submit(submission(checkpoint="a"))
    store.succeed(claim_job(store), {}, 2.0)
    job = store.submit(submission(checkpoint="a"))
    assert job.eta is not None
    store.pause("anna")
    shown = store.get(job.id)
    assert (shown.position, shown.eta) == (1, None)
    assert [(each.position, each.eta) for each in store.estimates()] == [(1, None)]


def test_a_job_of_a_lost_worker_waits_while_the_queue_is_paused(store: JobStore) -> None:
    store.submit(submission())
    claim_job(store, "w1")
    store.pause("anna")
    assert store.reclaim("w1") == 1
    assert store.claim("w2") is None
    store.resume()
    assert claim_job(store, "w2").attempt == 2
