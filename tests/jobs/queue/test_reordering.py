from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.jobs.store_helpers import claim_job, notified_channels, submission

from safelight.database import read_transaction
from safelight.database.notifications import Listener
from safelight.errors import JobMissingError, JobMoveError, JobNotQueuedError
from safelight.jobs.channels import Channel
from safelight.jobs.queue.reordering import PlacedJob, reorder
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import jobs


def claimed_order(store: JobStore, **options: frozenset[str]) -> list[str]:
    found = []
    while (job := store.claim("w1", **options)) is not None:
        found.append(job.id)
    return found


def test_a_job_is_moved_among_its_owners_jobs(store: JobStore, listener: Listener) -> None:
    first, second, third = (store.submit(submission()).id for _ in range(3))
    notified_channels(listener)
    assert store.move(third, first).position == 1
    assert notified_channels(listener) == {Channel.JOBS}
    assert store.move(first, None).position == 3
    assert claimed_order(store) == [third, second, first]


def test_moving_a_job_to_where_it_is_changes_nothing(store: JobStore) -> None:
    first, second = (store.submit(submission()).id for _ in range(2))
    store.move(first, second)
    store.move(first, first)
    store.move(second, None)
    assert store.queue_state().changes == 0
    assert claimed_order(store) == [first, second]


def test_shares_of_owners_stay_as_they_were(store: JobStore) -> None:
    """Both owners are served alternately before and after the move."""
    annas = [store.submit(submission("anna")).id for _ in range(3)]
    berts = [store.submit(submission("bert")).id for _ in range(3)]
    store.move(annas[2], annas[0])
    order = claimed_order(store)
    assert [job_id for job_id in order if job_id in annas] == [annas[2], annas[0], annas[1]]
    assert ["anna" if job_id in annas else "bert" for job_id in order] == ["anna", "bert"] * 3
    assert [job_id for job_id in order if job_id in berts] == berts


def test_a_large_job_moved_to_the_front_does_not_overtake_others(store: JobStore) -> None:
    """It gets the virtual time that it would have had if it had been submitted first."""
    small = store.submit(submission("anna", cost=1)).id
    large = store.submit(submission("anna", cost=10)).id
    others = [store.submit(submission("bert", cost=2)).id for _ in range(3)]
    store.move(large, small)
    assert claimed_order(store) == [*others, large, small]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_loaded_checkpoint_does_not_undo_the_order(store: JobStore, backwards: bool) -> None:
    loaded = store.submit(submission(checkpoint="a")).id
    other = store.submit(submission(checkpoint="b")).id
    last = store.submit(submission(checkpoint="a")).id
    if backwards:
        store.move(loaded, last)
    else:
        store.move(other, loaded)
    assert claimed_order(store, loaded=frozenset({"a"})) == [other, loaded, last]


def test_what_cannot_be_moved(store: JobStore) -> None:
    running, queued, urgent = (store.submit(submission(priority=priority)).id for priority in (9, 0, -1))
    others = store.submit(submission("bert")).id
    claim_job(store)
    for job_id, before, error in (
        (running, None, JobNotQueuedError),
        (queued, running, JobMoveError),  # of another priority
        (queued, urgent, JobMoveError),
        (queued, others, JobMissingError),
        (others, queued, JobMissingError),
        ("0" * 27, None, JobMissingError),
    ):
        with pytest.raises(error):
            store.move(job_id, before, "anna")
    with pytest.raises(JobMoveError):
        store.move(queued, others)
    same = store.submit(submission(priority=9)).id
    with pytest.raises(JobNotQueuedError):
        store.move(same, running)


def test_the_next_job_follows_all_moved_ones(store: JobStore, database: Engine) -> None:
    ids = [store.submit(submission(cost=cost)).id for cost in (3, 1, 2)]
    store.move(ids[2], ids[0])
    ids.insert(0, ids.pop())
    ids.append(store.submit(submission()).id)
    with read_transaction(database) as connection:
        assert connection.execute(select(jobs.c.id).order_by(jobs.c.turn)).scalars().all() == ids


@given(st.lists(st.tuples(st.floats(0.001, 1e6), st.floats(0, 1e6)), min_size=2, max_size=8), st.data())
def test_the_order_is_as_requested_and_nobody_gains(
    gaps: list[tuple[float, float]], data: st.DataObject
) -> None:
    """With gaps before some jobs, as after times in which the owner had none queued."""
    queue, turn = [], 0.0
    for number, (cost, gap) in enumerate(gaps):
        turn += gap + cost
        queue.append(PlacedJob(str(number), turn, cost))
    ids = [job.id for job in queue]
    moved = data.draw(st.sampled_from(ids))
    before = data.draw(st.sampled_from([*ids, None]))
    changed, preceding = reorder(queue, moved, before)
    turns = {job.id: job.turn for job in [*queue, *changed]}
    wanted = [job_id for job_id in ids if job_id != moved]
    wanted.insert(
        ids.index(moved) if before == moved else len(wanted) if before is None else wanted.index(before),
        moved,
    )
    assert sorted(ids, key=turns.__getitem__) == wanted
    assert bool(preceding) == (wanted != ids)
    costs = {job.id: job.cost for job in queue}
    earliest = list(itertools.accumulate(costs[job_id] for job_id in wanted))
    start = queue[0].turn - queue[0].cost
    for job_id, work in zip(wanted, earliest, strict=True):
        assert turns[job_id] >= (start + work) * (1 - 1e-9)
