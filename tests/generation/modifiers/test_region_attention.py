from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, Pixels, same_pixels, to_array
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.generation.modifiers.region_attention import RegionWords, _RegionProcessor

WHITE = Image.new("L", (SIDE, SIDE), 255)
REGION = {"prompt": "a blue dog", "mask": MASK}
FIELDS: dict[str, Any] = {"region_method": "attention", "guidance_scale": 5.0, "negative_prompt": "green"}


def near(first: Pixels, second: Pixels) -> bool:
    return bool(np.abs(first.astype(int) - second).max() <= 2)


def test_a_layer_joins_what_each_region_returns() -> None:
    torch.manual_seed(0)
    layer = Attention(8, cross_attention_dim=6, heads=2, dim_head=4)
    hidden, words, own = torch.randn(2, 12, 8), torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    masks = [np.zeros((6, 8), np.float32) for _ in range(2)]
    masks[0][:, :4], masks[1][:, 6:] = 1, 0.5
    with torch.no_grad():
        plain = layer(hidden, words)
        regions = [layer(hidden[1:], each[None]) for each in own]
        layer.processor = _RegionProcessor(layer.processor, RegionWords(own, masks, [1], ""), [3, 4])
        found = layer(hidden, words)
    shares = [torch.tensor(row).repeat(3)[:, None] for row in ([1.0, 1, 0, 0], [0.0, 0, 0, 0.5])]
    expected = plain[1] * (1 - shares[0] - shares[1]) + shares[0] * regions[0] + shares[1] * regions[1]
    assert torch.equal(found[0], plain[0])
    assert torch.allclose(found[1], expected[0], atol=1e-6)


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_a_region_that_is_everywhere_takes_the_prompts_place(name: str, draw: GenerateImages) -> None:
    everywhere = to_array(*draw(name, regions=[{**REGION, "mask": WHITE}], **FIELDS))
    half = to_array(*draw(name, regions=[REGION], **FIELDS))
    dog = to_array(*draw(name, prompt="a blue dog", guidance_scale=5.0, negative_prompt="green"))
    if name == "sd1":  # XL's network also gets the prompt's pooled embedding
        assert near(everywhere, dog)
    assert not near(half, everywhere)
    assert not np.array_equal(half, to_array(*draw(name, guidance_scale=5.0, negative_prompt="green")))


def test_it_works_with_everything_else(draw: GenerateImages) -> None:
    for fields in (
        {"prompt": "a red cat AND a tree :0.5"},
        {"prompt": "a [red:green:1] cat"},
        {"pag_scale": 3.0},
        {"guidance_start": 0.4},
        {"guidance_scale": 1.0},
        {"token_merging": 0.5},
        {"steps": 8, "step_cache": "deep"},
        {"init_image": INIT_IMAGE, "mask": MASK},
        {"width": 72, "height": 56},
    ):
        given = FIELDS | fields
        joined, plain = (draw(regions=regions, **given)[0] for regions in ([REGION], []))
        assert not same_pixels(joined, plain)


def test_the_network_is_left_as_it_was(draw: GenerateImages, in_memory: Any) -> None:
    before = dict(in_memory("sd1").components["unet"].attn_processors)
    draw(regions=[REGION], **FIELDS)
    assert in_memory("sd1").components["unet"].attn_processors == before
