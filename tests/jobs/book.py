"""What the tests of the ledger share."""

from __future__ import annotations

from sqlalchemy import Connection

from safelight.jobs.job import Job, JobKind, Submission
from safelight.jobs.ledger import Ledger


class Turns(list[str]):
    """Stands for the durable queue: names of the turns that were put there by transactions that were committed."""

    def put(self, _connection: Connection, name: str) -> None:
        self.append(name)


def submission(owner: str = "anna", **fields: object) -> Submission:
    given: dict[str, object] = {"kind": JobKind.GENERATE, "request": {"prompt": "a cat"}, "owner": owner}
    return Submission.model_validate(given | fields)


def begun(ledger: Ledger, worker: str = "w1") -> Job:
    job = ledger.claim(worker)
    assert job is not None
    return job
