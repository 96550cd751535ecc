"""Text encoders and autoencoders of a few thousand random weights."""

from __future__ import annotations

from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
)
from diffusers.pipelines.kolors import ChatGLMModel, ChatGLMTokenizer
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral3Model,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

WIDTH = 32
"""Hidden size of every text encoder."""
SIGLIP_WIDTH, SIGLIP_PATCH, SIGLIP_PATCHES = 16, 16, 16
"""Hidden size of SigLIP 2, the side of its patches in pixels, and how many it sees of a picture at most."""


def autoencoder(latent_channels: int = 4, scaling: float = 0.18215, **config: object) -> AutoencoderKL:
    """An image autoencoder that scales images down eight times, as the families' own do."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        scaling_factor=scaling,
        sample_size=64,
        **config,
    )


def flux_autoencoder(latent_channels: int = 4) -> AutoencoderKL:
    """The autoencoder of Flux and SD3: with a shift, and without convolutions around the latents."""
    return autoencoder(
        latent_channels, 0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False
    )


def flux2_autoencoder() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def qwen_autoencoder() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def qwen21_autoencoder() -> AutoencoderKLQwenImage21:
    """It scales down sixteen times, and has a channel for transparency."""
    return AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def sana_autoencoder() -> AutoencoderDC:
    """A deep compression autoencoder: it scales down thirty-two times."""
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        decoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_qkv_multiscales=((), (), (), (), (), (5,)),
        decoder_qkv_multiscales=((), (), (), (), (), (5,)),
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def _clip_config(tokenizer: CLIPTokenizer, activation: str, layers: int, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=width,
        intermediate_size=37,
        projection_dim=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=layers,
        hidden_act=activation,
    )


def clip(
    tokenizer: CLIPTokenizer, activation: str = "quick_gelu", layers: int = 5, width: int = WIDTH
) -> CLIPTextModel:
    return CLIPTextModel(_clip_config(tokenizer, activation, layers, width))


def clip_projected(
    tokenizer: CLIPTokenizer, activation: str = "gelu", layers: int = 5, positions: int = 77
) -> CLIPTextModelWithProjection:
    config = _clip_config(tokenizer, activation, layers, WIDTH)
    config.max_position_embeddings = positions
    return CLIPTextModelWithProjection(config)


def _t5_sizes(tokenizer: PreTrainedTokenizerBase, width: int) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "d_model": width,
        "d_ff": 37,
        "d_kv": 8,
        "num_heads": 4,
        "num_layers": 2,
    }


def t5(tokenizer: PreTrainedTokenizerBase, width: int = WIDTH) -> T5EncoderModel:
    return T5EncoderModel(T5Config(**_t5_sizes(tokenizer, width)))


def umt5(tokenizer: PreTrainedTokenizerBase) -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(**_t5_sizes(tokenizer, WIDTH)))


def _decoder_sizes(tokenizer: PreTrainedTokenizerBase, layers: int) -> dict[str, object]:
    """The sizes that all decoder-only language models share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 37,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def gemma2(tokenizer: PreTrainedTokenizerBase) -> Gemma2Model:
    return Gemma2Model(Gemma2Config(**_decoder_sizes(tokenizer, 3)))


def glm(tokenizer: PreTrainedTokenizerBase) -> GlmModel:
    return GlmModel(GlmConfig(**_decoder_sizes(tokenizer, 3)))


def chatglm(tokenizer: ChatGLMTokenizer) -> ChatGLMModel:
    """Kolors' own class: two of four heads share keys and values. The class leaves its weights uninitialised."""
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=tokenizer.vocab_size,
        hidden_size=WIDTH,
        ffn_hidden_size=37,
        kv_channels=8,
        num_attention_heads=4,
        seq_length=256,
        original_rope=True,
        add_qkv_bias=True,
        multi_query_attention=True,
        multi_query_group_num=2,
    )
    model = ChatGLMModel(config)
    for name, weight in model.named_parameters():
        nn.init.normal_(weight, mean=1.0 if "norm" in name else 0.0, std=0.1)
    return model


def qwen3(tokenizer: PreTrainedTokenizerBase) -> Qwen3Model:
    return Qwen3Model(Qwen3Config(**_decoder_sizes(tokenizer, 3)))


def siglip2() -> Siglip2VisionModel:
    return Siglip2VisionModel(
        Siglip2VisionConfig(
            hidden_size=SIGLIP_WIDTH,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            patch_size=SIGLIP_PATCH,
            num_patches=SIGLIP_PATCHES,
        )
    )


def qwen3_deep(tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """With enough layers for Flux.2 klein, which reads the layers 9, 18 and 27."""
    return Qwen3ForCausalLM(Qwen3Config(**_decoder_sizes(tokenizer, 28), tie_word_embeddings=True))


def llama(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    config = LlamaConfig(**_decoder_sizes(tokenizer, 2))
    config._attn_implementation = "eager"  # HiDream's pipeline asks for attentions
    return LlamaForCausalLM(config)


def _qwen3_vl_config(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLConfig:
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 1e4}
    return Qwen3VLConfig(
        text_config=_decoder_sizes(tokenizer, 2) | {"rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 16,
        },
    )


def qwen3_vl(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLModel:
    return Qwen3VLModel(_qwen3_vl_config(tokenizer))


def qwen3_vl_generation(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration(_qwen3_vl_config(tokenizer))


def mistral3_model(tokenizer: PreTrainedTokenizerBase) -> Mistral3Model:
    return mistral3(tokenizer, layers=3).model


def hunyuan_autoencoder() -> AutoencoderKLHunyuanImage:
    """It scales down thirty-two times."""
    return AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32,) * 6,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=64,
        scaling_factor=0.75,
    )


def qwen25_vl(tokenizer: PreTrainedTokenizerBase, layers: int = 2) -> Qwen2_5_VLForConditionalGeneration:
    sizes = _decoder_sizes(tokenizer, layers)
    rope = {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]}
    known = tokenizer.get_vocab()
    marks = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    config = Qwen2_5_VLConfig(
        text_config=sizes | {"rope_scaling": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
        **{name: known[mark] for name, mark in marks.items() if mark in known},
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def mistral3(tokenizer: PreTrainedTokenizerBase, layers: int = 31) -> Mistral3ForConditionalGeneration:
    """With enough layers for Flux.2, which reads the layers 10, 20 and 30."""
    config = Mistral3Config(
        text_config=MistralConfig(**_decoder_sizes(tokenizer, layers)),
        vision_config=PixtralVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ),
        image_token_index=tokenizer.pad_token_id,
    )
    return Mistral3ForConditionalGeneration(config)


def bert(tokenizer: PreTrainedTokenizerBase) -> BertModel:
    return BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )
