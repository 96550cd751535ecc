from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import controls

from safelight.errors import (
    CheckpointInvalidError,
    ControlFamilyError,
    ControlMissingError,
    PickleRefusedError,
)
from safelight.models.controls.discovery import find_control, find_controls
from safelight.models.controls.loading import control_source
from safelight.models.families import FAMILIES
from safelight.models.inventory.folders import inspect_folder

SD1, SDXL = FAMILIES["sd1"], FAMILIES["sdxl"]


@pytest.fixture(scope="module")
def folder(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with control networks of several families and layouts."""
    root = tmp_path_factory.mktemp("controls")
    controls.controlnet(tiny("sd1"), root / "control_sd15_canny")
    controls.controlnet(tiny("sdxl"), root / "xl" / "depth-sdxl")
    controls.union(tiny("sdxl"), root / "union-promax")
    controls.write_single_file(root / "control_sd15_canny", root / "sub" / "authors_hed.safetensors")
    controls.write_single_file(root / "control_sd15_canny", root / "bare_scribble.safetensors", "")
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(root / "xl" / "depth-sdxl" / weights, root / "pose_xl.safetensors")
    shutil.copy(root / "xl" / "depth-sdxl" / "config.json", root / "pose_xl.json")
    save_file({"weight": torch.zeros(2)}, root / "nothing.safetensors")
    return root


def test_control_networks_are_listed_with_family_and_kind(folder: Path) -> None:
    found = {each.name: (each.architecture.name, each.family, each.kinds) for each in find_controls([folder])}
    assert found == {
        "bare_scribble": ("controlnet", "sd1", ("scribble",)),
        "control_sd15_canny": ("controlnet", "sd1", ("canny",)),
        "pose_xl": ("controlnet", "sdxl", ("pose",)),
        "sub/authors_hed": ("controlnet", "sd1", ("soft_edge",)),
        "union-promax": ("controlnet-union", "sdxl", ()),
        "xl/depth-sdxl": ("controlnet", "sdxl", ("depth",)),
    }


def test_the_inventory_says_that_they_can_be_used(folder: Path) -> None:
    found = {each.path.name: each for each in inspect_folder(folder)}
    assert found["bare_scribble.safetensors"].usable
    assert found["bare_scribble.safetensors"].type == "ControlNet"
    assert not found["nothing.safetensors"].usable


@pytest.mark.parametrize("name", ["sub/authors_hed", "authors_hed", "Authors_HED.safetensors"])
def test_a_name_with_and_without_folder_and_suffix(folder: Path, name: str) -> None:
    assert find_control(name, None, SD1, [folder]).name == "sub/authors_hed"


def test_the_one_for_a_kind_and_the_family_is_found(folder: Path) -> None:
    assert find_control(None, "canny", SD1, [folder]).name == "control_sd15_canny"
    assert find_control(None, "depth", SDXL, [folder]).name == "xl/depth-sdxl"
    assert find_control(None, "canny", SDXL, [folder]).name == "union-promax", "it is for several kinds"


def test_errors_say_what_is_wrong(folder: Path) -> None:
    with pytest.raises(
        ControlFamilyError, match=r"is for Stable Diffusion 1, and .* Stable Diffusion XL"
    ) as found:
        find_control("control_sd15_canny", None, SDXL, [folder])
    assert "union-promax" in found.value.hint
    with pytest.raises(
        ControlFamilyError, match="Diffusion 1, Stable Diffusion XL, and none for Stable Diffusion 2"
    ):
        find_control(None, "soft_edge", FAMILIES["sd2"], [folder])
    with pytest.raises(ControlMissingError, match="'control_sd15_cany'") as missing:
        find_control("control_sd15_cany", None, SD1, [folder])
    assert "control_sd15_canny" in missing.value.hint
    with pytest.raises(ControlMissingError, match="shuffle"):
        find_control(None, "shuffle", SD1, [folder])
    with pytest.raises(ControlMissingError):
        find_control(str(folder / "pose_xl.safetensors"), None, SDXL, [], allow_paths=False)
    with pytest.raises(CheckpointInvalidError, match="no ControlNet"):
        find_control(str(folder / "nothing.safetensors"), None, SD1, [])


def test_none_fits_a_variant_whose_denoiser_is_called_in_another_way(folder: Path) -> None:
    model = replace(find_control("control_sd15_canny", None, SD1, [folder]), family="z-image")
    assert model.fits(FAMILIES["z-image-turbo"])
    assert not model.fits(FAMILIES["z-image-omni"])


def test_a_path_and_a_pickle(folder: Path, tmp_path: Path) -> None:
    assert find_control(str(folder / "pose_xl.safetensors"), None, SDXL, []).kinds == ("pose",)
    pickle = tmp_path / "old_canny.pth"
    pickle.write_bytes(b"\x80\x02}.")
    with pytest.raises(PickleRefusedError):
        find_control(str(pickle), None, SD1, [])


@pytest.mark.parametrize("name", ["sub/authors_hed", "bare_scribble"])
def test_the_authors_file_is_the_same_network_as_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    model = find_control(name, None, SD1, [folder])
    loaded = control_source(model, "fp32", torch.device("cpu"), tmp_path).load()
    expected = load_file(folder / "control_sd15_canny" / "diffusion_pytorch_model.safetensors")
    tensors = loaded.network.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    config = json.loads((folder / "control_sd15_canny" / "config.json").read_text())
    assert list(loaded.config["block_out_channels"]) == config["block_out_channels"]


def test_a_file_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "bare_scribble.safetensors")
    del tensors["zero_convs.1.0.weight"]
    save_file(tensors, tmp_path / "broken.safetensors")
    shutil.copy(folder / "bare_scribble.json", tmp_path / "broken.json")
    model = find_control("broken", None, SD1, [tmp_path])
    with pytest.raises(CheckpointInvalidError, match=r"controlnet_down_blocks\.1\.weight"):
        control_source(model, "fp32", torch.device("cpu"), tmp_path / "cache")


def test_the_config_of_a_real_size_follows_from_the_shapes() -> None:
    """Those of lllyasviel's and diffusers' folders, from shapes alone."""
    from diffusers import ControlNetModel

    from safelight.models.checkpoints.layouts import NETWORKS

    xl = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    for name, config in (("controlnet-sd1", {"cross_attention_dim": 768}), ("controlnet-sdxl", xl)):
        with torch.device("meta"):
            network = ControlNetModel(**config)
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        derived = NETWORKS[name].config(shapes)
        with torch.device("meta"):
            again = ControlNetModel.from_config(derived)
        assert {key: value.shape for key, value in again.state_dict().items()} == {
            key: value.shape for key, value in network.state_dict().items()
        }
        wanted = {key: value for key, value in network.config.items() if key in derived}
        assert {key: _plain(value) for key, value in derived.items()} == {
            key: _plain(value) if key != "transformer_layers_per_block" or value != 1 else [1] * 4
            for key, value in wanted.items()
        }


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value
