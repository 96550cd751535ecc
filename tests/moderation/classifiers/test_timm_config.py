from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tests.hypothesis_profiles import example_count

from safelight.errors import (
    FileMissingError,
    ModelInvalidError,
    PickleRefusedError,
)
from safelight.moderation.classifiers.preprocess import Preprocessing
from safelight.moderation.classifiers.timm_config import TimmConfig, read_timm_config

CONFIG: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_384",
    "num_classes": 2,
    "num_features": 192,
    "global_pool": "token",
    "label_names": ["NSFW", "SFW"],
    "pretrained_cfg": {
        "input_size": [3, 384, 384],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 1000,
    },
}


class CheckpointFolder:
    """A checkpoint's folder, with weights of no network: reading the configuration builds none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        save_file({"x": np.arange(64, dtype=np.float32)}, path / "model.safetensors")

    def read(self, config: object) -> TimmConfig:
        return self.read_bytes(json.dumps(config).encode())

    def read_bytes(self, config: bytes) -> TimmConfig:
        (self.path / "config.json").write_bytes(config)
        return read_timm_config(self.path)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "model")


def changed_config(**changes: Any) -> dict[str, Any]:
    inner = changes.pop("pretrained_cfg", {})
    return CONFIG | {"pretrained_cfg": CONFIG["pretrained_cfg"] | inner} | changes


def config_without(name: str) -> dict[str, Any]:
    return {
        key: {k: v for k, v in value.items() if k != name} if isinstance(value, dict) else value
        for key, value in CONFIG.items()
        if key != name
    }


def test_the_layout_of_the_real_checkpoint(folder: CheckpointFolder) -> None:
    config = folder.read(CONFIG)
    assert config.architecture == "vit_tiny_patch16_384"
    assert config.labels == ("NSFW", "SFW")
    assert config.side == 384
    assert config.preprocessing == Preprocessing("short_side", 384, 384, "bicubic")
    assert (config.mean, config.std) == ((0.5, 0.5, 0.5), (0.4, 0.5, 0.6))
    assert config.weights == folder.path / "model.safetensors"


def test_labels_may_be_in_pretrained_cfg_only(folder: CheckpointFolder) -> None:
    names = ["a", "b", "c", "d", "e"]
    config = config_without("label_names") | {"num_classes": 5}
    config["pretrained_cfg"]["label_names"] = names
    assert folder.read(config).labels == tuple(names)


def test_labels_at_the_top_take_precedence(folder: CheckpointFolder) -> None:
    assert folder.read(changed_config(pretrained_cfg={"label_names": ["x", "y"]})).labels == ("NSFW", "SFW")


def test_the_inner_number_of_classes_is_ignored(folder: CheckpointFolder) -> None:
    assert folder.read(config_without("num_classes")).labels == ("NSFW", "SFW")
    assert folder.read(changed_config(pretrained_cfg={"num_classes": 21843})).labels == ("NSFW", "SFW")


def test_squash_and_crop_pct(folder: CheckpointFolder) -> None:
    inner = {
        "crop_mode": "squash",
        "crop_pct": 0.95,
        "input_size": [3, 160, 160],
        "interpolation": "bilinear",
    }
    assert folder.read(changed_config(pretrained_cfg=inner)).preprocessing == Preprocessing(
        "squash", 168, 160, "bilinear"
    )


def test_defaults_equal_timms(folder: CheckpointFolder) -> None:
    config = folder.read({"architecture": "resnet50", "label_names": ["a", "b"]})
    assert config.side == 224
    assert config.preprocessing == Preprocessing("short_side", 256, 224, "bicubic")
    assert config.mean == (0.485, 0.456, 0.406)
    assert config.std == (0.229, 0.224, 0.225)


def test_the_digest_covers_configuration_and_weights(folder: CheckpointFolder) -> None:
    digest = folder.read(CONFIG).digest
    parts = [
        hashlib.sha256((folder.path / name).read_bytes()).digest()
        for name in ("config.json", "model.safetensors")
    ]
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest()
    assert folder.read(changed_config(label_names=["SFW", "NSFW"])).digest != digest
    save_file({"x": np.zeros(64, np.float32)}, folder.path / "model.safetensors")
    assert folder.read(CONFIG).digest != digest


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (b"{", "config.json is not JSON: "),
        (b"", "config.json is not JSON: "),
        (b"\xff\xfe", "config.json is not JSON: "),
        (b"[1]", "config.json is not a JSON object."),
        (b"null", "config.json is not a JSON object."),
        (
            config_without("architecture"),
            "config.json lacks a field or has one of the wrong kind: KeyError('architecture').",
        ),
        (
            config_without("label_names"),
            "config.json has no label_names, and outputs without names cannot be judged by.",
        ),
        (changed_config(label_names=[]), "config.json has no label_names, "),
        (
            changed_config(label_names=["NSFW"]),
            "label_names must be two or more different names, not ['NSFW'].",
        ),
        (
            changed_config(label_names=["A", "A"]),
            "label_names must be two or more different names, not ['A', 'A'].",
        ),
        (changed_config(label_names=["A", "B", "C"]), "3 label_names for num_classes = 2."),
        (changed_config(num_classes=1000), "2 label_names for num_classes = 1000."),
        (
            changed_config(num_classes="two"),
            "config.json lacks a field or has one of the wrong kind: ValueError(",
        ),
        (
            changed_config(pretrained_cfg={"input_size": [3, 384, 224]}),
            "The input must be square RGB, not [3, 384, 224].",
        ),
        (
            changed_config(pretrained_cfg={"input_size": [1, 28, 28]}),
            "The input must be square RGB, not [1, 28, 28].",
        ),
        (
            changed_config(pretrained_cfg={"input_size": [3, 0, 0]}),
            "The input must be square RGB, not [3, 0, 0].",
        ),
        (
            changed_config(pretrained_cfg={"input_size": 384}),
            "config.json lacks a field or has one of the wrong kind: Type",
        ),
        (
            changed_config(pretrained_cfg={"input_size": [3, 384]}),
            "config.json lacks a field or has one of the wrong kind: V",
        ),
        (
            changed_config(pretrained_cfg={"crop_mode": "border"}),
            "crop_mode 'border' is not known; there are center, squash.",
        ),
        (
            changed_config(pretrained_cfg={"interpolation": "random"}),
            "Interpolation 'random' is not known; there are nearest, bilinear, ",
        ),
        (
            changed_config(pretrained_cfg={"crop_pct": 1.2}),
            "A crop of 384 pixels does not fit in a picture resized to 320.",
        ),
        (
            changed_config(pretrained_cfg={"crop_pct": "all"}),
            "config.json lacks a field or has one of the wrong kind: ",
        ),
        (
            changed_config(pretrained_cfg={"mean": [0.5]}),
            "config.json lacks a field or has one of the wrong kind: ",
        ),
        (
            changed_config(pretrained_cfg={"std": 0.5}),
            "config.json lacks a field or has one of the wrong kind: ",
        ),
    ],
)
def test_an_invalid_configuration_names_its_error(
    folder: CheckpointFolder, config: object, complaint: str
) -> None:
    with pytest.raises(ModelInvalidError) as caught:
        folder.read_bytes(config) if isinstance(config, bytes) else folder.read(config)
    assert caught.value.message.startswith(complaint)
    assert caught.value.code == "model.invalid"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["architecture", "num_classes", "global_pool", "label_names", "model_args"]
INNER = ["input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "label_names"]


@given(field=st.sampled_from(FIELDS) | st.sampled_from(INNER).map(lambda name: (name,)), value=JSON)
@budget(
    max_examples=example_count(400),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_value_in_a_field_is_read_or_refused(
    tmp_path: Path, field: str | tuple[str], value: object
) -> None:
    if field == ("crop_pct",) and isinstance(value, float) and 0 < abs(value) < 1e-300:
        return  # see test_a_tiny_crop
    folder = CheckpointFolder(tmp_path / "model")
    config = (
        changed_config(pretrained_cfg={field[0]: value})
        if isinstance(field, tuple)
        else changed_config(**{field: value})
    )
    try:
        read = folder.read(config)
    except ModelInvalidError:
        return
    assert len(read.labels) >= 2
    assert 1 <= read.side <= read.preprocessing.resized


@pytest.mark.parametrize("value", [[1], "x", 5, True])
def test_pretrained_cfg_of_the_wrong_kind(folder: CheckpointFolder, value: object) -> None:
    with pytest.raises(ModelInvalidError, match=r"config\.json"):
        folder.read(CONFIG | {"pretrained_cfg": value})


def test_a_tiny_crop(folder: CheckpointFolder) -> None:
    with pytest.raises(ModelInvalidError, match=r"config\.json"):
        folder.read(changed_config(pretrained_cfg={"crop_pct": 1e-320}))


def test_label_names_are_a_list(folder: CheckpointFolder) -> None:
    with pytest.raises(ModelInvalidError, match="label_names"):
        folder.read(changed_config(label_names="ab"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt", "model.pkl"])
def test_a_folder_with_a_pickle_only(folder: CheckpointFolder, name: str) -> None:
    (folder.path / "model.safetensors").unlink()
    (folder.path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(PickleRefusedError) as caught:
        folder.read(CONFIG)
    assert caught.value.message == f"model has its weights only as {name}."
    assert "safetensors" in caught.value.hint


def test_a_pickle_beside_safetensors_is_left_alone(folder: CheckpointFolder) -> None:
    (folder.path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    assert folder.read(CONFIG).labels == ("NSFW", "SFW")


@pytest.mark.parametrize("name", ["model.pt", "x.bin", "x.pth", "x.ckpt", "x.pkl"])
def test_a_pickle_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(PickleRefusedError) as caught:
        read_timm_config(tmp_path / name)
    assert caught.value.message == f"{name} is a pickle file."


@pytest.mark.parametrize("length", [0, 4, 8, 40, -1])
def test_truncated_weights(folder: CheckpointFolder, length: int) -> None:
    weights = folder.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ModelInvalidError, match=r"^model\.safetensors is not a whole safetensors file: "):
        folder.read(CONFIG)


def test_weights_that_are_a_renamed_pickle(folder: CheckpointFolder) -> None:
    (folder.path / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n" * 100)
    with pytest.raises(ModelInvalidError, match=r"^model\.safetensors is not a whole safetensors file: "):
        folder.read(CONFIG)


def test_missing_files(folder: CheckpointFolder, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError) as caught:
        read_timm_config(tmp_path / "nowhere")
    assert caught.value.message == f"There is no folder {str(tmp_path / 'nowhere')!r}."
    with pytest.raises(FileMissingError) as caught:
        read_timm_config(folder.path)
    assert caught.value.message == "model has no config.json."
    (folder.path / "model.safetensors").unlink()
    with pytest.raises(FileMissingError) as caught:
        folder.read(CONFIG)
    assert caught.value.message == "model has no model.safetensors."
