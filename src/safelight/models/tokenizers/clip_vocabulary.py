"""CLIP's tokenizer, from the vocabulary that the open_clip_torch package carries (MIT).

Single-file checkpoints have no tokenizer, and all variants of CLIP share one vocabulary (Radford et al., 2021).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_MERGES = 49152 - 256 - 2
"""Number of the file's merges that CLIP uses: its vocabulary less the single bytes and the two special tokens."""

START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(pad: str = END) -> CLIPTokenizer:
    """CLIP's own tokenizer: a vocabulary of 49408 tokens, 77 per chunk.

    Args:
        pad: The padding token: the end token, or "!" for OpenCLIP's models.
    """
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=read_vocabulary(merges), merges=merges, pad_token=pad, model_max_length=77)


def read_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Token numbers by text: single bytes, merged ones, and the two special tokens."""
    letters = list(byte_characters().values())
    endings = (f"{letter}</w>" for letter in letters)
    words = [*letters, *endings, *("".join(pair) for pair in merges), START, END]
    return {word: number for number, word in enumerate(words)}


def read_merges() -> list[tuple[str, str]]:
    """The merges of the byte-pair encoding, most frequent first."""
    path = distribution("open_clip_torch").locate_file("open_clip/bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(Path(str(path)), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def byte_characters() -> dict[int, str]:
    """One character per byte: printable bytes map to themselves, the others to code points from 256 on (GPT-2)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
