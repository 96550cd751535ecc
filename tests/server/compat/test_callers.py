from __future__ import annotations

from safelight.server.compat import callers
from safelight.server.compat.callers import Callers


def test_each_caller_has_options_of_their_own() -> None:
    kept = Callers()
    kept.choose("anna", {"clip_skip": 2})
    kept.choose("anna", {"jpeg_quality": 80})
    assert kept.options("anna") == {"clip_skip": 2, "jpeg_quality": 80}
    assert kept.options("bert") == {}


def test_tasks_are_their_callers_own() -> None:
    kept = Callers()
    kept.begin("anna", "task(1)", "a")
    kept.begin("bert", "task(1)", "b")
    kept.begin("anna", "task(1)", "c")
    assert kept.job_of("anna", "task(1)") == "c"
    assert kept.job_of("bert", "task(1)") == "b"
    assert kept.job_of("carl", "task(1)") is None
    assert kept.task_of("anna", "c") == "task(1)"
    assert kept.task_of("anna", "a") is None
    assert kept.task_of("anna", "b") is None


def test_the_oldest_tasks_are_forgotten() -> None:
    kept = Callers()
    for number in range(callers.MOST_TASKS + 5):
        kept.begin("anna", f"task({number})", str(number))
    assert kept.job_of("anna", "task(4)") is None
    assert kept.job_of("anna", "task(5)") == "5"


def test_one_callers_tasks_drive_out_no_others() -> None:
    kept = Callers()
    kept.begin("bert", "task(1)", "b")
    for number in range(20 * callers.MOST_TASKS):
        kept.begin("anna", f"task({number})", str(number))
    assert kept.job_of("bert", "task(1)") == "b"
    assert kept.task_of("bert", "b") == "task(1)"
    assert kept.task_of("anna", "0") is None


def test_callers_who_were_not_here_for_long_are_forgotten() -> None:
    kept = Callers()
    for number in range(callers.MOST_OWNERS + 1):
        kept.begin(str(number), "task", "job")
    assert kept.job_of("0", "task") is None
    assert kept.job_of("1", "task") == "job"


def test_a_job_of_two_names_has_the_latest() -> None:
    kept = Callers()
    kept.begin("anna", "one", "a")
    kept.begin("anna", "two", "a")
    kept.begin("anna", "one", "b")
    assert kept.task_of("anna", "a") == "two"
    assert kept.task_of("anna", "b") == "one"
