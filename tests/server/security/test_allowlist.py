from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import CheckpointMissingError, SafelightError, UpscalerUnknownError
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.server.security.allowlist import (
    check_checkpoint,
    check_upscaler,
    default_checkpoint_name,
    with_allowed_names,
)
from safelight.settings import Settings

NAMES = st.text(alphabet="./\\~abc\0 ", max_size=12)


@given(name=NAMES)
def test_no_name_leads_out_of_the_data_directory(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    home = tmp_path_factory.getbasetemp() / "empty"
    settings = Settings(home=home, model_folders=(home / "other",))
    for check in (partial(check_checkpoint, settings=settings), partial(check_upscaler, home=home)):
        with pytest.raises(SafelightError) as refused:
            check(name)
        assert isinstance(refused.value, CheckpointMissingError | UpscalerUnknownError)


def test_an_existing_path_is_not_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.safetensors").touch()
    for name in ("here", "here.safetensors", "./here.safetensors", str(tmp_path / "here.safetensors")):
        with pytest.raises(CheckpointMissingError, match="on this server"):
            check_checkpoint(name, Settings(home=tmp_path / "home"))
        with pytest.raises(UpscalerUnknownError):
            check_upscaler(name, tmp_path / "home")


def test_checkpoints_of_the_model_folders_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "painter").symlink_to(STARTER_PATH)
    settings = Settings(home=tmp_path / "home", model_folders=(tmp_path / "other",))
    assert check_checkpoint("painter", settings) == "painter"
    with pytest.raises(CheckpointMissingError):
        check_checkpoint(str(tmp_path / "other" / "painter"), settings)


def test_near_names_are_suggested(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError) as refused:
        check_checkpoint("strater", Settings(home=tmp_path))
    assert refused.value.hint.startswith("Did you mean starter?")


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [("starter", "starter"), ("/a/b/c", "c"), ("~/x.safetensors", "x.safetensors"), ("a/b", "a/b")],
)
def test_the_public_name_of_the_configured_checkpoint(checkpoint: str, name: str) -> None:
    assert default_checkpoint_name(Settings(checkpoint=checkpoint)) == name


def test_the_configured_checkpoint_is_the_default(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, checkpoint="/a/mine")
    fields = {"prompt": "x", "checkpoint": "mine"}
    assert with_allowed_names(fields, settings) == {"prompt": "x"}
    assert fields["checkpoint"] == "mine"
    known = {"checkpoint": "starter", "hires": {"upscaler": "lanczos"}, "upscaler": "nearest"}
    assert with_allowed_names(known, settings) == known
    assert with_allowed_names({"hires": {"scale": 2}}, settings) == {"hires": {"scale": 2}}


def test_a_checkpoint_may_be_named_with_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("mine", "other"):
        (tmp_path / "checkpoints" / name).symlink_to(STARTER_PATH)
    settings = Settings(home=tmp_path, checkpoint="mine")
    assert with_allowed_names({"checkpoint": "other.safetensors"}, settings) == {"checkpoint": "other"}
    assert with_allowed_names({"checkpoint": "mine.safetensors"}, settings) == {}
