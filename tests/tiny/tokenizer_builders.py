"""Tokenizers with a few hundred entries, built from single letters: no vocabulary is downloaded."""

from __future__ import annotations

import atexit
import functools
import shutil
import string
import tempfile
from pathlib import Path

from diffusers.pipelines.kolors import ChatGLMTokenizer
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    ByT5Tokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template in ChatML, the format of Qwen's models."""

CHAT_WITH_CONTENT_PARTS = (
    "{% for message in messages %}[{{ message['role'] }}]{% for part in message['content'] %}"
    "{{ part['text'] }}{% endfor %}{% endfor %}"
)
"""A chat template for messages whose content is a list of parts."""


CHAT_OF_PARTS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
)
"""ChatML for such messages."""


def clip(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """A byte-level BPE with two merges and CLIP's two special tokens."""
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "re", "red</w>"]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    merges = [("r", "e"), ("re", "d</w>")]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def t5(length: int = 77) -> T5Tokenizer:
    """A unigram model over printable characters."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.printable.replace(" ", "")[:94]]
    vocabulary = [(piece, -float(number)) for number, piece in enumerate(pieces)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=length)


def qwen2() -> Qwen2Tokenizer:
    """A byte-level BPE without merges, with a chat template."""
    pieces = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen2_vl(*, sees: bool = False) -> Qwen2VLProcessor:
    """Qwen's processor: the tokenizer with images and videos, for which it has tokens if it is to see."""
    tokenizer = qwen2()
    if sees:
        marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *marks]})
    return Qwen2VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT)


def qwen3_vl() -> Qwen3VLProcessor:
    """Qwen3's processor, whose chat template takes content parts."""
    tokenizer = qwen2()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|vision_start|>", "<|image_pad|>"]})
    return Qwen3VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen3VLVideoProcessor(), chat_template=CHAT_OF_PARTS
    )


def byt5() -> ByT5Tokenizer:
    """Bytes, without a vocabulary."""
    return ByT5Tokenizer(extra_ids=0, model_max_length=128)


def pixtral() -> PixtralProcessor:
    """Mistral's processor: a tokenizer with a chat template for content parts, and special tokens for images."""
    pieces = [*bytes_to_unicode().values(), "<s>", "</s>", "<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
    )
    return PixtralProcessor(
        PixtralImageProcessor(), tokenizer, patch_size=14, chat_template=CHAT_WITH_CONTENT_PARTS
    )


def gemma() -> GemmaTokenizer:
    """A BPE over printable characters with a byte fallback."""
    byte_pieces = [f"<0x{value:02X}>" for value in range(256)]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *byte_pieces, "▁", *string.printable[:94]]
    return GemmaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])


def glm() -> PreTrainedTokenizerFast:
    """CogView4's left-padding tokenizer: single bytes under the general class, after GLM's two special tokens."""
    pieces = [*bytes_to_unicode().values(), "<|endoftext|>", "[gMASK]", "<sop>"]
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = [(mark, pieces.index(mark)) for mark in ("[gMASK]", "<sop>")]
    inner.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left"
    )


def chatglm() -> ChatGLMTokenizer:
    """Kolors' left-padding tokenizer: a BPE with a byte fallback, in sentencepiece's own format."""
    return ChatGLMTokenizer(str(_sentencepiece_model()))


@functools.cache
def _sentencepiece_model() -> Path:
    """Train a sentencepiece model; a file, since the tokenizer reads it when created and again when saved."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a red cat", "a blue dog", "a green apple, 3d style"]),
        model_prefix=f"{folder}/tokenizer",
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return Path(folder) / "tokenizer.model"


def bert() -> BertTokenizer:
    """Word pieces of one character each."""
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=77)
