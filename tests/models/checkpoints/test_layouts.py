"""Configurations that follow from shapes: for real sizes they are the published ones."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.pipelines.kolors import ChatGLMModel
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig
from tests.tiny.published import PUBLISHED

from safelight.models.checkpoints.layouts import FAMILY_LAYOUTS, NETWORKS
from safelight.models.checkpoints.layouts.text_encoders import TEXT_ENCODERS, core_names
from safelight.models.families import FAMILIES


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def plain(value: Any) -> Any:
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")
@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_of_real_networks_give_their_published_configurations(name: str) -> None:
    class_name, config = PUBLISHED[name]
    layout = NETWORKS["kl" if name == "sdxl-vae" else name.partition(":")[0]]
    with init_empty_weights():
        network = getattr(diffusers, class_name)(**config)
    shapes = shapes_of(network)
    assert layout.matches(shapes)
    found = layout.config(shapes)
    assert set(layout.required) <= found.keys()
    published = dict(network.config)
    if published.get("out_channels") is None:
        published["out_channels"] = published.get("in_channels")
    if isinstance(depth := published.get("transformer_layers_per_block"), int):
        published["transformer_layers_per_block"] = [depth] * len(published["block_out_channels"])
        found["transformer_layers_per_block"] = [
            each if "CrossAttn" in kind else depth
            for each, kind in zip(
                found["transformer_layers_per_block"], found["down_block_types"], strict=True
            )
        ]
    assert {key: plain(value) for key, value in found.items()} == {
        key: plain(published[key]) for key in found
    }
    with init_empty_weights():
        assert shapes_of(getattr(diffusers, class_name).from_config(layout.config(shapes))) == shapes


# ruff: noqa: E501  a row for each text encoder
REAL_ENCODERS = {
    "clip": ("CLIPTextModel", {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}),
    "open-clip": ("CLIPTextModelWithProjection", {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280, "hidden_act": "gelu"}),
    "t5": ("T5EncoderModel", {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5EncoderModel", {"d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32, "vocab_size": 32128}),
    "qwen2.5-vl": ("Qwen2_5_VLForConditionalGeneration", {"text_config": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "rope_scaling": {"rope_type": "default", "type": "default", "mrope_section": [16, 24, 24]}}, "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}}),
    "qwen3": ("Qwen3ForCausalLM", {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
    "qwen3-vl": ("Qwen3VLModel", {"text_config": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}, "vision_config": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "out_hidden_size": 2560, "deepstack_visual_indexes": [5, 11, 17]}}),
    "gemma2": ("Gemma2Model", {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}),
    "glm": ("GlmModel", {}),
    "llama": ("LlamaForCausalLM", {"vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8}),
    "mistral": ("Mistral3ForConditionalGeneration", {"text_config": {"model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072}, "vision_config": {"model_type": "pixtral", "image_size": 1540, "patch_size": 14, "num_hidden_layers": 24}}),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL_ENCODERS)
def test_shapes_of_real_text_encoders_tell_their_kind_and_sizes(name: str) -> None:
    class_name, config = REAL_ENCODERS[name]
    kind = getattr(transformers, class_name)
    with init_empty_weights():
        network = kind(kind.config_class.from_dict(config))
    shapes = {core: tuple(each.shape) for core, each in core_names(network.state_dict()).items()}
    fitting = [layout.name for layout in TEXT_ENCODERS if layout.matches(shapes)]
    assert fitting[0] == name
    found = NETWORKS[name].config(shapes)
    with init_empty_weights():
        again = kind(kind.config_class.from_dict(found))
    assert shapes_of(again) == shapes_of(network)
    for key, value in config.items():
        if not isinstance(value, dict):
            assert found[key] == value


def test_shapes_of_encoders_that_others_resemble_tell_their_sizes() -> None:
    """Ministral has Mistral's tensors, and ChatGLM is a class of diffusers' own."""
    text = {
        "model_type": "ministral3",
        "hidden_size": 3072,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
    }
    real = transformers.Mistral3Config.from_dict({"text_config": text})
    with init_empty_weights():
        network = transformers.Mistral3Model(real)
        shapes = {core: tuple(each.shape) for core, each in core_names(network.state_dict()).items()}
        found = NETWORKS["ministral"].config(shapes)
        again = transformers.Mistral3Model(transformers.Mistral3Config.from_dict(found))
    assert shapes_of(again) == shapes_of(network)
    assert found["text_config"]["head_dim"] == 128
    assert again.config.text_config.rope_parameters["rope_type"] == "yarn"
    config = {
        "num_layers": 2,
        "add_qkv_bias": True,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
    }
    with init_empty_weights():
        chatglm = ChatGLMModel(ChatGLMConfig(**config, original_rope=True), empty_init=False)
    assert {each.device.type for each in chatglm.parameters()} == {"meta"}
    shapes = shapes_of(chatglm)
    assert [layout.name for layout in TEXT_ENCODERS if layout.matches(shapes)] == ["chatglm"]
    found = NETWORKS["chatglm"].config(shapes)
    assert found["padded_vocab_size"] == 65024
    with init_empty_weights():
        assert shapes_of(ChatGLMModel(ChatGLMConfig(**found), empty_init=False)) == shapes


def test_every_family_that_has_a_layout_is_known() -> None:
    names = {layout.denoiser.name for layout in FAMILY_LAYOUTS}
    assert names <= set(FAMILIES)
    kinds = {kind for layout in FAMILY_LAYOUTS for slot in layout.slots for kind in slot.layouts}
    assert kinds <= set(NETWORKS)
    for layout in FAMILY_LAYOUTS:
        encoders = [slot.component for slot in layout.slots if slot.component != "vae"]
        assert tuple(encoders) == FAMILIES[layout.denoiser.name].text_encoders
        assert layout.denoiser.role == "denoiser"
