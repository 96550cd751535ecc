"""The tokenizers that come with Safelight, for text encoders in weights files: CLIP's, T5's, ByT5's and Qwen's.

T5's vocabulary is Google's, Qwen's is Alibaba Cloud's, both under Apache-2.0, packed from the sources of
stable-diffusion.cpp by ``scripts/pack_vocabularies.py``; CLIP's is in open_clip_torch (``clip_vocabulary``).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    ByT5Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    Siglip2ImageProcessor,
)

from safelight.models.tokenizers.clip_vocabulary import END, byte_characters, clip_tokenizer

VOCABULARIES = Path(__file__).parent / "vocabularies"

_T5_ROLES = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_QWEN_ROLES = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
)  # fmt: skip
"""Qwen's further tokens in the order of their numbers; the text models before Qwen3 have the first 22."""

_QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Qwen's chat format (ChatML) for messages without tools; Qwen3 leaves out its thoughts where it is told to."""


def t5_tokenizer() -> PreTrainedTokenizerBase:
    """T5's tokenizer: a unigram model of 32,000 pieces and 100 sentinels."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_read("t5.json.gz")),
        **_T5_ROLES,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


def qwen2_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of Qwen 2, 2.5 and 3: a byte-level encoding of 151,643 pieces and its chat tokens."""
    merges = [
        (first, second)
        for first, second in (line.split(" ") for line in _read("qwen2.txt.gz").splitlines() if line)
    ]
    pieces = [*byte_characters().values(), *(first + second for first, second in merges)]
    backend = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _QWEN_SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **_QWEN_ROLES,
        model_max_length=131_072,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = _QWEN_CHAT
    return tokenizer


def qwen2_vl_processor(tokenizer: Any = None) -> Qwen2VLProcessor:
    """Qwen 2.5's processor, with the sizes of pictures that were published for it.

    Args:
        tokenizer: Its tokenizer, or a processor with one; the bundled one when not given.
    """
    if isinstance(tokenizer, Qwen2VLProcessor):
        return tokenizer
    pixels = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    return Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=pixels),
        tokenizer or qwen2_tokenizer(),
        Qwen2VLVideoProcessor(),
        chat_template=_QWEN_CHAT,
    )


def qwen3_vl_processor() -> Qwen3VLProcessor:
    """Qwen 3's processor, likewise."""
    tokenizer = qwen2_tokenizer()
    return Qwen3VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen3VLVideoProcessor(), chat_template=_QWEN_CHAT
    )


def siglip2_processor(config: Any) -> Siglip2ImageProcessor:
    """What prepares pictures for a SigLIP 2, in the sizes that its encoder's config names."""
    return Siglip2ImageProcessor(patch_size=config.patch_size, max_num_patches=config.num_patches)


def byt5_tokenizer() -> PreTrainedTokenizerBase:
    """ByT5's tokenizer, which has no vocabulary: the bytes of UTF-8 after three tokens."""
    return ByT5Tokenizer(model_max_length=128)


BUNDLED_TOKENIZERS: Mapping[str, Callable[[], object]] = {
    "clip": lambda: clip_tokenizer(END),
    "open-clip": lambda: clip_tokenizer("!"),
    "t5-512": t5_tokenizer,
    "qwen2": qwen2_tokenizer,
    "qwen3": qwen2_tokenizer,
    "qwen2-vl": qwen2_vl_processor,
    "qwen3-vl": qwen3_vl_processor,
    "byt5": byt5_tokenizer,
}
"""By the names that ``layouts`` use; the others' licences do not permit to ship them, or they were not at hand."""


def _read(name: str) -> str:
    return gzip.decompress((VOCABULARIES / name).read_bytes()).decode()
