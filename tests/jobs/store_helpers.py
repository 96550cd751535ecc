"""Helpers of the job store's tests."""

from __future__ import annotations

from safelight.database.notifications import Listener
from safelight.jobs.job import Job, JobKind, Submission
from safelight.jobs.queue.store import JobStore

NOTIFICATION_TIMEOUT = 2.0
"""Seconds within which a notification has to arrive: less than ``BACKSTOP``, after which a listener polls."""


def notified_channels(listener: Listener) -> set[str]:
    """The channels with notifications since the last call; waits briefly for the first of them."""
    channels = listener.wait(NOTIFICATION_TIMEOUT)
    while more := listener.wait(0.0):
        channels |= more
    return channels


def submission(owner: str = "anna", **fields: object) -> Submission:
    given: dict[str, object] = {"kind": JobKind.GENERATE, "request": {"prompt": "a cat"}, "owner": owner}
    return Submission.model_validate(given | fields)


def claim_job(store: JobStore, worker: str = "w1") -> Job:
    job = store.claim(worker)
    assert job is not None
    return job
