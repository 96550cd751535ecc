from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError, MemoryBudgetError
from safelight.jobs.queue_service import QueueService, prepare
from safelight.jobs.worker.residency import Residency
from safelight.settings import Settings
from safelight.studio import Studio


class Shelf(Studio):
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

    def holds(self, checkpoint: str) -> bool:
        if self.problem:
            raise self.problem
        return checkpoint in self.held

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        return frozenset(self.held)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[QueueService]:
    settings = Settings(home=tmp_path)
    prepare(settings)
    opened = QueueService.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def shelf(service: QueueService) -> Shelf:
    return Shelf(service.settings)


@pytest.fixture
def told() -> list[str]:
    """The number of changes to report."""
    return []


@pytest.fixture
def keeper(service: QueueService, shelf: Shelf, told: list[str]) -> Residency:
    return Residency(service, shelf, lambda: told.append("."))


def go() -> bool:
    return False


def waiting(keeper: Residency) -> list[tuple[bool, str | None]]:
    """The commands that are received and not done yet."""
    keeper.listen()
    return [(order.load, order.checkpoint) for order in keeper.wanted]


def test_a_load_command_waits_for_a_gap_between_jobs(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    service.load("a")
    keeper.listen()
    assert (shelf.held, keeper.loading) == ({}, "a")
    keeper.obey(go)
    assert (set(shelf.held), keeper.loading, keeper.wanted) == ({"a"}, None, [])
    keeper.listen()
    assert keeper.wanted == []


def test_unused_checkpoints_are_unloaded_at_once_and_others_between_jobs(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.held = {"a": True, "b": False}
    service.unload()
    keeper.listen()
    assert set(shelf.held) == {"a"}
    shelf.held = {"a": False}
    keeper.listen()
    assert set(shelf.held) == {"a"}  # not between two steps of the job that uses it, but between two jobs
    keeper.obey(go)
    assert shelf.held == {}


def test_only_one_is_unloaded(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    shelf.held = {"a": False, "b": False}
    service.unload("a")
    keeper.listen()
    assert set(shelf.held) == {"b"}


def test_the_latest_command_wins(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    service.load("a")
    keeper.listen()
    service.unload("a")
    keeper.listen()
    keeper.obey(go)
    assert shelf.held == {}
    service.load("a")
    keeper.listen()
    keeper.obey(go)
    assert set(shelf.held) == {"a"}


def test_commands_from_before_its_start_are_ignored(service: QueueService, shelf: Shelf) -> None:
    """The previous process may have died of one."""
    service.load("a")
    keeper = Residency(service, shelf, lambda: None)
    keeper.listen()
    assert keeper.wanted == []


def test_an_error_is_shown_until_a_load_succeeds(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.problem = CheckpointMissingError("There is no checkpoint 'a' on this machine.")
    for name in ("a", "b"):
        service.load(name)
    keeper.listen()
    keeper.obey(go)
    assert keeper.wanted == []
    assert keeper.last_error is not None
    assert (keeper.last_error["code"], keeper.last_error["checkpoint"]) == ("checkpoint.missing", "b")
    service.unload("a")
    keeper.listen()
    keeper.obey(go)
    assert keeper.last_error is not None
    shelf.problem = None
    service.load("c")
    keeper.listen()
    keeper.obey(go)
    assert keeper.last_error is None


@pytest.mark.parametrize(
    ("problem", "code"), [(MemoryError(), MemoryBudgetError.code), (RuntimeError("shapes"), "internal")]
)
def test_no_file_content_ends_the_worker(
    service: QueueService, shelf: Shelf, keeper: Residency, problem: Exception, code: str
) -> None:
    shelf.problem = problem
    service.load("a")
    keeper.listen()
    keeper.obey(go)
    assert keeper.last_error is not None
    assert keeper.last_error["code"] == code
    assert not keeper.at_work


def test_changes_are_reported(service: QueueService, keeper: Residency, told: list[str]) -> None:
    keeper.listen()
    assert told == []
    service.load("a")
    keeper.listen()
    assert len(told) == 1
    keeper.listen()
    assert len(told) == 1
    keeper.obey(go)
    assert len(told) == 3


def test_a_satisfied_command_is_done(
    service: QueueService, shelf: Shelf, keeper: Residency, told: list[str]
) -> None:
    """A job may run for minutes, and the next one would wait for it."""
    shelf.held = {"starter": True, "idle": False}
    service.unload("idle")
    assert (waiting(keeper), set(shelf.held)) == ([], {"starter"})
    service.load("starter")
    service.unload("nothing")
    assert waiting(keeper) == []
    shelf.held = {}
    service.unload()
    assert waiting(keeper) == []
    assert len(told) == 3


def test_a_command_that_was_done_early_is_not_repeated(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.held = {"starter": True}
    service.load("a")
    service.unload("b")
    assert waiting(keeper) == [(True, "a")]
    shelf.held["b"] = False  # a job used it
    keeper.obey(go)
    assert (waiting(keeper), set(shelf.held)) == ([], {"starter", "b", "a"})


def test_a_command_that_others_may_undo_is_not_done_early(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.held = {"starter": True}
    service.unload()
    service.load("starter")
    assert waiting(keeper) == [(False, None), (True, "starter")]
    shelf.held = {"starter": False}
    keeper.obey(go)
    assert (waiting(keeper), set(shelf.held)) == ([], {"starter"})


def test_a_checkpoint_that_a_job_loads_meanwhile_satisfies_the_command(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    service.load("a")
    assert waiting(keeper) == [(True, "a")]
    shelf.held = {"a": True}
    assert (waiting(keeper), keeper.loading) == ([], None)


def test_a_checkpoint_that_a_job_is_about_to_load_is_unloaded_after_it(
    service: QueueService, shelf: Shelf
) -> None:
    in_use = {"a"}
    keeper = Residency(service, shelf, lambda: None, lambda: in_use)
    service.unload("b")
    service.unload("a")
    assert waiting(keeper) == [(False, "a")]
    service.unload()
    assert waiting(keeper) == [(False, None)]
    in_use.clear()
    assert waiting(keeper) == []


def test_a_checkpoint_that_is_loading_is_unloaded(
    service: QueueService, shelf: Shelf, keeper: Residency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is not in memory yet, nothing seems to be left to do."""
    preload = Shelf.preload

    def unloaded_meanwhile(shelf: Shelf, checkpoint: str | None = None) -> None:
        service.unload("a")
        assert waiting(keeper) == [(False, "a")]
        preload(shelf, checkpoint)

    monkeypatch.setattr(Shelf, "preload", unloaded_meanwhile)
    service.load("a")
    keeper.listen()
    keeper.obey(go)
    assert (shelf.held, keeper.last_error) == ({}, None)


def test_a_checkpoint_with_a_damaged_file_is_loaded(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    """It is in memory, and its file was damaged since: the load reports the error."""
    shelf.held, shelf.problem = {"a": False}, RuntimeError("shapes")
    service.load("a")
    assert waiting(keeper) == [(True, "a")]
    keeper.obey(go)
    assert keeper.last_error is not None
    shelf.problem = None
    service.load("a")
    assert waiting(keeper) == []
    assert keeper.last_error is None
