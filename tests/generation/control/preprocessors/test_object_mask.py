"""Masks of objects by tiny networks with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.control.preprocessors.conftest import Preprocess
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from safelight.errors import AboveMaximumError, ControlModelMissingError, FieldMissingError, PatternError
from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext
from safelight.generation.control.preprocessors.object_mask import place_parameters

SIDE = 64


def tiny_sam() -> SamModel:
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=16,
            mlp_dim=32,
            global_attn_indexes=[1],
            window_size=2,
            num_pos_feats=8,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=16, image_size=SIDE, patch_size=16, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )
    return SamModel(config)


def tiny_sam2() -> Sam2Model:
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 2, 2],
        window_positional_embedding_background_size=[2, 2],
        global_attention_blocks=[3],
    )
    config = Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
            fpn_hidden_size=32,
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE, patch_size=16),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )
    return Sam2Model(config)


@pytest.fixture(scope="module", autouse=True)
def folder(context: PreprocessContext) -> Path:
    torch.manual_seed(0)
    folder = context.settings.home / "preprocessors"
    tiny_sam().save_pretrained(folder / "sam")
    size = {"longest_edge": SIDE}
    pad = {"height": SIDE, "width": SIDE}
    SamProcessor(SamImageProcessor(size=size, pad_size=pad)).save_pretrained(folder / "sam")
    tiny_sam2().save_pretrained(folder / "sam2")
    Sam2Processor(Sam2ImageProcessor(size=pad)).save_pretrained(folder / "sam2")
    return folder


@pytest.fixture(scope="module")
def small(cat: Image.Image) -> Image.Image:
    return cat.crop((100, 40, 196, 104))


def of_transformers(folder: Path, model: Any, processor: Any, image: Image.Image, **prompts: Any) -> Any:
    """The mask with the highest score: bool [height, width]."""
    inputs = processor.from_pretrained(folder)(images=image, return_tensors="pt", **prompts)
    sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    with torch.inference_mode():
        output = model.from_pretrained(folder)(**inputs)
    (masks,) = processor.from_pretrained(folder).post_process_masks(output.pred_masks, *sizes)
    return masks[0, int(output.iou_scores[0, 0].argmax())].numpy().astype(bool)


@pytest.mark.parametrize(
    ("name", "model", "processor"), [("sam", SamModel, SamProcessor), ("sam2", Sam2Model, Sam2Processor)]
)
def test_masks_are_those_of_transformers(
    name: str, model: Any, processor: Any, small: Image.Image, folder: Path, preprocess: Preprocess
) -> None:
    points = [(24.0, 32.0, True), (90.0, 8.0, False)]
    found = preprocess(small, "object_mask", **place_parameters(points, None, small.size, name))
    expected = of_transformers(
        folder / name,
        model,
        processor,
        small,
        input_points=[[[[24.0, 32.0], [90.0, 8.0]]]],
        input_labels=[[[1, 0]]],
    )
    assert set(np.unique(found)) <= {0, 255}
    assert (found[..., 0] == np.where(expected, 255, 0)).mean() > 0.999  # a pixel may lie on the threshold
    boxed = preprocess(
        small, "object_mask", **place_parameters([], (12.0, 8.0, 60.0, 56.0), small.size, name)
    )
    box = of_transformers(folder / name, model, processor, small, input_boxes=[[[12.0, 8.0, 60.0, 56.0]]])
    assert (boxed[..., 0] == np.where(box, 255, 0)).mean() > 0.999


def test_a_missing_model_says_what_to_pull(small: Image.Image, preprocess: Preprocess) -> None:
    with pytest.raises(ControlModelMissingError) as caught:
        preprocess(small, "object_mask", points="0.5,0.5")
    assert "hf download facebook/sam2.1-hiera-tiny" in caught.value.hint


def test_places_are_checked() -> None:
    with pytest.raises(FieldMissingError) as missing:
        PREPROCESSORS["object_mask"].parse({})
    assert missing.value.field == "parameters.points"
    with pytest.raises(PatternError):
        PREPROCESSORS["object_mask"].parse({"points": "3,4"})
    with pytest.raises(FieldMissingError):
        place_parameters([], None, (10, 10))
    with pytest.raises(AboveMaximumError) as beyond:
        place_parameters([(1, 1, True), (11, 1, True)], None, (10, 10))
    assert beyond.value.field == "points.1"
    assert place_parameters([(5, 10, False)], (0, 0, 10, 5), (10, 10)) == {
        "points": "0.500000000,1.000000000,0",
        "box": "0.000000000,0.000000000,1.000000000,0.500000000",
    }
