from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safelight.errors import AdapterAmbiguousError, AdapterMissingError, PickleRefusedError
from safelight.models.adapters import adapter_names
from safelight.models.adapters.adapter_names import find_adapter, list_adapters


def lora(path: Path, alias: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {"lora_unet_x.lora_down.weight": torch.zeros(1, 1)},
        path,
        {"ss_output_name": alias} if alias else None,
    )
    return path


def embedding(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": torch.zeros(1, 768)}, path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    lora(tmp_path / "loras" / "Ink.safetensors", "ink wash")
    lora(tmp_path / "loras" / "styles" / "oil.safetensors")
    lora(tmp_path / "more" / "v1.5.safetensors")
    embedding(tmp_path / "embeddings" / "ink.safetensors")
    return [tmp_path / name for name in ("loras", "embeddings", "more", "missing")]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Ink", "loras/Ink"),
        ("ink", "loras/Ink"),
        ("INK.safetensors", "loras/Ink"),
        ("ink wash", "loras/Ink"),
        ("Ink Wash", "loras/Ink"),
        ("oil", "loras/styles/oil"),
        ("styles/oil", "loras/styles/oil"),
        ("styles\\oil", "loras/styles/oil"),
        ("styles/OIL.safetensors", "loras/styles/oil"),
        ("v1.5", "more/v1.5"),
    ],
)
def test_names(name: str, place: str, folders: list[Path], tmp_path: Path) -> None:
    assert find_adapter(name, folders, "LoRA").path == tmp_path / f"{place}.safetensors"


def test_a_path(folders: list[Path], tmp_path: Path) -> None:
    path = lora(tmp_path / "elsewhere" / "x.safetensors", "mine")
    found = find_adapter(str(path), folders, "LoRA", allow_paths=True)
    assert (found.path, found.name, found.alias) == (path, "x", "mine")
    with pytest.raises(AdapterMissingError):
        find_adapter(str(path), folders, "LoRA")
    with pytest.raises(AdapterMissingError):
        find_adapter("~nobody/x", folders, "LoRA", allow_paths=True)


def test_kinds_are_apart(folders: list[Path], tmp_path: Path) -> None:
    assert find_adapter("ink", folders, "embedding").path == tmp_path / "embeddings" / "ink.safetensors"
    assert [each.place for each in list_adapters(folders, "embedding")] == ["ink"]
    assert [(each.place, each.alias) for each in list_adapters(folders, "LoRA")] == [
        ("Ink", "ink wash"),
        ("styles/oil", ""),
        ("v1.5", ""),
    ]


def test_a_name_as_it_is_written_comes_first(folders: list[Path], tmp_path: Path) -> None:
    lora(tmp_path / "more" / "INK.safetensors")
    assert find_adapter("INK", folders, "LoRA").path.parent.name == "more"
    assert find_adapter("Ink", folders, "LoRA").path.parent.name == "loras"
    with pytest.raises(AdapterAmbiguousError, match=r"2 files are called iNK: .*Ink\.safetensors"):
        find_adapter("iNK", folders, "LoRA")


def test_several_of_a_name_are_told_by_their_folder(folders: list[Path], tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "photos" / "oil.safetensors")
    with pytest.raises(AdapterAmbiguousError) as caught:
        find_adapter("oil", folders, "LoRA")
    assert "photos/oil.safetensors" in caught.value.message
    assert find_adapter("photos/oil", folders, "LoRA").place == "photos/oil"
    lora(tmp_path / "loras" / "other.safetensors", "ink wash")
    with pytest.raises(AdapterAmbiguousError, match="other"):
        find_adapter("ink wash", folders, "LoRA")


def test_near_names_are_in_the_error(folders: list[Path]) -> None:
    with pytest.raises(AdapterMissingError) as caught:
        find_adapter("inc", folders, "LoRA")
    assert caught.value.hint == "There are: Ink."
    assert caught.value.context == {"near": ["Ink"]}
    with pytest.raises(AdapterMissingError) as caught:
        find_adapter("something else", folders, "embedding")
    assert "embeddings/" in caught.value.hint


def test_pickles_and_damaged_files(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "embeddings" / "old.pt").write_bytes(b"\x80\x02")
    with pytest.raises(PickleRefusedError, match=r"old\.pt"):
        find_adapter("old", folders, "embedding")
    (tmp_path / "loras" / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(AdapterMissingError):
        find_adapter("cut", folders, "LoRA")


def test_only_files_that_texts_name_are_read(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is looked through before each picture, and there may be thousands of files."""
    for number in range(5):
        embedding(tmp_path / "embeddings" / f"moss{number}.safetensors")
    read: list[str] = []
    header = adapter_names.read_header
    monkeypatch.setattr(adapter_names, "read_header", lambda path: (read.append(path.stem), header(path))[1])
    found = list_adapters([tmp_path / "embeddings"], "embedding", texts=["a cat", "MOSS3, green"])
    assert [each.name for each in found] == ["moss3"]
    assert set(read) == {"moss3"}
    assert len(list_adapters([tmp_path / "embeddings"], "embedding", texts=[])) == 0
