from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError, MemoryBudgetError
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.jobs.worker.residency import Residency
from safelight.settings import Settings
from safelight.studio import Studio


class FakeStudio(Studio):
    """A studio whose checkpoint cache holds names only."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.held: dict[str, bool] = {}
        """Names, and whether a job is using them."""
        self.problem: Exception | None = None

    def preload(self, checkpoint: str | None = None) -> None:
        if self.problem:
            raise self.problem
        self.held.setdefault(str(checkpoint), False)

    def unload(self, checkpoint: str | None = None) -> None:
        for name in [name for name, used in self.held.items() if not used]:
            if checkpoint in (None, name):
                del self.held[name]

    def is_loaded(self, checkpoint: str) -> bool:
        if self.problem:
            raise self.problem
        return checkpoint in self.held

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        return frozenset(self.held)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[QueueService]:
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    opened = QueueService.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def studio(service: QueueService) -> FakeStudio:
    return FakeStudio(service.settings)


@pytest.fixture
def told() -> list[str]:
    """The number of changes to report."""
    return []


@pytest.fixture
def residency(service: QueueService, studio: FakeStudio, told: list[str]) -> Residency:
    return Residency(service, studio, lambda: told.append("."))


def go() -> bool:
    return False


def pending_commands(residency: Residency) -> list[tuple[bool, str | None]]:
    """The commands that are received and not done yet."""
    residency.read_commands()
    return [(order.load, order.checkpoint) for order in residency.pending]


def test_a_load_command_waits_for_a_gap_between_jobs(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    service.request_load("a")
    residency.read_commands()
    assert (studio.held, residency.loading) == ({}, "a")
    residency.execute_pending(go)
    assert (set(studio.held), residency.loading, residency.pending) == ({"a"}, None, [])
    residency.read_commands()
    assert residency.pending == []


def test_unused_checkpoints_are_unloaded_at_once_and_others_between_jobs(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    studio.held = {"a": True, "b": False}
    service.request_unload()
    residency.read_commands()
    assert set(studio.held) == {"a"}
    studio.held = {"a": False}
    residency.read_commands()
    assert set(studio.held) == {"a"}  # not between two steps of the job that uses it, but between two jobs
    residency.execute_pending(go)
    assert studio.held == {}


def test_only_one_is_unloaded(service: QueueService, studio: FakeStudio, residency: Residency) -> None:
    studio.held = {"a": False, "b": False}
    service.request_unload("a")
    residency.read_commands()
    assert set(studio.held) == {"b"}


def test_the_latest_command_wins(service: QueueService, studio: FakeStudio, residency: Residency) -> None:
    service.request_load("a")
    residency.read_commands()
    service.request_unload("a")
    residency.read_commands()
    residency.execute_pending(go)
    assert studio.held == {}
    service.request_load("a")
    residency.read_commands()
    residency.execute_pending(go)
    assert set(studio.held) == {"a"}


def test_commands_from_before_its_start_are_ignored(service: QueueService, studio: FakeStudio) -> None:
    """The previous process may have died of one."""
    service.request_load("a")
    residency = Residency(service, studio, lambda: None)
    residency.read_commands()
    assert residency.pending == []


def test_an_error_is_shown_until_a_load_succeeds(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    studio.problem = CheckpointMissingError("There is no checkpoint 'a' on this machine.")
    for name in ("a", "b"):
        service.request_load(name)
    residency.read_commands()
    residency.execute_pending(go)
    assert residency.pending == []
    assert residency.last_error is not None
    assert (residency.last_error["code"], residency.last_error["checkpoint"]) == ("checkpoint.missing", "b")
    service.request_unload("a")
    residency.read_commands()
    residency.execute_pending(go)
    assert residency.last_error is not None
    studio.problem = None
    service.request_load("c")
    residency.read_commands()
    residency.execute_pending(go)
    assert residency.last_error is None


@pytest.mark.parametrize(
    ("problem", "code"), [(MemoryError(), MemoryBudgetError.code), (RuntimeError("shapes"), "internal")]
)
def test_no_file_content_ends_the_worker(
    service: QueueService, studio: FakeStudio, residency: Residency, problem: Exception, code: str
) -> None:
    studio.problem = problem
    service.request_load("a")
    residency.read_commands()
    residency.execute_pending(go)
    assert residency.last_error is not None
    assert residency.last_error["code"] == code
    assert not residency.is_loading


def test_changes_are_reported(service: QueueService, residency: Residency, told: list[str]) -> None:
    residency.read_commands()
    assert told == []
    service.request_load("a")
    residency.read_commands()
    assert len(told) == 1
    residency.read_commands()
    assert len(told) == 1
    residency.execute_pending(go)
    assert len(told) == 3


def test_a_satisfied_command_is_done(
    service: QueueService, studio: FakeStudio, residency: Residency, told: list[str]
) -> None:
    """A job may run for minutes, and the next one would wait for it."""
    studio.held = {"starter": True, "idle": False}
    service.request_unload("idle")
    assert (pending_commands(residency), set(studio.held)) == ([], {"starter"})
    service.request_load("starter")
    service.request_unload("nothing")
    assert pending_commands(residency) == []
    studio.held = {}
    service.request_unload()
    assert pending_commands(residency) == []
    assert len(told) == 3


def test_a_command_that_was_done_early_is_not_repeated(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    studio.held = {"starter": True}
    service.request_load("a")
    service.request_unload("b")
    assert pending_commands(residency) == [(True, "a")]
    studio.held["b"] = False  # a job used it
    residency.execute_pending(go)
    assert (pending_commands(residency), set(studio.held)) == ([], {"starter", "b", "a"})


def test_a_command_that_others_may_undo_is_not_done_early(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    studio.held = {"starter": True}
    service.request_unload()
    service.request_load("starter")
    assert pending_commands(residency) == [(False, None), (True, "starter")]
    studio.held = {"starter": False}
    residency.execute_pending(go)
    assert (pending_commands(residency), set(studio.held)) == ([], {"starter"})


def test_a_checkpoint_that_a_job_loads_meanwhile_satisfies_the_command(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    service.request_load("a")
    assert pending_commands(residency) == [(True, "a")]
    studio.held = {"a": True}
    assert (pending_commands(residency), residency.loading) == ([], None)


def test_a_checkpoint_that_a_job_is_about_to_load_is_unloaded_after_it(
    service: QueueService, studio: FakeStudio
) -> None:
    in_use = {"a"}
    residency = Residency(service, studio, lambda: None, lambda: in_use)
    service.request_unload("b")
    service.request_unload("a")
    assert pending_commands(residency) == [(False, "a")]
    service.request_unload()
    assert pending_commands(residency) == [(False, None)]
    in_use.clear()
    assert pending_commands(residency) == []


def test_a_checkpoint_that_is_loading_is_unloaded(
    service: QueueService, studio: FakeStudio, residency: Residency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is not in memory yet, nothing seems to be left to do."""
    preload = FakeStudio.preload

    def unloaded_meanwhile(studio: FakeStudio, checkpoint: str | None = None) -> None:
        service.request_unload("a")
        assert pending_commands(residency) == [(False, "a")]
        preload(studio, checkpoint)

    monkeypatch.setattr(FakeStudio, "preload", unloaded_meanwhile)
    service.request_load("a")
    residency.read_commands()
    residency.execute_pending(go)
    assert (studio.held, residency.last_error) == ({}, None)


def test_a_checkpoint_with_a_damaged_file_is_loaded(
    service: QueueService, studio: FakeStudio, residency: Residency
) -> None:
    """It is in memory, and its file was damaged since: the load reports the error."""
    studio.held, studio.problem = {"a": False}, RuntimeError("shapes")
    service.request_load("a")
    assert pending_commands(residency) == [(True, "a")]
    residency.execute_pending(go)
    assert residency.last_error is not None
    studio.problem = None
    service.request_load("a")
    assert pending_commands(residency) == []
    assert residency.last_error is None
