"""What goes wrong within a worker, as one of the catalogue's errors: lack of memory is told from a defect."""

from __future__ import annotations

from safelight.errors import InternalError, MemoryBudgetError, SafelightError


def understood(error: Exception) -> SafelightError:
    """The error to tell of: itself where it is one of ours; a defect keeps what it came of as its cause."""
    if isinstance(error, SafelightError):
        return error
    return out_of_memory(error) or _defect(error)


def out_of_memory(error: BaseException) -> MemoryBudgetError | None:
    """The error to give where memory ran out, which libraries say in different ways; None where it did not."""
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported for this
    if named or isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return MemoryBudgetError("The worker has no memory left for this job.")
    return None


def _defect(error: BaseException) -> InternalError:
    defect = InternalError(f"{type(error).__name__}: {error}")
    defect.__cause__ = error
    return defect
