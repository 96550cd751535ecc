from __future__ import annotations

import pytest
import torch

from safelight.errors import InternalError, MemoryBudgetError, SamplerUnknownError
from safelight.jobs.worker.failures import out_of_memory, understood


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_that_ran_out_is_known_as_such(error: Exception) -> None:
    assert isinstance(out_of_memory(error), MemoryBudgetError)
    assert isinstance(understood(error), MemoryBudgetError)


def test_other_errors_are_no_lack_of_memory() -> None:
    assert out_of_memory(RuntimeError("shapes")) is None


def test_a_defect_keeps_what_it_came_of() -> None:
    error = RuntimeError("shapes")
    defect = understood(error)
    assert isinstance(defect, InternalError)
    assert (defect.message, defect.__cause__) == ("RuntimeError: shapes", error)


def test_our_own_errors_are_what_they_are() -> None:
    error = SamplerUnknownError()
    assert understood(error) is error
