"""Text encoders as files: CLIP, OpenCLIP, T5 and the language models.

Many programs write them, with different wrappers around the same names, so that all wrappers are taken off and the
class's own put on again (``loading_names``). Published values: transformers' defaults of each class, and the config of
the model that the families' authors use, which each function names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from safelight.models.checkpoints.layouts.layout import (
    Config,
    NetworkLayout,
    Shapes,
    Tensors,
    count_blocks,
    divided,
    needed,
    replace_keys,
    side,
    without_none,
)

_WRAPPERS = ("text_model.", "transformer.", "model.", "language_model.")


def core_name(name: str) -> str:
    """A tensor's name without the wrappers around the network."""
    stripped = True
    while stripped:
        stripped = False
        for wrapper in _WRAPPERS:
            if name.startswith(wrapper) and not name.startswith("transformer.resblocks."):
                name, stripped = name.removeprefix(wrapper), True
    return name


def core_names(tensors: Tensors) -> Tensors:
    """Tensors by their names without wrappers."""
    return {core_name(name): tensor for name, tensor in tensors.items()}


def loading_names(tensors: Mapping[str, object], wanted: Collection[str]) -> Tensors:
    """Tensors by the names that a class wants, whatever wrappers it has."""
    found = {name: tensors[core] for name in wanted if (core := core_name(name)) in tensors}
    if "shared.weight" in wanted and "embed_tokens.weight" in tensors:
        found["shared.weight"] = tensors["embed_tokens.weight"]
    return found


# CLIP

