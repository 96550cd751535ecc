from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from safelight.errors import CheckpointMissingError, DownloadError
from safelight.models.checkpoints.discovery import find_checkpoint, find_checkpoints
from safelight.models.hub.checkpoint_download import hub_lookup, remove_cached
from safelight.settings import Settings

COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path: Path, tiny: Callable[[str], Path]) -> Path:
    """A hub cache that holds owner/painter."""
    repository = tmp_path / "hub" / "models--owner--painter"
    shutil.copytree(tiny("sd1"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def test_cached_files_are_used(cache: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint("owner/painter", tmp_path, hub_lookup=hub_lookup(cache=cache))
    assert checkpoint.kind == "hub"
    assert checkpoint.name == "owner/painter"
    assert checkpoint.path.name == COMMIT


def test_a_checkpoint_that_is_not_cached_is_missing_without_a_request(
    cache: Path, tmp_path: Path, network_log: Path
) -> None:
    before = network_log.read_text()
    with pytest.raises(CheckpointMissingError, match="nothing is fetched unless you ask") as caught:
        find_checkpoint("owner/other", tmp_path, hub_lookup=hub_lookup(cache=cache))
    assert "safelight models pull owner/other" in caught.value.hint
    assert network_log.read_text() == before


def test_an_invalid_hub_name_is_missing(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("ow ner/--", tmp_path, hub_lookup=hub_lookup(cache=cache))


def test_pulling_without_a_connection_is_an_error(cache: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, hub_url="http://127.0.0.1:9", allow_network=True)
    with pytest.raises(DownloadError, match="The hub does not tell of owner/other"):
        find_checkpoint("owner/other", tmp_path, hub_lookup=hub_lookup(settings, cache=cache))


def test_pulled_checkpoints_are_listed_and_can_be_removed(cache: Path, tmp_path: Path) -> None:
    (cache / "models--no--checkpoint").mkdir()
    (cache / "datasets--some--pictures" / "refs").mkdir(parents=True)
    found = {each.name: each for each in find_checkpoints(tmp_path / "home", hub_cache=cache)}
    assert found["owner/painter"].kind == "hub"
    assert "owner/painter" not in {each.name for each in find_checkpoints(tmp_path / "home")}
    with pytest.raises(CheckpointMissingError):
        remove_cached("owner/other", cache)
    remove_cached("owner/painter", cache)
    assert "owner/painter" not in {each.name for each in find_checkpoints(tmp_path / "home", hub_cache=cache)}
    with pytest.raises(CheckpointMissingError):
        remove_cached("owner/painter", cache)
    with pytest.raises(CheckpointMissingError):
        remove_cached("owner/painter", tmp_path / "none")
