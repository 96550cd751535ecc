"""Control-LoRAs whose changes are known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import controls
from tests.tiny.original_layout import write_single_file

from safelight.errors import CheckpointInvalidError, ControlFamilyError
from safelight.models.checkpoints.denoiser_weights import read_denoiser
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.controls.control_lora import BaseUNet
from safelight.models.controls.discovery import find_control, find_controls
from safelight.models.controls.loading import control_source, count_weights
from safelight.models.families import FAMILIES
from safelight.models.inventory.folders import inspect_folder

CPU = torch.device("cpu")
FAMILIES_WITH_UNETS = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="module")
def folder(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Control-LoRAs of several families in a folder, and in another what they make of the tiny checkpoints."""
    root = tmp_path_factory.mktemp("loras")
    for name in FAMILIES_WITH_UNETS:
        controls.control_lora(
            tiny(name), root / "files" / f"canny_{name}.safetensors", root / "merged" / name
        )
    return root


def base_of(checkpoint: Path, home: Path) -> BaseUNet:
    found = find_checkpoint(str(checkpoint), home)
    return BaseUNet("1" * 64, lambda: empty_networks(found)["unet"], lambda: read_denoiser(found))


@pytest.mark.parametrize("name", FAMILIES_WITH_UNETS)
def test_it_makes_the_controlnet_with_the_changes_merged(
    folder: Path, tiny: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    model = find_control(f"canny_{name}", None, FAMILIES[name], [folder / "files"])
    assert (model.architecture.name, model.family, model.kinds) == ("control-lora", name, ("canny",))
    base = base_of(tiny(name), tmp_path)
    loaded = control_source(model, "fp32", CPU, tmp_path, base).load()
    expected = load_file(folder / "merged" / name / "diffusion_pytorch_model.safetensors")
    tensors = loaded.network.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    assert count_weights(model, base.empty) == sum(each.numel() for each in expected.values())
    assert loaded.nbytes == sum(each.nbytes for each in expected.values())


def test_the_u_net_of_a_single_file_gives_the_same(
    folder: Path, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write_single_file(tiny("sd1"), tmp_path / "one.safetensors")
    shutil.copytree(tiny("sd1"), tmp_path / "one", ignore=shutil.ignore_patterns("*.safetensors"))
    single = find_checkpoint(str(path), tmp_path)
    tensors, expected = read_denoiser(single), read_denoiser(find_checkpoint(str(tiny("sd1")), tmp_path))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    model = find_control("canny_sd1", None, FAMILIES["sd1"], [folder / "files"])
    one, other = (
        control_source(model, "bf16", CPU, tmp_path, base_of(path, tmp_path)).load()
        for path in (single.path, tiny("sd1"))
    )
    others = other.network.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in one.network.state_dict().items())
    assert one.network.dtype == torch.bfloat16


def test_two_u_nets_make_two_networks(folder: Path, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    model = find_control("canny_sd1", None, FAMILIES["sd1"], [folder / "files"])
    base = base_of(tiny("sd1"), tmp_path)
    other = BaseUNet("2" * 64, base.empty, base.tensors)
    keys = {control_source(model, "fp32", CPU, tmp_path, each).key for each in (base, other)}
    assert len(keys) == 2


def test_lists_say_what_it_is(folder: Path) -> None:
    assert [each.architecture.title for each in find_controls([folder / "files"])] == ["a Control-LoRA"] * 3
    found = inspect_folder(folder / "files")
    assert {(each.type, each.usable) for each in found} == {("ControlNet", True)}


def test_what_does_not_fit_is_refused(folder: Path, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = load_file(folder / "files" / "canny_sd1.safetensors")

    def load(name: str, changed: dict[str, torch.Tensor], checkpoint: str = "sd1") -> None:
        save_file(changed, tmp_path / f"{name}.safetensors")
        model = find_control(name, None, FAMILIES["sd1"], [tmp_path])
        control_source(model, "fp32", CPU, tmp_path / "cache", base_of(tiny(checkpoint), tmp_path)).load()

    without = {name: tensor for name, tensor in tensors.items() if name != "input_blocks.0.0.down"}
    with pytest.raises(CheckpointInvalidError, match=r"lacks up or down of the layer input_blocks\.0\.0"):
        load("half", without)
    with pytest.raises(CheckpointInvalidError, match="belongs to no layer: nothing"):
        load("more", tensors | {"nothing.weight": torch.zeros(2)})
    with pytest.raises(CheckpointInvalidError, match=r"lacks the tensor controlnet_mid_block\.weight"):
        load("less", {name: each for name, each in tensors.items() if name != "middle_block_out.0.weight"})
    wider = tensors | {"input_blocks.0.0.down": torch.zeros(2, 9, 3, 3)}
    with pytest.raises(ControlFamilyError, match=r"its conv_in\.weight"):
        load("wider", wider)
