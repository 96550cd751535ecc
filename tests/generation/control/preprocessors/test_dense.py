"""Depth, normals and segmentation by tiny networks with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.control.preprocessors.conftest import Pixels, Preprocess
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from safelight.errors import ControlModelMissingError, ModelInvalidError, PatternError
from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext, dense
from safelight.generation.control.preprocessors.ade20k_colors import label_colors

TINY = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


@pytest.fixture(scope="module", autouse=True)
def folder(context: PreprocessContext) -> Path:
    """The folder of models, with one for each kind."""
    torch.manual_seed(0)
    folder = context.settings.home / "preprocessors"
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    relative = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=16,
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
            head_hidden_size=8,
        )
    )
    relative.save_pretrained(folder / "someone" / "relative")
    DPTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder / "someone" / "relative")
    GLPNForDepthEstimation(GLPNConfig(**TINY)).save_pretrained(folder / "distances")
    GLPNImageProcessor(size_divisor=32).save_pretrained(folder / "distances")
    for count, name in ((150, "ade20k"), (5, "five")):
        config = SegformerConfig(num_labels=count, **TINY)
        SegformerForSemanticSegmentation(config).save_pretrained(folder / name)
        SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def small(cat: Image.Image) -> Image.Image:
    return cat.crop((100, 40, 196, 104))


def own(folder: Path, kind: Any, processor: Any, image: Image.Image, output: str) -> Any:
    """What a model of transformers gives for a picture, at the picture's size: [channels, height, width]."""
    inputs = processor.from_pretrained(folder)(images=image, return_tensors="pt")
    with torch.inference_mode():
        found = getattr(kind.from_pretrained(folder)(**inputs), output)
    planes = found.reshape(1, -1, *found.shape[-2:])
    size = (image.height, image.width)
    return torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)[0].numpy()


def test_nearness_is_white(small: Image.Image, folder: Path, preprocess: Preprocess) -> None:
    found = preprocess(small, "depth", model="someone/relative")
    (near,) = own(
        folder / "someone" / "relative",
        DepthAnythingForDepthEstimation,
        DPTImageProcessor,
        small,
        "predicted_depth",
    )
    expected = (near - near.min()) / (near.max() - near.min()) * 255
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert (found[..., 0].min(), found[..., 0].max()) == (0, 255)


def test_distances_are_turned_into_nearness(small: Image.Image, folder: Path, preprocess: Preprocess) -> None:
    found = preprocess(small, "depth", model="distances")[..., 0].astype(float)
    (far,) = own(folder / "distances", GLPNForDepthEstimation, GLPNImageProcessor, small, "predicted_depth")
    near = 1 / far
    expected = (near - near.min()) / (near.max() - near.min()) * 255
    assert np.abs(found - expected).max() <= 1


def test_labels_have_the_colors_of_ade20k(small: Image.Image, folder: Path, preprocess: Preprocess) -> None:
    found = preprocess(small, "segmentation", model="ade20k")
    logits = own(
        folder / "ade20k", SegformerForSemanticSegmentation, SegformerImageProcessor, small, "logits"
    )
    assert np.array_equal(found, label_colors()[logits.argmax(axis=0)])
    assert label_colors().shape == (150, 3)
    assert label_colors()[[0, 2, 12]].tolist() == [
        [120, 120, 120],
        [6, 230, 230],
        [150, 5, 61],
    ]  # wall, sky, person


def test_models_with_other_labels_are_refused(small: Image.Image, preprocess: Preprocess) -> None:
    with pytest.raises(ModelInvalidError, match="five has 5 labels"):
        preprocess(small, "segmentation", model="five")
    with pytest.raises(ModelInvalidError):
        preprocess(small, "depth", model="ade20k")


@pytest.mark.parametrize(
    ("toward", "brighter"),
    [("left", 0), ("top", 1)],
)
def test_normals_point_to_where_surfaces_face(
    toward: str, brighter: int, monkeypatch: pytest.MonkeyPatch, preprocess: Preprocess
) -> None:
    """Nearer to the right, a surface faces the left; nearer to the bottom, as a floor is, it faces the top."""
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    near = np.tile(ramp, (64, 1)) if toward == "left" else np.tile(ramp[:, None], (1, 64))
    monkeypatch.setattr(dense, "nearness", lambda *_: near)
    found = preprocess(np.zeros((64, 64, 3), np.uint8), "normal")[32, 32].astype(int)
    assert found[brighter] > 150
    assert found[1 - brighter] == 128
    assert 128 < found[2] < 255
    lengths = np.linalg.norm(found / 127.5 - 1)
    assert lengths == pytest.approx(1, abs=0.02)
    monkeypatch.setattr(dense, "nearness", lambda *_: np.full_like(near, 0.5))
    flat = preprocess(np.zeros((64, 64, 3), np.uint8), "normal")
    assert np.unique(flat.reshape(-1, 3), axis=0).tolist() == [[128, 128, 255]]


@pytest.mark.parametrize("name", ["depth", "normal", "segmentation"])
def test_a_missing_model_is_named(name: str, small: Image.Image, context: PreprocessContext) -> None:
    item = PREPROCESSORS[name]
    assert not item.available(context.settings)
    default = item.parameters.model_fields["model"].default
    with pytest.raises(ControlModelMissingError) as caught:
        item.run(small, context=context)
    assert default in caught.value.message
    assert f"hf download {default}" in caught.value.hint


@pytest.mark.parametrize("path", ["../ade20k", "/etc", "a/b/c", "", "a/../b"])
def test_models_are_never_named_by_paths(path: str) -> None:
    with pytest.raises(PatternError):
        PREPROCESSORS["depth"].parse({"model": path})


def test_without_a_pool_the_result_is_the_same(
    small: Image.Image, context: PreprocessContext, preprocess: Preprocess
) -> None:
    alone = PREPROCESSORS["depth"].run(small, {"model": "distances"}, context=replace(context, pool=None))
    expected: Pixels = preprocess(small, "depth", model="distances")
    assert np.array_equal(np.asarray(alone), expected)
