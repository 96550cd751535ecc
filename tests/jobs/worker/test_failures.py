from __future__ import annotations

import pytest
import torch

from safelight.errors import InternalError, MemoryBudgetError, SamplerUnknownError
from safelight.jobs.worker.failures import to_memory_error, to_safelight_error


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    assert isinstance(to_memory_error(error), MemoryBudgetError)
    assert isinstance(to_safelight_error(error), MemoryBudgetError)


def test_other_errors_are_not_out_of_memory() -> None:
    assert to_memory_error(RuntimeError("shapes")) is None


def test_a_defect_keeps_its_cause() -> None:
    error = RuntimeError("shapes")
    defect = to_safelight_error(error)
    assert isinstance(defect, InternalError)
    assert (defect.message, defect.__cause__) == ("RuntimeError: shapes", error)


def test_our_own_errors_are_unchanged() -> None:
    error = SamplerUnknownError()
    assert to_safelight_error(error) is error