_OPEN_CLIP_WIDTHS = (1024, 1280, 1664)
_OPEN_CLIP_NAMES = (
    ("transformer.resblocks.", "encoder.layers."),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
    ("ln_final.", "final_layer_norm."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.", ".self_attn."),
)


def _clip_width(shapes: Shapes) -> int | None:
    suffix = "token_embedding.weight"
    return next((shape[-1] for name, shape in shapes.items() if name.endswith(suffix)), None)


def _clip_config(shapes: Shapes) -> Config:
    width = needed(shapes, 1, "embeddings.token_embedding.weight")
    words = needed(shapes, 0, "embeddings.token_embedding.weight")
    return without_none(
        {
            "vocab_size": words,
            "hidden_size": width,
            "intermediate_size": needed(shapes, 0, "encoder.layers.0.mlp.fc1.weight"),
            "num_hidden_layers": count_blocks(shapes, "encoder.layers."),
            "num_attention_heads": divided(width, 64),
            "max_position_embeddings": needed(shapes, 0, "embeddings.position_embedding.weight"),
            "projection_dim": side(shapes, 0, "text_projection.weight") or width,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        }
    )


def _open_clip_config(shapes: Shapes) -> Config:
    config = _clip_config(shapes) | {"hidden_act": "gelu", "pad_token_id": 0}
    if (config["hidden_size"], config["num_hidden_layers"]) == (1024, 24):
        config["num_hidden_layers"] = 23  # Stable Diffusion 2 reads the layer before the last
    return config


def _convert_open_clip(tensors: Tensors) -> Tensors:
    """OpenCLIP's names to transformers': queries, keys and values are one matrix there."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if name == "text_projection":
            renamed["text_projection.weight"] = tensor.T
            continue
        (target,) = replace_keys({name: None}, *_OPEN_CLIP_NAMES)
        if found := re.match(r"(.*)\.in_proj_(weight|bias)$", target):
            for part, piece in zip("qkv", tensor.chunk(3, 0), strict=True):
                renamed[f"{found[1]}.{part}_proj.{found[2]}"] = piece
        else:
            renamed[target] = tensor
    return renamed


CLIP = NetworkLayout(
    name="clip",
    title="a CLIP-L text encoder",
    role="text encoder",
    class_name="CLIPTextModel",
    library="transformers",
    library_keys=("embeddings.token_embedding.weight",),
    fits=lambda shapes: (
        "encoder.layers.0.self_attn.q_proj.weight" in shapes and _clip_width(shapes) not in _OPEN_CLIP_WIDTHS
    ),
    config=_clip_config,
    required=("num_attention_heads",),
    width=_clip_width,
)
OPEN_CLIP = NetworkLayout(
    name="open-clip",
    title="an OpenCLIP text encoder (CLIP-G or CLIP-H)",
    role="text encoder",
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    own_keys=("transformer.resblocks.0.attn.in_proj_weight",),
    library_keys=("embeddings.token_embedding.weight",),
    fits=lambda shapes: _clip_width(shapes) != 768,
    convert=_convert_open_clip,
    config=_open_clip_config,
    required=("num_attention_heads",),
    width=_clip_width,
)

# T5


_T5_WORDS = ("shared.weight", "encoder.embed_tokens.weight", "embed_tokens.weight")
"""The names of T5's vocabulary: transformers' two, and the one that llama.cpp's becomes."""


def _t5_config(shapes: Shapes) -> Config:
    attention = "encoder.block.0.layer.0.SelfAttention"
    feed_forward = "encoder.block.0.layer.1.DenseReluDense"
    heads = needed(shapes, 1, f"{attention}.relative_attention_bias.weight")
    gated = f"{feed_forward}.wi_0.weight" in shapes
    return {
        "vocab_size": needed(shapes, 0, *_T5_WORDS),
        "d_model": needed(shapes, 1, *_T5_WORDS),
        "d_kv": needed(shapes, 0, f"{attention}.q.weight") // heads,
        "d_ff": needed(shapes, 0, f"{feed_forward}.wi_0.weight", f"{feed_forward}.wi.weight"),
        "num_layers": count_blocks(shapes, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": needed(shapes, 0, f"{attention}.relative_attention_bias.weight"),
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }


def _t5_width(shapes: Shapes) -> int | None:
    return side(shapes, 1, *_T5_WORDS)


_T5_KEY = "encoder.block.0.layer.0.SelfAttention.q.weight"
_EVERY_BLOCK = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"

T5 = NetworkLayout(
    name="t5",
    title="a T5 text encoder",
    role="text encoder",
    class_name="T5EncoderModel",
    library="transformers",
    library_keys=(_T5_KEY,),
    fits=lambda shapes: _EVERY_BLOCK not in shapes,
    config=_t5_config,
    width=_t5_width,
)
UMT5 = NetworkLayout(
    name="umt5",
    title="a UMT5 text encoder (Pile-T5, UMT5)",
    role="text encoder",
    class_name="UMT5EncoderModel",
    library="transformers",
    library_keys=(_T5_KEY,),
    fits=lambda shapes: _EVERY_BLOCK in shapes,
    config=_t5_config,
    width=_t5_width,
)

# Language models


def language_model_config(shapes: Shapes, head: int, **values: object) -> Config:
    """The sizes of a decoder-only language model, from its shapes.

    Args:
        shapes: By names without wrappers.
        head: The published dimension of a head, where no norm of the queries tells it.
        values: Published values.
    """
    queries = needed(shapes, 0, "layers.0.self_attn.q_proj.weight")
    keys = needed(shapes, 0, "layers.0.self_attn.k_proj.weight")
    norm = side(shapes, 0, "layers.0.self_attn.q_norm.weight")
    head = norm or head
    known = queries % head == 0 and keys % head == 0
    return without_none(
        {
            "vocab_size": needed(shapes, 0, "embed_tokens.weight"),
            "hidden_size": needed(shapes, 1, "embed_tokens.weight"),
            "intermediate_size": needed(shapes, 1, "layers.0.mlp.down_proj.weight"),
            "num_hidden_layers": count_blocks(shapes, "layers."),
            "num_attention_heads": queries // head if known else None,
            "num_key_value_heads": keys // head if known else None,
            "head_dim": head if known else None,
            "tie_word_embeddings": "lm_head.weight" not in shapes,
            **values,
        }
    )


_LM_KEY = "layers.0.self_attn.q_proj.weight"
_HEADS = ("head_dim", "num_attention_heads", "num_key_value_heads")


def _lm_width(shapes: Shapes) -> int | None:
    return side(shapes, 1, "embed_tokens.weight")


def _qwen25_vl_config(shapes: Shapes) -> Config:
    """Qwen2.5-VL-7B-Instruct."""
    text = language_model_config(
        shapes, 128, rope_theta=1e6, rms_norm_eps=1e-6, max_position_embeddings=128000
    )
    if text.get("head_dim") == 128:
        text["rope_scaling"] = {"type": "default", "rope_type": "default", "mrope_section": [16, 24, 24]}
        text.pop("head_dim")  # its class divides the width by the heads
    if text.get("num_attention_heads", 0) * 128 != text["hidden_size"]:
        for name in ("num_attention_heads", "num_key_value_heads", "rope_scaling"):
            text.pop(name, None)
    vision: Config = {
        "depth": count_blocks(shapes, "visual.blocks.") or 1,
        "hidden_size": side(shapes, 0, "visual.patch_embed.proj.weight") or 1280,
        "intermediate_size": side(shapes, 0, "visual.blocks.0.mlp.gate_proj.weight") or 3420,
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
    }
    head = text.pop("tie_word_embeddings")
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": head}


_DEEPSTACK = {24: [5, 11, 17], 27: [8, 16, 24]}
"""The layers of the eyes whose outputs the language model reads too, by the number of layers."""


def _qwen3_vl_config(shapes: Shapes) -> Config:
    """Qwen3-VL-4B-Instruct and Qwen3-VL-8B-Instruct."""
    text = language_model_config(shapes, 128, rms_norm_eps=1e-6, max_position_embeddings=262144)
    tied = text.pop("tie_word_embeddings")
    if text.get("head_dim") == 128:
        text["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        }
    depth = count_blocks(shapes, "visual.blocks.")
    merged = count_blocks(shapes, "visual.deepstack_merger_list.")
    vision = {
        "depth": depth,
        "hidden_size": needed(shapes, 0, "visual.patch_embed.proj.weight"),
        "intermediate_size": needed(shapes, 0, "visual.blocks.0.mlp.linear_fc1.weight"),
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": needed(shapes, 0, "visual.pos_embed.weight"),
        "deepstack_visual_indexes": _DEEPSTACK.get(depth, _DEEPSTACK[24])[:merged],
    }
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


def _mistral3_config(shapes: Shapes, *, ministral: bool = False) -> Config:
    """Mistral-Small-3.1-24B-Instruct, or Ministral-3-3B with the rotary embeddings of Ministral3Config."""
    if ministral:
        text = language_model_config(shapes, 128, rms_norm_eps=1e-5, model_type="ministral3")
    else:
        text = language_model_config(shapes, 128, rope_theta=1e9, rms_norm_eps=1e-5, sliding_window=None)
        text |= {"sliding_window": None, "max_position_embeddings": 131072}
    head = text.pop("tie_word_embeddings")
    vision = {
        "hidden_size": side(shapes, 0, "vision_tower.patch_conv.weight") or 1024,
        "intermediate_size": side(
            shapes, 0, "vision_tower.transformer.layers.0.feed_forward.gate_proj.weight"
        )
        or 4096,
        "num_hidden_layers": count_blocks(shapes, "vision_tower.transformer.layers.") or 24,
        "num_attention_heads": 16,
        "image_size": 1540,
        "patch_size": side(shapes, 2, "vision_tower.patch_conv.weight") or 14,
        "rope_theta": 1e4,
    }
    return {
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": head,
        "image_token_index": 10,
        "spatial_merge_size": 2,
        "multimodal_projector_bias": False,
    }


def _vocabulary(shapes: Shapes) -> int:
    return side(shapes, 0, "embed_tokens.weight") or 0


QWEN25_VL = NetworkLayout(
    name="qwen2.5-vl",
    title="a Qwen2.5-VL text encoder",
    role="text encoder",
    class_name="Qwen2_5_VLForConditionalGeneration",
    library="transformers",
    library_keys=("layers.0.self_attn.q_proj.bias",),
    fits=lambda shapes: "layers.0.mlp.gate_up_proj.weight" not in shapes,
    config=_qwen25_vl_config,
    required=("text_config.num_attention_heads", "text_config.rope_scaling"),
    width=_lm_width,
    optional_modules=("model.visual",),
)
QWEN3 = NetworkLayout(
    name="qwen3",
    title="a Qwen3 text encoder",
    role="text encoder",
    class_name="Qwen3ForCausalLM",
    library="transformers",
    library_keys=("layers.0.self_attn.q_norm.weight",),
    fits=lambda shapes: (
        not any(
            key in shapes
            for key in (
                "layers.0.pre_feedforward_layernorm.weight",
                "visual.deepstack_merger_list.0.norm.weight",
            )
        )
    ),
    config=lambda shapes: language_model_config(
        shapes, 128, rope_theta=1e6, rms_norm_eps=1e-6, max_position_embeddings=40960
    ),
    required=_HEADS,
    width=_lm_width,
)
QWEN3_VL = NetworkLayout(
    name="qwen3-vl",
    title="a Qwen3-VL text encoder",
    role="text encoder",
    class_name="Qwen3VLModel",
    library="transformers",
    library_keys=("visual.deepstack_merger_list.0.norm.weight",),
    config=_qwen3_vl_config,
    required=("text_config.rope_parameters",),
    width=_lm_width,
)
GEMMA2 = NetworkLayout(
    name="gemma2",
    title="a Gemma 2 text encoder",
    role="text encoder",
    class_name="Gemma2Model",
    library="transformers",
    library_keys=("layers.0.pre_feedforward_layernorm.weight",),
    fits=lambda shapes: "layers.0.self_attn.q_norm.weight" not in shapes,
    config=lambda shapes: language_model_config(shapes, 256),
    required=_HEADS,
    width=_lm_width,
)
GLM = NetworkLayout(
    name="glm",
    title="a GLM-4 text encoder",
    role="text encoder",
    class_name="GlmModel",
    library="transformers",
    library_keys=("layers.0.mlp.gate_up_proj.weight",),
    config=lambda shapes: language_model_config(shapes, 128),
    required=_HEADS,
    width=_lm_width,
)
MISTRAL = NetworkLayout(
    name="mistral",
    title="a Mistral text encoder",
    role="text encoder",
    class_name="Mistral3ForConditionalGeneration",
    library="transformers",
    library_keys=(_LM_KEY,),
    fits=lambda shapes: (
        "layers.0.self_attn.q_proj.bias" not in shapes
        and "layers.0.self_attn.q_norm.weight" not in shapes
        and "layers.0.pre_feedforward_layernorm.weight" not in shapes
        and "layers.0.mlp.gate_up_proj.weight" not in shapes
        and _vocabulary(shapes) not in (128256, 32000)
    ),
    config=_mistral3_config,
    required=("text_config.head_dim",),
    width=_lm_width,
    optional_modules=("model.vision_tower", "model.multi_modal_projector"),
)
MINISTRAL = NetworkLayout(
    name="ministral",
    title="a Ministral 3 text encoder",
    role="text encoder",
    class_name="Mistral3Model",
    library="transformers",
    library_keys=(_LM_KEY,),
    fits=MISTRAL.fits,
    config=lambda shapes: _mistral3_config(shapes, ministral=True),
    required=("text_config.head_dim",),
    width=_lm_width,
    optional_modules=("vision_tower", "multi_modal_projector"),
)
LLAMA = NetworkLayout(
    name="llama",
    title="a Llama text encoder",
    role="text encoder",
    class_name="LlamaForCausalLM",
    library="transformers",
    library_keys=(_LM_KEY,),
    fits=lambda shapes: MISTRAL.fits(shapes) or _vocabulary(shapes) in (128256, 32000),
    config=lambda shapes: language_model_config(shapes, 128, rope_theta=5e5, rms_norm_eps=1e-5),
    required=_HEADS,
    width=_lm_width,
)
_CHATGLM_HEAD = 128


def _chatglm_config(shapes: Shapes) -> Config:
    """ChatGLM3-6B, whose queries, keys and values are one matrix; keys and values are those of a few groups."""
    words, width = shapes["embedding.word_embeddings.weight"]
    fused = needed(shapes, 0, "encoder.layers.0.self_attention.query_key_value.weight")
    queries = needed(shapes, 1, "encoder.layers.0.self_attention.dense.weight")
    groups = divided(fused - queries, 2 * _CHATGLM_HEAD)
    heads = divided(queries, _CHATGLM_HEAD)
    known = heads is not None and groups is not None
    return without_none(
        {
            "num_layers": count_blocks(shapes, "encoder.layers."),
            "padded_vocab_size": words,
            "hidden_size": width,
            "ffn_hidden_size": needed(shapes, 1, "encoder.layers.0.mlp.dense_4h_to_h.weight"),
            "kv_channels": _CHATGLM_HEAD if known else None,
            "num_attention_heads": heads,
            "multi_query_attention": groups != heads,
            "multi_query_group_num": groups,
            "add_qkv_bias": "encoder.layers.0.self_attention.query_key_value.bias" in shapes,
            "seq_length": 32768,
            "original_rope": True,
        }
    )


CHATGLM = NetworkLayout(
    name="chatglm",
    title="a ChatGLM3 text encoder",
    role="text encoder",
    class_name="ChatGLMModel",
    library="kolors",
    library_keys=("embedding.word_embeddings.weight",),
    fits=lambda shapes: "encoder.layers.0.self_attention.query_key_value.weight" in shapes,
    config=_chatglm_config,
    required=("kv_channels", "num_attention_heads", "multi_query_group_num"),
    width=lambda shapes: side(shapes, 1, "embedding.word_embeddings.weight"),
)
BERT = NetworkLayout(
    name="bert",
    title="a BERT text encoder",
    role="text encoder",
    class_name="BertModel",
    library="transformers",
    library_keys=("embeddings.word_embeddings.weight",),
    config=lambda shapes: without_none(
        {
            "vocab_size": needed(shapes, 0, "embeddings.word_embeddings.weight"),
            "hidden_size": needed(shapes, 1, "embeddings.word_embeddings.weight"),
            "intermediate_size": needed(shapes, 0, "encoder.layer.0.intermediate.dense.weight"),
            "num_hidden_layers": count_blocks(shapes, "encoder.layer."),
            "num_attention_heads": divided(needed(shapes, 1, "embeddings.word_embeddings.weight"), 64),
            "max_position_embeddings": needed(shapes, 0, "embeddings.position_embeddings.weight"),
            "type_vocab_size": needed(shapes, 0, "embeddings.token_type_embeddings.weight"),
        }
    ),
    required=("num_attention_heads",),
    width=lambda shapes: side(shapes, 1, "embeddings.word_embeddings.weight"),
)

TEXT_ENCODERS = (
    CLIP,
    OPEN_CLIP,
    T5,
    UMT5,
    QWEN25_VL,
    QWEN3_VL,
    QWEN3,
    GEMMA2,
    GLM,
    MISTRAL,
    MINISTRAL,
    LLAMA,
    BERT,
    CHATGLM,
)
"""All kinds; a file may fit several, where its content does not tell them apart."""
