from __future__ import annotations

from sqlalchemy import Engine, event
from tests.jobs.store_helpers import claim_job, submission

from safelight.jobs.job import JobKind, Signal
from safelight.jobs.queue.store import JobStore


def test_long_values_are_left_out(store: JobStore) -> None:
    short = store.submit(submission())
    long = store.submit(submission(kind=JobKind.SCAN, request={"images": [{"blob": "0" * 64}] * 20}))
    told = {job.id: job for job in store.find_many([short.id, long.id], 1000)}
    assert told == {short.id: short, long.id: long.model_copy(update={"request": {}})}
    job = claim_job(store)
    store.succeed(job, {"pictures": ["x" * 1000]}, 1.0)
    ended = store.get(job.id)
    assert store.find_many([job.id], 1000) == [ended.model_copy(update={"result": None})]
    assert store.find_many([job.id], 2000) == [ended]


def test_the_database_leaves_them_out(store: JobStore, database: Engine) -> None:
    """Values of megabytes are neither fetched nor parsed."""
    statements: list[str] = []
    long = store.submit(submission(request={"prompt": "x" * 1000}))
    event.listen(database, "before_cursor_execute", lambda *given: statements.append(given[2]))
    store.find_many([long.id], 500)
    store.overview(None, waiting=1, ended=1, max_chars=500, max_total_chars=1000)
    fetching = [text for text in statements if "jobs.request" in text]
    assert fetching
    assert all("CASE WHEN" in text or "length(jobs.request)" in text for text in fetching)


def test_the_latest_and_all_running_jobs(store: JobStore) -> None:
    """However many waiting jobs are newer than the running ones."""
    jobs = [store.submit(submission()) for _ in range(8)]
    claim_job(store)
    store.send_signal(jobs[1].id, Signal.CANCEL)
    store.send_signal(jobs[2].id, Signal.CANCEL)
    others = store.submit(submission("berta"))
    told = store.overview("anna", waiting=3, ended=1, max_chars=1000, max_total_chars=10_000)
    assert told == [store.get(job.id) for job in (jobs[7], jobs[6], jobs[5], jobs[2], jobs[0])]
    assert told[-1].state == "running"
    assert [
        job.id for job in store.overview(None, waiting=1, ended=0, max_chars=1000, max_total_chars=10_000)
    ] == [
        others.id,
        jobs[0].id,
    ]
    assert store.overview("carl", waiting=3, ended=3, max_chars=1000, max_total_chars=10_000) == []


def test_their_total_size_is_limited(store: JobStore) -> None:
    """The longest values are left out first; one long value does not cost the others their room."""
    sizes = (300, 100, 5000, 200)
    ids = {store.submit(submission(request={"prompt": "x" * size})).id: size for size in sizes}

    def told(total: int) -> set[int]:
        found = store.overview(None, waiting=9, ended=9, max_chars=1000, max_total_chars=total)
        assert {job.id for job in found} == set(ids)
        return {ids[job.id] for job in found if job.request}

    assert told(10_000) == {100, 200, 300}
    assert told(400) == {100, 200}
    assert told(0) == set()
