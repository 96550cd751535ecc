from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import ip_adapters
from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

from safelight.errors import ImageEncoderMissingError
from safelight.models.checkpoints.layouts import NETWORKS
from safelight.models.checkpoints.loading import network_source
from safelight.models.controls.image_encoders import PUBLISHED, find_image_encoder
from safelight.models.controls.ip_adapter import EncoderNeed
from safelight.models.digests import FileDigests
from safelight.models.inventory.folders import inspect_folder

CLIP = EncoderNeed("clip-vision", "embedding", ip_adapters.EMBEDDING)
FEATURES = EncoderNeed("clip-vision", "features", ip_adapters.FEATURES)
SIGLIP = EncoderNeed("siglip-vision", "features", ip_adapters.SIGLIP_FEATURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("encoders")
    ip_adapters.clip_vision(root / "clip_vision" / "tiny-clip")
    ip_adapters.siglip_vision(root / "siglip")
    return root


def load(need: EncoderNeed, root: Path, cache: Path) -> torch.nn.Module:
    found = find_image_encoder(need, root / "adapter.safetensors", [root])
    source = network_source(found.file(), "fp32", torch.device("cpu"), FileDigests(cache), cache)
    network: torch.nn.Module = source.load().network
    return network


def test_a_folder_is_the_same_network_as_in_transformers(folder: Path, tmp_path: Path) -> None:
    pixels = torch.randn(1, 3, ip_adapters.SIDE, ip_adapters.SIDE)
    clip = CLIPVisionModelWithProjection.from_pretrained(folder / "clip_vision" / "tiny-clip").eval()
    siglip = SiglipVisionModel.from_pretrained(folder / "siglip").eval()
    with torch.no_grad():
        for need in (CLIP, FEATURES):
            assert torch.equal(load(need, folder, tmp_path)(pixels).image_embeds, clip(pixels).image_embeds)
        assert torch.equal(
            load(SIGLIP, folder, tmp_path)(pixels).last_hidden_state, siglip(pixels).last_hidden_state
        )


def test_a_file_within_a_whole_clip_and_its_config(folder: Path, tmp_path: Path) -> None:
    """The config of a whole CLIP has that of its image encoder within."""
    source = folder / "clip_vision" / "tiny-clip"
    tensors = load_file(source / "model.safetensors")
    tensors["text_model.embeddings.token_embedding.weight"] = torch.zeros(3, 2)
    whole = tmp_path / "clip"
    whole.mkdir()
    save_file(tensors, whole / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    (whole / "config.json").write_text(
        json.dumps({"vision_config": config, "projection_dim": config["projection_dim"]})
    )
    loaded = load(CLIP, tmp_path, tmp_path / "cache")
    assert loaded.config.num_attention_heads == 4
    assert loaded.config.image_size == ip_adapters.SIDE


def test_the_nearest_is_taken(folder: Path, tmp_path: Path) -> None:
    beside = tmp_path / "models" / "image_encoder"
    shutil.copytree(folder / "clip_vision" / "tiny-clip", beside)
    for adapter in (tmp_path / "models" / "a.safetensors", tmp_path / "sdxl_models" / "b.safetensors"):
        found = find_image_encoder(CLIP, adapter, [folder])
        assert found.path == beside / "model.safetensors"
        assert found.name == "image_encoder"


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    for published in PUBLISHED:
        need = EncoderNeed(published.layout, "features", published.features)  # type: ignore[arg-type]
        with pytest.raises(ImageEncoderMissingError) as found:
            find_image_encoder(need, tmp_path / "adapter.safetensors", [tmp_path])
        assert published.title in found.value.message
        assert published.file in found.value.message
        assert published.place in found.value.hint


def test_the_inventory_knows_them(folder: Path) -> None:
    found = {each.path.parent.name: each for each in inspect_folder(folder)}
    assert all(found[name].type == "image encoder" and found[name].usable for name in ("tiny-clip", "siglip"))


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        (
            "clip-vision",
            {
                "hidden_size": 1280,
                "intermediate_size": 5120,
                "projection_dim": 1024,
                "num_hidden_layers": 32,
                "num_attention_heads": 16,
                "image_size": 224,
                "patch_size": 14,
                "hidden_act": "gelu",
            },
        ),
        (
            "clip-vision",
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "projection_dim": 768,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 224,
                "patch_size": 14,
                "hidden_act": "quick_gelu",
            },
        ),
        (
            "siglip-vision",
            {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "image_size": 384,
                "patch_size": 14,
            },
        ),
    ],
)
def test_the_config_of_a_published_one_follows_from_its_shapes(
    layout: str, config: dict[str, object]
) -> None:
    """As transformers' configs of LAION's ViT-H, OpenAI's ViT-L and Google's SO400M say."""
    kind = CLIPVisionModelWithProjection if layout == "clip-vision" else SiglipVisionModel
    with torch.device("meta"):
        network = kind(kind.config_class(**config))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    derived = NETWORKS[layout].config(shapes)
    assert {name: derived[name] for name in config} == config
