from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from safelight.errors import CheckpointInvalidError
from safelight.models.controls.lllite import LLLite, LLLiteModule, layer_name


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "conditioning1.0": (4, 3, 4, 4),
        "conditioning1.2": (8, 4, 2, 2),
        "down.0": (6, 16),
        "mid.0": (6, 14),
        "up.0": (16, 6),
    }
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = torch.randn(shape, generator=generator)
        found[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
    return found


def test_a_module_computes_what_kohyas_does() -> None:
    own = tensors()
    module = LLLiteModule(own)
    pixels, inputs = torch.rand(1, 3, 16, 16), torch.rand(2, 4, 16)
    read = functional.conv2d(pixels, own["conditioning1.0.weight"], own["conditioning1.0.bias"], 4).relu()
    read = functional.conv2d(read, own["conditioning1.2.weight"], own["conditioning1.2.bias"], 2)
    condition = read.reshape(1, 8, 4).transpose(1, 2)
    down = functional.linear(inputs, own["down.0.weight"], own["down.0.bias"]).relu()
    both = torch.cat([condition.repeat(2, 1, 1), down], 2)
    middle = functional.linear(both, own["mid.0.weight"], own["mid.0.bias"]).relu()
    expected = inputs + 0.5 * functional.linear(middle, own["up.0.weight"], own["up.0.bias"])
    with torch.no_grad():
        assert torch.allclose(module.condition(pixels), condition, atol=1e-5)
        assert torch.allclose(module(inputs, condition, 0.5), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("input_blocks_4_1", "down_blocks.1.attentions.0"),
        ("input_blocks_8_1", "down_blocks.2.attentions.1"),
        ("middle_block_1", "mid_block.attentions.0"),
        ("output_blocks_5_1", "up_blocks.1.attentions.2"),
    ],
)
def test_layers_have_diffusers_names(name: str, layer: str) -> None:
    found = layer_name(f"{name}_transformer_blocks_9_attn2_to_q")
    assert found == f"{layer}.transformer_blocks.9.attn2.to_q"


def test_what_is_not_complete_is_refused() -> None:
    prefix = "lllite_unet_middle_block_1_transformer_blocks_0_attn1_to_q."
    whole = {prefix + name: tensor for name, tensor in tensors().items()}
    assert LLLite(whole).layers == ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q",)
    with pytest.raises(CheckpointInvalidError, match="lacks a tensor"):
        LLLite({name: tensor for name, tensor in whole.items() if "up.0" not in name})
    with pytest.raises(CheckpointInvalidError, match="belongs to no layer"):
        LLLite({**whole, "lllite_unet_other": torch.zeros(1)})
    with pytest.raises(CheckpointInvalidError, match="not known"):
        layer_name("time_embed_0")
