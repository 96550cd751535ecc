from __future__ import annotations

import threading
import time

import pytest

from safelight.jobs import company as company_module
from safelight.jobs.company import Company
from safelight.jobs.job import Job, JobKind, JobState
from safelight.jobs.ledger import Ledger
from safelight.jobs.running import Running

LONG_AGO = "2026-01-01T00:00:00Z"


def job(job_id: str, **fields: object) -> Job:
    given = {
        "id": job_id,
        "owner": "anna",
        "kind": JobKind.GENERATE,
        "state": JobState.RUNNING,
        "request": {"prompt": "a cat", "width": 512},
        "created": LONG_AGO,
        "attempt": 1,
    }
    return Job.model_validate(given | fields)


@pytest.fixture
def company() -> Company:
    return Company(3)


def join(company: Company, ledger: Ledger, *members: Job) -> list[Running]:
    joined = [Running(member, ledger) for member in members]
    for running in joined:
        company.join(running)
    return joined


def test_alike_drawings_fit_beside_each_other(company: Company, ledger: Ledger) -> None:
    assert company.fits(job("a"))
    join(company, ledger, job("a"))
    assert company.fits(job("b", request={"prompt": "a dog", "width": 512}))
    assert not company.fits(job("b", request={"prompt": "a cat", "width": 64}))
    assert not company.fits(job("b", kind=JobKind.SCAN))
    join(company, ledger, job("b"), job("c"))
    assert not company.fits(job("d"))


def test_what_lost_its_worker_is_done_by_itself(company: Company, ledger: Ledger) -> None:
    """It may have killed it, and would take the others along again."""
    assert company.fits(job("suspect", lost=1))
    (other,) = join(company, ledger, job("a"))
    assert not company.fits(job("suspect", lost=1))
    company.leave(other)
    join(company, ledger, job("suspect", lost=1))
    assert not company.fits(job("a"))


def test_a_job_is_never_beside_itself(company: Company, ledger: Ledger) -> None:
    """Given up for lost and claimed anew by the same worker, whose first run of it goes on."""
    (first,) = join(company, ledger, job("a"))
    again = job("a", attempt=2)
    assert not company.fits(again)
    company.leave(first)
    assert company.fits(again)


def test_two_runs_of_a_job_are_two(company: Company, ledger: Ledger) -> None:
    first, second = join(company, ledger, job("a"), job("a"))
    company.leave(first)
    assert company.members == [second]


def test_time_is_shared(company: Company, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(company_module.time, "monotonic", lambda: now[0])
    company = Company(3)
    now[0] = 100.0  # nobody is there
    (first,) = join(company, ledger, job("a"))
    now[0] = 110.0  # alone: ten seconds
    (second,) = join(company, ledger, job("b"))
    now[0] = 130.0  # twenty for both: ten each
    assert company.share(first) == pytest.approx(20.0)
    company.leave(first)
    now[0] = 131.0
    assert company.share(second) == pytest.approx(11.0)


def test_who_waits_hears_of_a_place(company: Company, ledger: Ledger) -> None:
    (running,) = join(company, ledger, job("a"))
    timer = threading.Timer(0.1, company.leave, [running])
    timer.start()
    began = time.monotonic()
    company.wait(30)
    assert time.monotonic() - began < 15
    timer.join()
