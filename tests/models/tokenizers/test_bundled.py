"""The tokenizers that come with Safelight, against ids that others have published."""

from __future__ import annotations

import pytest

from safelight.models.tokenizers.bundled import BUNDLED_TOKENIZERS, qwen2_tokenizer, t5_tokenizer


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        # transformers' documentation of T5, and tests of Bumblebee and torchtune
        (
            "translate English to German: How old are you?",
            [13959, 1566, 12, 2968, 10, 571, 625, 33, 25, 58, 1],
        ),
        ("Hello world", [8774, 296, 1]),
        ("a cow jumping over the moon", [3, 9, 9321, 15539, 147, 8, 8114, 1]),
    ],
)
def test_t5(text: str, ids: list[int]) -> None:
    assert t5_tokenizer()(text).input_ids == ids


def test_t5_pads_truncates_and_normalizes() -> None:
    tokenizer = t5_tokenizer()
    padded = tokenizer("Hello world", padding="max_length", max_length=6)
    assert (padded.input_ids, padded.attention_mask) == ([8774, 296, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0])
    assert tokenizer("Hello world and more", truncation=True, max_length=2).input_ids == [8774, 1]
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in "Hello")  # as Japanese keyboards write it
    assert tokenizer(f"{wide}  world").input_ids == tokenizer("Hello world").input_ids
    assert len(tokenizer) == 32100


def test_qwen() -> None:
    tokenizer = qwen2_tokenizer()
    assert tokenizer("Hello world").input_ids == [9707, 1879]
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "</think>")
    numbers = [151643, 151644, 151645, 151652, 151655, 151668]
    assert [tokenizer.convert_tokens_to_ids(token) for token in special] == numbers
    assert tokenizer("<|im_start|>user").input_ids == [151644, 872]
    text = "Ein Haus, 3 Bäume\n\n  日本 🎈"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.pad_token_id == 151643


def test_qwen_s_chat_is_chatml_with_or_without_thoughts() -> None:
    tokenizer = qwen2_tokenizer()

    def chat(**options: bool) -> str:
        messages = [{"role": "user", "content": "a cat"}]
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
        )

    asked = "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    assert chat() == chat(enable_thinking=True) == asked
    assert chat(enable_thinking=False) == f"{asked}<think>\n\n</think>\n\n"


def test_clip_s_two_differ_in_their_padding() -> None:
    assert BUNDLED_TOKENIZERS["clip"]().pad_token == "<|endoftext|>"
    assert BUNDLED_TOKENIZERS["open-clip"]().pad_token == "!"
