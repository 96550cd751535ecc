from __future__ import annotations

import pytest
from tests.server.api.factories import failed_job, job, output_image

from safelight.errors import BlockedError, MemoryBudgetError, RunStoppedError, SafelightError
from safelight.jobs.job import JobState
from safelight.server.api.outcomes import outcome_of


def test_images_are_split_into_allowed_and_withheld() -> None:
    outcome = outcome_of(
        job(JobState.SUCCEEDED, output_image(1), output_image(2, 1, "block"), output_image(3, 2, "review"))
    )
    assert [each.seed for each in outcome.visible] == [1, 3]
    assert [each.seed for each in outcome.blocked] == [2]


def test_a_failure_is_the_catalogues_error() -> None:
    with pytest.raises(MemoryBudgetError, match="too large") as caught:
        outcome_of(failed_job("memory.budget", "It is too large."))
    assert caught.value.hint == "Try again."
    with pytest.raises(SafelightError, match="odd"):
        outcome_of(failed_job("from.the.future", "Something odd."))


def test_an_outcome_without_allowed_images_is_an_error() -> None:
    with pytest.raises(BlockedError, match=r"blocks the pictures: unsafe 0\.9000, 0\.9000"):
        outcome_of(job(JobState.SUCCEEDED, output_image(1, 0, "block"), output_image(2, 1, "block")))
    with pytest.raises(RunStoppedError, match="before there was a picture"):
        outcome_of(job(JobState.SUCCEEDED, result={"pictures": []}))
    with pytest.raises(RunStoppedError, match="cancelled"):
        outcome_of(job(JobState.CANCELLED, output_image(1)))
