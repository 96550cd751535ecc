"""Learn a byte-pair vocabulary in CLIP's format from the names, tags and caption words of the pictures."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer

from captions import STYLE_WORDS
from pictures import WORK, Thing
from scenes import COLOURS, HUES, PLACES, SIZES

LENGTH = 48
"""Tokens of a caption, start and end token included. CLIP's 77 would only make generation slower."""
SIZE = 4096
START, END = "<|startoftext|>", "<|endoftext|>"


def corpus(things: list[Thing]) -> list[str]:
    """All words that captions consist of."""
    words = [word for words in STYLE_WORDS.values() for word in words]
    words += [*COLOURS, *HUES, *PLACES, *filter(None, SIZES)]
    words += ["a an the on and next to beside background picture of in with two"]
    names = [thing.name for thing in things] * 3 + [tag for thing in things for tag in thing.tags]
    return words * 50 + names


def learn_merges(texts: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges for a corpus, most frequent first, split into words as in CLIP."""
    clip = CLIPTokenizer()._tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


def build(things: list[Thing], work: Path = WORK) -> CLIPTokenizer:
    """The starter's tokenizer, learnt once and cached, since merges of equal count are learnt in random order."""
    folder = work / "tokenizer"
    if not folder.is_dir():
        save(learn(things), folder)
    return CLIPTokenizer.from_pretrained(folder)


def learn(things: list[Thing]) -> CLIPTokenizer:
    """Learn a new vocabulary; it can encode any text, since every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    merges = learn_merges(corpus(things))[: SIZE - len(tokens) - 2]
    tokens += dict.fromkeys("".join(pair) for pair in merges)
    vocabulary = {token: number for number, token in enumerate([*dict.fromkeys(tokens), START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def save(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save tokenizer.json for current versions of transformers, vocab.json and merges.txt for older tools."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    lines = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]))


if __name__ == "__main__":
    from scenes import Pictures

    things = Pictures.load().things
    built = build(things)
    with tempfile.TemporaryDirectory() as folder:
        save(built, Path(folder))
        again = CLIPTokenizer.from_pretrained(folder)
        for text in ("a red apple, 3d style", "Kläranlage ☃", "face with tears of joy"):
            print(again.tokenize(text), again(text).input_ids == built(text).input_ids)
    lengths = [len(built(thing.name).input_ids) - 2 for thing in things]
    print(f"{len(built)} tokens; names take {sum(lengths) / len(lengths):.2f} tokens, at most {max(lengths)}")
