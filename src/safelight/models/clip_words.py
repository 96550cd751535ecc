"""CLIP's tokenizer, from the vocabulary that the open_clip_torch package carries (MIT).

Single-file checkpoints come without one, and all of CLIP's relatives read the same words (Radford et al., 2021).
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
"""How many merges CLIP uses of those in the file: its vocabulary less the single bytes and the two special words."""

START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(pad: str = END) -> CLIPTokenizer:
    """CLIP's own tokenizer: 49408 words, 77 at a time.

    Args:
        pad: What short prompts are filled up with: the end marker, or "!" for OpenCLIP's models.
    """
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=read_vocabulary(merges), merges=merges, pad_token=pad, model_max_length=77)


def read_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The words by number: single bytes, those that are made of them by merging, and the two special ones."""
    letters = list(_byte_letters().values())
    endings = (f"{letter}</w>" for letter in letters)
    words = [*letters, *endings, *("".join(pair) for pair in merges), START, END]
    return {word: number for number, word in enumerate(words)}


def read_merges() -> list[tuple[str, str]]:
    """The pairs that byte-pair encoding joins, the most usual first."""
    path = distribution("open_clip_torch").locate_file("open_clip/bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(Path(str(path)), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def _byte_letters() -> dict[int, str]:
    """A letter for each byte: printable ones stand for themselves, the others for code points from 256 on (GPT-2)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
