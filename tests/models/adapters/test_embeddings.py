from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safelight.errors import AdapterFamilyError, AdapterInvalidError, PickleRefusedError
from safelight.models.adapters.embeddings import MAX_VECTORS, load_embedding
from safelight.models.families import FAMILIES


def encoder(width: int) -> Any:
    """A text encoder, as far as its vocabulary goes."""
    return SimpleNamespace(get_input_embeddings=lambda: torch.nn.Embedding(3, width, device="meta"))


NETWORKS = {
    "sd1": {"text_encoder": encoder(768)},
    "sd2": {"text_encoder": encoder(1024)},
    "sdxl": {"text_encoder": encoder(768), "text_encoder_2": encoder(1280)},
    "sdxl-refiner": {"text_encoder_2": encoder(1280)},
    "flux": {"text_encoder": encoder(768)},
}


def load(tensors: dict[str, torch.Tensor], family: str, tmp_path: Path) -> dict[str, torch.Tensor]:
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    found = load_embedding(path, NETWORKS[family], FAMILIES[family], "0" * 64)
    assert found.count == len(next(iter(found.vectors.values())))
    assert found.nbytes == sum(4 * each.numel() for each in found.vectors.values())
    path.write_bytes(b"")  # nothing of the file is used any longer
    return dict(found.vectors)


ONE, FOUR = torch.rand(1, 768), torch.rand(4, 768)
L, G = torch.rand(3, 768), torch.rand(3, 1280)


@pytest.mark.parametrize(
    ("family", "tensors", "expected"),
    [
        ("sd1", {"emb_params": FOUR}, {"text_encoder": FOUR}),
        ("sd1", {"emb_params": FOUR.half()}, {"text_encoder": FOUR.half().float()}),
        ("sd1", {"<cat-toy>": ONE[0]}, {"text_encoder": ONE}),
        ("sd1", {"string_to_param.*": FOUR}, {"text_encoder": FOUR}),
        ("sd1", {"clip_l": FOUR}, {"text_encoder": FOUR}),
        ("sd2", {"emb_params": torch.ones(2, 1024)}, {"text_encoder": torch.ones(2, 1024)}),
        ("sdxl", {"clip_l": L, "clip_g": G}, {"text_encoder": L, "text_encoder_2": G}),
        ("sdxl", {"text_encoders_0": L, "text_encoders_1": G}, {"text_encoder": L, "text_encoder_2": G}),
        ("sdxl-refiner", {"clip_l": L, "clip_g": G}, {"text_encoder_2": G}),
    ],
)
def test_layouts(
    family: str, tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    found = load(tensors, family, tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert all(each.dtype == torch.float32 for each in found.values())


@pytest.mark.parametrize(
    ("family", "tensors", "title"),
    [
        ("sd1", {"emb_params": torch.ones(2, 1024)}, "Stable Diffusion 2"),
        ("sd2", {"emb_params": FOUR}, "Stable Diffusion 1"),
        ("sdxl", {"emb_params": FOUR}, "Stable Diffusion 1"),
        ("sd1", {"clip_l": L, "clip_g": G}, "Stable Diffusion XL"),
        ("sd1", {"emb_params": torch.ones(2, 500)}, "text encoders of width 500"),
    ],
)
def test_another_familys_file_says_whose_it_is(
    family: str, tensors: dict[str, torch.Tensor], title: str, tmp_path: Path
) -> None:
    with pytest.raises(AdapterFamilyError) as caught:
        load(tensors, family, tmp_path)
    assert f"is for {title}," in caught.value.message
    assert FAMILIES[family].title in caught.value.message


def test_families_without_textual_inversions(tmp_path: Path) -> None:
    with pytest.raises(AdapterFamilyError, match="no use for"):
        load({"emb_params": ONE}, "flux", tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_unet_x.lora_down.weight": torch.ones(1, 768)},
        {"one": ONE, "other": ONE.clone()},
        {"emb_params": torch.ones(1, 2, 768)},
        {"emb_params": torch.ones(0, 768)},
        {"emb_params": torch.ones(MAX_VECTORS + 1, 768)},
        {"emb_params": torch.full((1, 768), float("inf"))},
    ],
)
def test_what_is_no_textual_inversion(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(AdapterInvalidError):
        load(tensors, "sd1", tmp_path)


def test_different_numbers_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(AdapterInvalidError, match="different numbers"):
        load({"clip_l": L, "clip_g": G[:2]}, "sdxl", tmp_path)


def test_damaged_files_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x00" * 20)
    with pytest.raises(AdapterInvalidError):
        load_embedding(path, NETWORKS["sd1"], FAMILIES["sd1"], "")
    with pytest.raises(PickleRefusedError):
        load_embedding(tmp_path / "a.pt", NETWORKS["sd1"], FAMILIES["sd1"], "")
