from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.models.adapters.layer_keys import group_keys, split_key


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("lora_unet_a_b.lora_down.weight", ("lora_unet_a_b", "down")),
        ("lora_unet_a_b.alpha", ("lora_unet_a_b", "alpha")),
        ("unet.a.to_q.lora_A.weight", ("unet.a.to_q", "down")),
        ("unet.a.to_q.lora_B.default_0.weight", ("unet.a.to_q", "up")),
        ("unet.a.to_q.lora_B.default.bias", ("unet.a.to_q", "up bias")),
        ("unet.a.to_q.lora_magnitude_vector", ("unet.a.to_q", "row magnitude")),
        ("unet.a.to_q.lora_magnitude_vector.default.weight", ("unet.a.to_q", "row magnitude")),
        ("unet.a.attn1.processor.to_q_lora.down.weight", ("unet.a.attn1.to_q", "down")),
        ("unet.a.attn1.processor.to_out_lora.up.weight", ("unet.a.attn1.to_out.0", "up")),
        ("unet.a.attn1.to_q_lora.up.weight", ("unet.a.attn1.to_q", "up")),
        ("unet.a.to_out.0.lora.down.weight", ("unet.a.to_out.0", "down")),
        ("text_encoder.a.q_proj.lora_linear_layer.up.weight", ("text_encoder.a.q_proj", "up")),
        ("double_blocks.3.processor.qkv_lora2.up.weight", ("double_blocks.3.processor.qkv2", "up")),
        ("single_blocks.3.processor.proj_lora.down.weight", ("single_blocks.3.processor.proj", "down")),
        ("lora_unet_a.hada_w1_a", ("lora_unet_a", "w1_a")),
        ("lora_unet_a.lokr_t2", ("lora_unet_a", "kron t2")),
        ("lora_unet_a.bm.weight", ("lora_unet_a", "bm")),
        ("diffusion_model.a.b.diff_b", ("diffusion_model.a.b", "bias diff")),
        ("unet.a.weight", None),
        ("alpha", None),
        (".alpha", None),
        ("", None),
    ],
)
def test_a_tensors_layer_and_part(key: str, expected: tuple[str, str] | None) -> None:
    assert split_key(key) == expected


def test_a_weight_is_a_part_of_ia3_alone() -> None:
    layers, loose = group_keys(["a.on_input", "a.weight", "b.weight", "b.alpha"])
    assert layers["a"].kind == "IA3"
    assert layers["a"].parts == {"on input": "a.on_input", "factors": "a.weight"}
    assert layers["b"].kind is None
    assert loose == ("b.weight",)


@given(st.lists(st.text(alphabet="ab._lora_updownweight", max_size=40), unique=True, max_size=5))
def test_every_tensor_is_in_one_place(keys: list[str]) -> None:
    layers, loose = group_keys(keys)
    grouped = [key for layer in layers.values() for key in layer.parts.values()]
    assert len(set(grouped)) == len(grouped)
    assert set(grouped) | set(loose) <= set(keys)
