"""A tokenizer of a few hundred tokens, built in the test, that splits texts as CLIP's does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = ("cat", "dog", "hat", "sun", "red")


def build_tokenizer(max_length: int = 16, pad: str = END) -> CLIPTokenizer:
    letters = sorted(ByteLevel.alphabet())
    merges = [pair for word in WORDS for pair in ((word[0], word[1]), (word[:2], f"{word[2]}</w>"))]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length, pad_token=pad)


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    """A tokenizer with 16 tokens a chunk, 14 of them of the text; cat, dog, hat, sun and red are one token each."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., CLIPTokenizer]:
    return build_tokenizer
