"""Conversion of exceptions in a worker to errors of the catalogue; a lack of memory is distinguished from a defect."""

from __future__ import annotations

from safelight.errors import InternalError, MemoryBudgetError, SafelightError


def to_safelight_error(error: Exception) -> SafelightError:
    """The error to report: the exception itself if it is one of ours; an internal error keeps it as its cause."""
    if isinstance(error, SafelightError):
        return error
    return to_memory_error(error) or _to_internal_error(error)


def to_memory_error(error: BaseException) -> MemoryBudgetError | None:
    """The error for an exception that means lack of memory, which libraries express differently; else None."""
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, without importing torch
    if named or isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return MemoryBudgetError("The worker has no memory left for this job.")
    return None


def _to_internal_error(error: BaseException) -> InternalError:
    defect = InternalError(f"{type(error).__name__}: {error}")
    defect.__cause__ = error
    return defect
