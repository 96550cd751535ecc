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
    """A studio whose memory holds names only."""

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
    """How often there was something new to be seen."""
    return []


@pytest.fixture
def keeper(service: QueueService, shelf: Shelf, told: list[str]) -> Residency:
    return Residency(service, shelf, lambda: told.append("."))


def go() -> bool:
    return False


def waiting(keeper: Residency) -> list[tuple[bool, str | None]]:
    """What is heard, and not done yet."""
    keeper.listen()
    return [(order.load, order.checkpoint) for order in keeper.wanted]


def test_loading_waits_until_it_is_time(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    service.load("a")
    keeper.listen()
    assert (shelf.held, keeper.loading) == ({}, "a")
    keeper.obey(go)
    assert (set(shelf.held), keeper.loading, keeper.wanted) == ({"a"}, None, [])
    keeper.listen()
    assert keeper.wanted == []


def test_what_is_in_no_use_goes_at_once_and_the_rest_when_it_is_time(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.held = {"a": True, "b": False}
    service.unload()
    keeper.listen()
    assert set(shelf.held) == {"a"}
    shelf.held = {"a": False}
    keeper.listen()
    assert set(shelf.held) == {"a"}  # not between two steps of whoever is using it, but between two jobs
    keeper.obey(go)
    assert shelf.held == {}


def test_only_one_goes(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    shelf.held = {"a": False, "b": False}
    service.unload("a")
    keeper.listen()
    assert set(shelf.held) == {"b"}


def test_the_newest_word_counts(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
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


def test_what_was_said_before_it_was_there_is_not_meant_for_it(service: QueueService, shelf: Shelf) -> None:
    """It may be what the last one died of."""
    service.load("a")
    keeper = Residency(service, shelf, lambda: None)
    keeper.listen()
    assert keeper.wanted == []


def test_an_error_is_kept_until_something_is_loaded(
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
def test_nothing_that_a_file_holds_ends_the_worker(
    service: QueueService, shelf: Shelf, keeper: Residency, problem: Exception, code: str
) -> None:
    shelf.problem = problem
    service.load("a")
    keeper.listen()
    keeper.obey(go)
    assert keeper.last_error is not None
    assert keeper.last_error["code"] == code
    assert not keeper.at_work


def test_it_says_when_something_changes(service: QueueService, keeper: Residency, told: list[str]) -> None:
    keeper.listen()
    assert told == []
    service.load("a")
    keeper.listen()
    assert len(told) == 1
    keeper.listen()
    assert len(told) == 1
    keeper.obey(go)
    assert len(told) == 3


def test_what_is_so_already_is_done(
    service: QueueService, shelf: Shelf, keeper: Residency, told: list[str]
) -> None:
    """A job may be on its way for minutes, and the next one would wait for it."""
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


def test_what_was_done_out_of_turn_is_not_done_again(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    shelf.held = {"starter": True}
    service.load("a")
    service.unload("b")
    assert waiting(keeper) == [(True, "a")]
    shelf.held["b"] = False  # a job drew with it
    keeper.obey(go)
    assert (waiting(keeper), set(shelf.held)) == ([], {"starter", "b", "a"})


def test_what_others_may_undo_is_not_done(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    shelf.held = {"starter": True}
    service.unload()
    service.load("starter")
    assert waiting(keeper) == [(False, None), (True, "starter")]
    shelf.held = {"starter": False}
    keeper.obey(go)
    assert (waiting(keeper), set(shelf.held)) == ([], {"starter"})


def test_what_a_job_loads_meanwhile_is_not_waited_for(
    service: QueueService, shelf: Shelf, keeper: Residency
) -> None:
    service.load("a")
    assert waiting(keeper) == [(True, "a")]
    shelf.held = {"a": True}
    assert (waiting(keeper), keeper.loading) == ([], None)


def test_what_a_job_is_about_to_load_goes_after_it(service: QueueService, shelf: Shelf) -> None:
    in_use = {"a"}
    keeper = Residency(service, shelf, lambda: None, lambda: in_use)
    service.unload("b")
    service.unload("a")
    assert waiting(keeper) == [(False, "a")]
    service.unload()
    assert waiting(keeper) == [(False, None)]
    in_use.clear()
    assert waiting(keeper) == []


def test_what_is_being_loaded_goes_again(
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


def test_what_cannot_be_told_of_is_loaded(service: QueueService, shelf: Shelf, keeper: Residency) -> None:
    """It is in memory, and its file was damaged since: whoever loads it hears of that."""
    shelf.held, shelf.problem = {"a": False}, RuntimeError("shapes")
    service.load("a")
    assert waiting(keeper) == [(True, "a")]
    keeper.obey(go)
    assert keeper.last_error is not None
    shelf.problem = None
    service.load("a")
    assert waiting(keeper) == []
    assert keeper.last_error is None
