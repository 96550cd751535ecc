from __future__ import annotations

import os
from pathlib import Path

import pytest

from safelight.errors import AdapterPreviewMissingError, ImageTooManyBytesError
from safelight.models.adapters.adapter_names import NamedAdapter, list_adapters
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.adapters.previews import AdapterPreview, PreviewFolder

ADAPTER = "ink.v2"


@pytest.fixture
def adapter(tmp_path: Path) -> NamedAdapter:
    folder = tmp_path / "loras"
    folder.mkdir()
    return NamedAdapter(folder / f"{ADAPTER}.safetensors", ADAPTER, ADAPTER, "")


def find(home: Path, adapter: NamedAdapter) -> AdapterPreview | None:
    return PreviewFolder(home).find("LoRA", adapter)


def test_pictures_beside_the_file_are_found_in_order(tmp_path: Path, adapter: NamedAdapter) -> None:
    assert find(tmp_path, adapter) is None
    for suffix in (".webp", ".jpg", ".preview.jpg", ".png", ".preview.png"):
        (tmp_path / "loras" / f"{ADAPTER}{suffix}").write_bytes(b"a picture")
        found = find(tmp_path, adapter)
        assert found is not None
        assert (found.path.name, found.is_set) == (f"{ADAPTER}{suffix}", suffix == ".preview.png")
    (tmp_path / "loras" / "ink.png").write_bytes(b"another one's")
    assert found.read(9) == b"a picture"
    with pytest.raises(ImageTooManyBytesError):
        found.read(8)


def test_one_that_is_set_comes_first_and_can_be_removed(tmp_path: Path, adapter: NamedAdapter) -> None:
    (tmp_path / "loras" / f"{ADAPTER}.png").write_bytes(b"the author's")
    previews = PreviewFolder(tmp_path)
    assert previews.set("LoRA", adapter, b"mine") == tmp_path / "loras" / f"{ADAPTER}.preview.png"
    found = previews.find("LoRA", adapter)
    assert found is not None
    assert found.read(9) == b"mine"
    previews.remove("LoRA", adapter)
    with pytest.raises(AdapterPreviewMissingError):
        previews.remove("LoRA", adapter)
    with pytest.raises(AdapterPreviewMissingError):
        found.read(9)


def test_where_nothing_can_be_written_the_data_directory_has_it(
    tmp_path: Path, adapter: NamedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loras" / f"{ADAPTER}.preview.png").write_bytes(b"another program's")
    previews = PreviewFolder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # root may write everywhere
        path = previews.set("LoRA", adapter, b"mine")
    assert path.parent == tmp_path / "previews"
    found = find(tmp_path, adapter)
    assert found is not None
    assert found.path == path
    assert PreviewFolder(tmp_path).find("embedding", adapter) != found, (
        "an embedding of the same name has its own"
    )
    previews.set("LoRA", adapter, b"newer")
    assert not path.exists()
    found = find(tmp_path, adapter)
    assert found is not None
    assert found.read(9) == b"newer"


def test_nothing_is_written_beside_the_packages_own_file(tmp_path: Path) -> None:
    (packaged,) = list_adapters(adapter_folders(tmp_path, ()), "LoRA")
    assert PreviewFolder(tmp_path).set("LoRA", packaged, b"mine").parent == tmp_path / "previews"
    found = find(tmp_path, packaged)
    assert found is not None
    assert found.read(9) == b"mine"
