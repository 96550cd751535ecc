from __future__ import annotations

from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError
from safelight.generation.samplers import Kind
from safelight.models.checkpoints import STARTER_FOLDER, resolve
from safelight.server.compat.checkpoints import chosen, listed, shown, title
from safelight.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with a checkpoint of one's own."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine").symlink_to(STARTER_FOLDER)
    return Settings(home=tmp_path)


def test_names_titles_and_nothing(settings: Settings) -> None:
    assert chosen("mine", settings).name == "mine"
    assert chosen(" mine [0123456789]", settings).name == "mine"
    assert chosen(None, settings).name is None
    assert chosen("", settings).name is None
    assert chosen("starter", settings).name is None, "the server's own needs no name"
    assert chosen("mine", settings).kind is Kind.DIFFUSION


def test_hashes_once_they_are_known(settings: Settings) -> None:
    digest = resolve("starter", settings.home).digest(settings.cache)
    assert chosen(digest, settings).name is None
    assert chosen(digest[:10], settings).name is None
    assert listed(settings)[0].title == f"starter [{digest[:10]}]"
    with pytest.raises(CheckpointMissingError):
        chosen("0123456789", settings)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../mine", "~/mine", "owner/name", "mine/../mine", "MINE", "."]
)
def test_paths_hub_ids_and_others_names_are_no_checkpoints(settings: Settings, name: str) -> None:
    with pytest.raises(CheckpointMissingError):
        chosen(name, settings)


def test_a_path_as_the_servers_own_shows_without_its_folders(settings: Settings) -> None:
    elsewhere = settings.home / "elsewhere" / "picture-model"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(STARTER_FOLDER)
    served = Settings(home=settings.home, checkpoint=str(elsewhere))
    assert chosen("picture-model", served).name is None
    assert shown(None, served)[0] == "picture-model"
    assert [(each.name, each.own) for each in listed(served)] == [
        ("picture-model", True),
        ("starter", False),
        ("mine", False),
    ]


def test_a_hub_id_as_the_servers_own_is_looked_up_by_workers_only(settings: Settings) -> None:
    served = Settings(home=settings.home, checkpoint="owner/name")
    assert chosen(None, served).family is None
    assert chosen(None, served).kind is None
    assert shown(None, served) == ("owner/name", None)
    assert [each.own for each in listed(served)] == [False, False]


def test_titles(settings: Settings) -> None:
    assert title("mine", None) == "mine"
    assert title("mine", "0123456789abcdef") == "mine [0123456789]"
    assert shown("gone", settings) == ("gone", None)
