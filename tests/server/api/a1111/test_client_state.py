from __future__ import annotations

from safelight.server.api.a1111 import client_state
from safelight.server.api.a1111.client_state import ClientState


def test_each_client_has_its_own_options() -> None:
    kept = ClientState()
    kept.set_options("anna", {"clip_skip": 2})
    kept.set_options("anna", {"jpeg_quality": 80})
    assert kept.options("anna") == {"clip_skip": 2, "jpeg_quality": 80}
    assert kept.options("bert") == {}


def test_tasks_belong_to_their_client() -> None:
    kept = ClientState()
    kept.register_task("anna", "task(1)", "a")
    kept.register_task("bert", "task(1)", "b")
    kept.register_task("anna", "task(1)", "c")
    assert kept.job_of("anna", "task(1)") == "c"
    assert kept.job_of("bert", "task(1)") == "b"
    assert kept.job_of("carl", "task(1)") is None
    assert kept.task_of("anna", "c") == "task(1)"
    assert kept.task_of("anna", "a") is None
    assert kept.task_of("anna", "b") is None


def test_the_oldest_tasks_are_forgotten() -> None:
    kept = ClientState()
    for number in range(client_state.MAX_TASKS + 5):
        kept.register_task("anna", f"task({number})", str(number))
    assert kept.job_of("anna", "task(4)") is None
    assert kept.job_of("anna", "task(5)") == "5"


def test_tasks_of_one_client_do_not_displace_those_of_others() -> None:
    kept = ClientState()
    kept.register_task("bert", "task(1)", "b")
    for number in range(20 * client_state.MAX_TASKS):
        kept.register_task("anna", f"task({number})", str(number))
    assert kept.job_of("bert", "task(1)") == "b"
    assert kept.task_of("bert", "b") == "task(1)"
    assert kept.task_of("anna", "0") is None


def test_clients_are_forgotten_after_a_while() -> None:
    kept = ClientState()
    for number in range(client_state.MOST_OWNERS + 1):
        kept.register_task(str(number), "task", "job")
    assert kept.job_of("0", "task") is None
    assert kept.job_of("1", "task") == "job"


def test_a_job_with_two_ids_has_the_latest() -> None:
    kept = ClientState()
    kept.register_task("anna", "one", "a")
    kept.register_task("anna", "two", "a")
    kept.register_task("anna", "one", "b")
    assert kept.task_of("anna", "a") == "two"
    assert kept.task_of("anna", "b") == "one"
