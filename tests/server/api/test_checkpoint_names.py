from __future__ import annotations

from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError
from safelight.generation.solvers.samplers import PredictionProcess
from safelight.models.checkpoints.discovery import STARTER_PATH, find_checkpoint
from safelight.server.api.checkpoint_names import (
    checkpoint_title,
    list_checkpoints,
    select_checkpoint,
    title_and_digest,
)
from safelight.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with a checkpoint of its own."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine").symlink_to(STARTER_PATH)
    return Settings(home=tmp_path)


def test_names_titles_and_empty_names(settings: Settings) -> None:
    assert select_checkpoint("mine", settings).name == "mine"
    assert select_checkpoint(" mine [0123456789]", settings).name == "mine"
    assert select_checkpoint(None, settings).name is None
    assert select_checkpoint("", settings).name is None
    assert select_checkpoint("starter", settings).name is None, "the server's own needs no name"
    assert select_checkpoint("mine", settings).kind is PredictionProcess.DIFFUSION


def test_hashes_once_they_are_known(settings: Settings) -> None:
    digest = find_checkpoint("starter", settings.home).digest(settings.cache_folder)
    assert select_checkpoint(digest, settings).name is None
    assert select_checkpoint(digest[:10], settings).name is None
    assert list_checkpoints(settings)[0].title == f"starter [{digest[:10]}]"
    with pytest.raises(CheckpointMissingError):
        select_checkpoint("0123456789", settings)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../mine", "~/mine", "owner/name", "mine/../mine", "MINE", "."]
)
def test_paths_hub_ids_and_unknown_names_are_refused(settings: Settings, name: str) -> None:
    with pytest.raises(CheckpointMissingError):
        select_checkpoint(name, settings)


def test_a_configured_path_is_shown_without_its_folders(settings: Settings) -> None:
    elsewhere = settings.home / "elsewhere" / "picture-model"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(STARTER_PATH)
    served = Settings(home=settings.home, checkpoint=str(elsewhere))
    assert select_checkpoint("picture-model", served).name is None
    assert title_and_digest(None, served)[0] == "picture-model"
    assert [(each.name, each.is_default) for each in list_checkpoints(served)] == [
        ("picture-model", True),
        ("starter", False),
        ("mine", False),
    ]


def test_a_configured_hub_id_is_looked_up_by_workers_only(settings: Settings) -> None:
    served = Settings(home=settings.home, checkpoint="owner/name")
    assert select_checkpoint(None, served).family is None
    assert select_checkpoint(None, served).kind is None
    assert title_and_digest(None, served) == ("owner/name", None)
    assert [each.is_default for each in list_checkpoints(served)] == [False, False]


def test_titles(settings: Settings) -> None:
    assert checkpoint_title("mine", None) == "mine"
    assert checkpoint_title("mine", "0123456789abcdef") == "mine [0123456789]"
    assert title_and_digest("gone", settings) == ("gone", None)
