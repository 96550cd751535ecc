from __future__ import annotations

import pytest
import torch

from safelight.errors import InternalError, MemoryBudgetError, SamplerUnknownError
from safelight.jobs.worker.failures import out_of_memory, understood


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    assert isinstance(out_of_memory(error), MemoryBudgetError)
    assert isinstance(understood(error), MemoryBudgetError)


def test_other_errors_are_not_out_of_memory() -> None:
    assert out_of_memory(RuntimeError("shapes")) is None


def test_a_defect_keeps_its_cause() -> None:
    error = RuntimeError("shapes")
    defect = understood(error)
    assert isinstance(defect, InternalError)
    assert (defect.message, defect.__cause__) == ("RuntimeError: shapes", error)


def test_our_own_errors_are_unchanged() -> None:
    error = SamplerUnknownError()
    assert understood(error) is error
