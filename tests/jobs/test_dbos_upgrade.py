"""A database of a version that stored its queue twice, in Safelight's tables and in those of DBOS."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from tests.jobs.worker_processes import WorkerProcesses, run_workers, wait_for
from tests.times import seconds_ago

from safelight.database import read_transaction, write_transaction
from safelight.jobs.job import JobKind, JobState
from safelight.jobs.queue.tables import jobs

BEFORE = Path(__file__).parent / "before"
FORMER = {
    "owner": "local",
    "kind": JobKind.GENERATE,
    "request": json.dumps({"prompt": "a red apple", "steps": 2, "seed": 1}),
    "priority": 0,
    "cost": 1.0,
    "checkpoint": "starter",
    "request_id": "r",
}


def add_dbos_tables(workers: WorkerProcesses, *rows: dict[str, object]) -> None:
    """Add what an older version left in a database: DBOS's tables with rows, and jobs without a notification."""
    if workers.service.engine.dialect.name == "sqlite":
        with sqlite3.connect(workers.settings.home / "safelight.db") as database:
            database.executescript((BEFORE / "dbos.sqlite.sql").read_text())
        database.close()
    else:
        with write_transaction(workers.service.engine) as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute((BEFORE / "dbos.postgresql.sql").read_text())
    with write_transaction(workers.service.engine) as connection:
        for number, job in enumerate(rows):
            values = FORMER | {"turn": 1.0 + number, "created": seconds_ago(60)} | job
            connection.execute(insert(jobs).values(**values))


def virtual_times(workers: WorkerProcesses) -> int:
    schema = "" if workers.service.engine.dialect.name == "sqlite" else "dbos."
    with read_transaction(workers.service.engine) as connection:
        return connection.execute(text(f"SELECT count(*) FROM {schema}workflow_status")).scalar_one()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_queued_and_running_jobs_are_done(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """DBOS's tables are neither read nor changed."""
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    with run_workers(tmp_path / "home", url) as workers:
        waiting = {"id": "1a227618c11b865a7b13624a37c", "state": "queued"}
        interrupted = {
            "id": "1a227618c4d7b4a619df54e9087",
            "state": "running",
            "attempt": 1,
            "worker": "w",
            "lease": seconds_ago(-10),
        }
        add_dbos_tables(workers, waiting, interrupted)
        before = virtual_times(workers)
        assert before == 2
        workers.start()
        ids = [str(job["id"]) for job in (waiting, interrupted)]
        wait_for(lambda: all(workers.state(job_id).final for job_id in ids))
        assert [workers.state(job_id) for job_id in ids] == [JobState.SUCCEEDED] * 2
        assert [workers.job(job_id).attempt for job_id in ids] == [1, 2]
        assert virtual_times(workers) == before
        assert workers.terminate() == 0
