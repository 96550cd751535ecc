"""Single files in the original layout, written from tiny diffusers folders; and the configs that Safelight ships."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.tiny.checkpoint_files import write_sidecar
from tests.tiny.generation import generate_array
from tests.tiny.original_layout import write_single_file

from safelight.errors import CheckpointFamilyError, CheckpointInvalidError, FileMissingError
from safelight.models import digests
from safelight.models.checkpoints import single_file_loader
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.loading import LoadedCheckpoint, describe_parts, load_checkpoint
from safelight.models.checkpoints.single_file import identify_single_file
from safelight.models.checkpoints.single_file_loader import PartLoader, probe_prediction
from safelight.models.families import FAMILIES

Tiny = Callable[[str], Path]
ALL = ["sd1", "sd1-inpaint", "sd2", "sd2-inpaint", "sdxl", "sdxl-inpaint", "sdxl-refiner"]
EPSILON = {"modelspec.prediction_type": "epsilon"}
UNET = "model.diffusion_model."


def load_both(
    name: str, tiny: Tiny, path: Path, precision: str = "fp32"
) -> tuple[LoadedCheckpoint, LoadedCheckpoint]:
    prediction = {"modelspec.prediction_type": "v"} if name == "sd2" else EPSILON
    file = write_single_file(tiny(name), path / f"{name}.safetensors", metadata=prediction)
    one = load_checkpoint(describe_checkpoint(write_sidecar(tiny(name), file), name), precision)
    return one, load_checkpoint(describe_checkpoint(tiny(name), name), precision)


def first_mode(loaded: LoadedCheckpoint) -> np.ndarray:
    mode = loaded.family.modes[0]
    return generate_array(loaded.pipeline(mode), loaded.family, mode)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ALL)
def test_a_single_file_gives_the_same_image_as_the_folder(name: str, tiny: Tiny, tmp_path: Path) -> None:
    file, folder = load_both(name, tiny, tmp_path)
    assert file.family is folder.family is FAMILIES[name]
    assert file.nbytes == folder.nbytes
    assert np.array_equal(first_mode(file), first_mode(folder))


def test_half_precision_is_converted_the_same(tiny: Tiny, tmp_path: Path) -> None:
    file, folder = load_both("sdxl", tiny, tmp_path, "bf16")
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        one, other = file.components[name].state_dict(), folder.components[name].state_dict()
        assert all(
            value.dtype == torch.bfloat16 and torch.equal(value, other[key]) for key, value in one.items()
        )


@pytest.mark.parametrize(
    ("name", "lost", "says"),
    [
        ("sd1", "vae", "lacks the autoencoder"),
        ("sd1", "text_encoder", r"lacks the CLIP-L .*\(text_encoder;"),
        ("sdxl", "text_encoder_2", r"lacks the OpenCLIP .*\(text_encoder_2;"),
        ("sdxl", "text_encoder", r"lacks the CLIP-L .*\(text_encoder;"),
    ],
)
def test_missing_components_are_named(name: str, lost: str, says: str, tiny: Tiny, tmp_path: Path) -> None:
    file = write_single_file(tiny(name), tmp_path / "m.safetensors", leave_out=lost)
    with pytest.raises(CheckpointInvalidError, match=says):
        describe_checkpoint(file, name)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA"),
        (["hi.head.modulation", "head.modulation"], "checkpoint of wan"),
        (["control_model.zero_convs.0.0.weight"], "a ControlNet"),
        (["something"], "holds no checkpoint that is known"),
    ],
)
def test_other_kinds_of_files_are_named(keys: list[str], says: str, tmp_path: Path) -> None:
    save_file({key: torch.zeros(1) for key in keys}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointFamilyError, match=says):
        identify_single_file(tmp_path / "m.safetensors")


def write_changed(
    tiny: Tiny, path: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]
) -> Path:
    file = write_single_file(tiny(name), path / "m.safetensors", metadata=EPSILON)
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, EPSILON)
    return write_sidecar(tiny(name), file)


def forbid_load(*_: object, **__: object) -> None:
    raise AssertionError("weights were read")


@pytest.mark.parametrize(
    "key",
    [
        f"{UNET}middle_block.1.proj_in.weight",
        "first_stage_model.decoder.up.3.block.0.conv1.bias",
        "cond_stage_model.transformer.text_model.encoder.layers.2.mlp.fc1.weight",
        f"{UNET}time_embed.0.weight",
    ],
)
def test_a_missing_tensor_is_found_before_weights_are_read(
    key: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_changed(tiny, tmp_path, "sd1", lambda tensors: tensors.pop(key))
    monkeypatch.setattr(single_file_loader, "read_tensors", forbid_load)
    with pytest.raises(CheckpointInvalidError, match=r"lacks a tensor|not laid out"):
        load_checkpoint(describe_checkpoint(file, "m"))


def test_a_missing_tensor_is_found_before_the_file_is_hashed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_changed(tiny, tmp_path, "sd1", lambda tensors: tensors.pop(f"{UNET}time_embed.0.weight"))
    monkeypatch.setattr(digests, "sha256_of", forbid_load)
    with pytest.raises(CheckpointInvalidError, match=r"lacks a tensor|not laid out"):
        describe_parts(describe_checkpoint(file, "m"))


def test_a_replaced_file_is_not_loaded_under_the_key_of_the_one_before(tiny: Tiny, tmp_path: Path) -> None:
    file = write_single_file(tiny("sd1"), tmp_path / "m.safetensors", metadata=EPSILON)
    write_sidecar(tiny("sd1"), file)
    parts = describe_parts(describe_checkpoint(file, "m"))
    parts.sources["vae"].load()
    write_changed(tiny, tmp_path, "sd1", lambda tensors: tensors[f"{UNET}time_embed.0.bias"].zero_())
    with pytest.raises(CheckpointInvalidError, match="'unet' was replaced") as caught:
        parts.sources["unet"].load()
    assert "again" in caught.value.hint


def test_a_file_that_is_replaced_while_it_is_read_is_not_loaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_single_file(tiny("sd1"), tmp_path / "m.safetensors", metadata=EPSILON)
    parts = describe_parts(describe_checkpoint(write_sidecar(tiny("sd1"), file), "m"))
    assign = PartLoader._assign

    def replace_and_assign(*given: Any) -> None:
        other = write_changed(
            tiny, (tmp_path / "other"), "sd1", lambda tensors: tensors.update(x=torch.ones(1))
        )
        other.replace(file)
        assign(*given)

    (tmp_path / "other").mkdir()
    monkeypatch.setattr(PartLoader, "_assign", replace_and_assign)
    with pytest.raises(CheckpointInvalidError, match="'unet' was replaced"):
        parts.sources["unet"].load()


def test_a_file_that_changes_after_its_check_is_our_error(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_single_file(tiny("sd1"), tmp_path / "m.safetensors", metadata=EPSILON)
    checkpoint = describe_checkpoint(write_sidecar(tiny("sd1"), file), "m")
    loaders = {part.component: PartLoader(part) for part in checkpoint.parts}
    for loader in loaders.values():
        loader.check()
    write_changed(tiny, tmp_path, "sd1", lambda tensors: tensors.pop(f"{UNET}time_embed.0.weight"))
    with pytest.raises(CheckpointInvalidError, match=r"lacks a tensor|not laid out"):  # checked again
        loaders["unet"].load(torch.float32)
    monkeypatch.setattr(PartLoader, "check", lambda _: None)
    with pytest.raises(CheckpointInvalidError, match=r"unet of .* cannot be loaded"):
        loaders["unet"].load(torch.float32)
    file.write_bytes(b"no weights")
    with pytest.raises(CheckpointInvalidError, match=r"too few|not a safetensors"):
        loaders["vae"].load(torch.float32)
    file.unlink()
    with pytest.raises(FileMissingError):
        loaders["vae"].load(torch.float32)


def test_a_wrong_shape_is_found_before_weights_are_read(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{UNET}time_embed.2.weight"
    file = write_changed(tiny, tmp_path, "sd1", lambda tensors: tensors.update({key: torch.zeros(3, 3)}))
    monkeypatch.setattr(single_file_loader, "read_tensors", forbid_load)
    with pytest.raises(
        CheckpointInvalidError, match=r"time_embedding.linear_2.weight.*\[3, 3\], not \[64, 64\]"
    ):
        load_checkpoint(describe_checkpoint(file, "m"))


def test_what_shapes_of_unusual_sizes_do_not_tell_is_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    file = write_single_file(tiny("sd1"), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointInvalidError, match=r"unusual sizes.*norm_num_groups") as caught:
        load_checkpoint(describe_checkpoint(file, "m"))
    assert "m.json" in caught.value.hint


def test_marker_tensors_give_the_prediction_type(tiny: Tiny, tmp_path: Path) -> None:
    plain = write_single_file(tiny("sdxl"), tmp_path / "plain.safetensors")
    assert (identify_single_file(plain).prediction, identify_single_file(plain).zero_snr) == (
        "epsilon",
        False,
    )
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    marked = write_changed(tiny, tmp_path, "sdxl", lambda tensors: tensors.update(marks))
    assert (identify_single_file(marked).prediction, identify_single_file(marked).zero_snr) == (
        "v_prediction",
        True,
    )
    config = load_checkpoint(describe_checkpoint(marked, "m")).scheduler_config
    assert (config["prediction_type"], config["rescale_betas_zero_snr"]) == ("v_prediction", True)


def test_playground_is_told_by_its_statistics_of_latents(tiny: Tiny, tmp_path: Path) -> None:
    mean, std = torch.tensor([-1.5, 1.75, -1.25, 2.5]), torch.tensor([8.5, 6.0, 6.5, 5.25])
    shape = (1, 4, 1, 1)
    marked = write_changed(
        tiny,
        tmp_path,
        "sdxl",
        lambda tensors: tensors.update(
            edm_mean=mean.reshape(shape).half(), edm_std=std.reshape(shape).bfloat16()
        ),
    )
    shutil.rmtree(marked.with_suffix("") / "vae")
    shutil.rmtree(marked.with_suffix("") / "scheduler")
    (tmp_path / "m" / "vae").mkdir()
    (tmp_path / "m" / "vae" / "config.json").write_text('{"norm_num_groups": 4}')
    loaded = load_checkpoint(describe_checkpoint(marked, "m"))
    assert loaded.family.name == "sdxl-playground"
    config = loaded.vae.network.config
    assert (config.latents_mean, config.latents_std) == (mean.tolist(), std.tolist())
    assert config.scaling_factor == 0.5
    assert loaded.scheduler_config["_class_name"] == "EDMDPMSolverMultistepScheduler"
    assert np.isfinite(first_mode(loaded)).all()


def test_velocity_at_edm_noise_levels_is_told_by_the_file(tiny: Tiny, tmp_path: Path) -> None:
    keys = {"edm_vpred.sigma_max": torch.tensor(80.0), "edm_vpred.sigma_min": torch.tensor(0.5)}
    marked = write_changed(tiny, tmp_path, "sdxl", lambda tensors: tensors.update(keys))
    shutil.rmtree(marked.with_suffix("") / "scheduler")
    config = load_checkpoint(describe_checkpoint(marked, "m")).scheduler_config
    assert (config["_class_name"], config["prediction_type"]) == ("EDMEulerScheduler", "v_prediction")
    assert (config["sigma_min"], config["sigma_max"], config["sigma_data"]) == (0.5, 80.0, 1.0)


def test_the_prediction_type_of_stable_diffusion_2_is_measured(tiny: Tiny, tmp_path: Path) -> None:
    file = write_sidecar(tiny("sd2"), write_single_file(tiny("sd2"), tmp_path / "m.safetensors"))
    assert identify_single_file(file).prediction is None
    (file.with_suffix("") / "scheduler" / "scheduler_config.json").unlink()
    assert (
        load_checkpoint(describe_checkpoint(file, "m")).scheduler_config["prediction_type"] == "v_prediction"
    )


def test_the_measurement_separates_noise_from_velocity(tiny: Tiny) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny("sd2") / "unet")
    assert probe_prediction(unet) == "v_prediction"  # random weights have nothing to do with the noise
    unet.forward = lambda sample, *_, **__: (
        sample * 0.9 + 0.1,
    )  # the output of a trained network at the last timestep
    assert probe_prediction(unet) == "epsilon"
