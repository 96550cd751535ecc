from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.server.api.adapter_files import write_adapters

from safelight.errors import AdapterMissingError
from safelight.models.adapters import catalogue
from safelight.models.adapters.catalogue import AdapterCatalogue
from safelight.models.inventory.kind_folders import weights_folders


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Folders with adapters, one of which does not say for which family it is."""
    write_adapters(tmp_path)
    layer = "lora_unet_x_attn2_to_k"
    factors = {f"{layer}.lora_down.weight": torch.ones(2, 8), f"{layer}.lora_up.weight": torch.ones(8, 2)}
    save_file(factors, tmp_path / "loras" / "odd.safetensors")
    return weights_folders(tmp_path, ())


def test_files_are_read_once_and_again_when_they_change(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    summarize = catalogue._summarize

    def watched(path: Path) -> object:
        read.append(path.stem)
        return summarize(path)

    monkeypatch.setattr(catalogue, "_summarize", watched)
    first = AdapterCatalogue(tmp_path / "cache").list(folders)
    assert [(each.summary.kind, each.named.place, each.named.alias) for each in first] == [
        ("LoRA", "odd", ""),
        ("LoRA", "styles/ink", "ink_v2"),
        ("embedding", "glassy", ""),
        ("embedding", "mossy", ""),
    ]
    assert len(read) == 4
    later = AdapterCatalogue(tmp_path / "cache")
    assert later.list(folders) == first
    assert len(read) == 4, "another process has what was stored"
    ink = first[1].named.path
    ink.with_suffix(".json").write_text(json.dumps({"activation text": "ink wash"}))
    changed = later.list(folders)
    assert read[4:] == ["ink"]
    assert changed[1].summary.trigger_words == ("ink wash",)


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b'{"format": 0, "files": {}}', b'{"format": 1, "files": {"a": 1}}']
)
def test_a_stored_file_of_another_kind_is_not_used(
    folders: list[Path], tmp_path: Path, stored: bytes
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "adapters.json").write_bytes(stored)
    assert len(AdapterCatalogue(tmp_path / "cache").list(folders)) == 4


def test_an_adapter_is_found_by_its_place_and_no_path_is(folders: list[Path], tmp_path: Path) -> None:
    found = AdapterCatalogue(tmp_path / "cache")
    assert found.get("LoRA", "styles/ink", folders).named.name == "ink"
    for kind, place in (("LoRA", "ink"), ("embedding", "styles/ink"), ("LoRA", "../loras/styles/ink")):
        with pytest.raises(AdapterMissingError):
            found.get(kind, place, folders)
    with pytest.raises(AdapterMissingError):
        found.get("LoRA", "styles/ink", [tmp_path / "elsewhere"])
