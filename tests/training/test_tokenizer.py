from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

import tokenizer as words
from captions import caption
from pictures import Thing
from scenes import Pictures, random_scene


@pytest.fixture(scope="module")
def learnt(pictures: Pictures) -> CLIPTokenizer:
    return words.learn(pictures.things)


@pytest.fixture(scope="module")
def folder(learnt: CLIPTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizer")
    words.save(learnt, place)
    return place


def without_case_and_spaces(text: str) -> str:
    """A text without case and spaces: CLIP splits "3d", and decoding puts a space between."""
    return "".join(text.lower().split())


@pytest.mark.parametrize(
    "text",
    ["a red apple, 3d style", "Kläranlage", "☃ snow", "x" * 30, "two  spaces", "\U0001f600 \x07", "l'été"],
)
def test_any_text_survives_the_round_trip(text: str, learnt: CLIPTokenizer) -> None:
    numbers = learnt(text).input_ids
    assert learnt.unk_token_id not in numbers[:-1]
    assert without_case_and_spaces(
        learnt.decode(numbers, skip_special_tokens=True)
    ) == without_case_and_spaces(text)


@given(row=st.integers(0, 11), seed=st.integers(0, 2**32 - 1))
def test_captions_round_trip_exactly_and_fit(
    pictures: Pictures, learnt: CLIPTokenizer, row: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    text = caption(pictures, random_scene(pictures, row, random), random)
    numbers = learnt(text).input_ids
    assert len(numbers) <= words.LENGTH
    assert without_case_and_spaces(
        learnt.decode(numbers, skip_special_tokens=True)
    ) == without_case_and_spaces(text)


def test_words_of_captions_are_single_tokens(learnt: CLIPTokenizer, pictures: Pictures) -> None:
    for text in (
        "light blue background",
        "at the bottom",
        "sticker style",
        *(t.name for t in pictures.things),
    ):
        assert len(learnt.tokenize(text)) == len(text.split())


def test_its_layout_is_clips(learnt: CLIPTokenizer) -> None:
    """Every byte twice, merges, the two special tokens at the end; short texts are padded with the end token."""
    assert len(learnt) <= words.SIZE
    assert learnt.model_max_length == words.LENGTH
    assert (learnt.bos_token, learnt.eos_token, learnt.pad_token) == (words.START, words.END, words.END)
    assert (learnt.bos_token_id, learnt.eos_token_id) == (len(learnt) - 2, len(learnt) - 1)
    numbers = learnt("red", padding="max_length", truncation=True).input_ids
    assert numbers[0] == learnt.bos_token_id
    assert numbers[2:] == [learnt.eos_token_id] * (words.LENGTH - 2)
    long = learnt("red " * 100, truncation=True).input_ids
    assert len(long) == words.LENGTH
    assert long[-1] == learnt.eos_token_id


def test_words_are_split_as_clip_splits_them(learnt: CLIPTokenizer) -> None:
    clip = CLIPTokenizer()._tokenizer
    for text in ("Cat's  FACE, 3d!", "don't", "a1b2"):
        ours = learnt.backend_tokenizer
        assert ours.normalizer.normalize_str(text) == clip.normalizer.normalize_str(text)
        assert ours.pre_tokenizer.pre_tokenize_str(text) == clip.pre_tokenizer.pre_tokenize_str(text)


def test_older_tools_read_the_same(folder: Path, learnt: CLIPTokenizer) -> None:
    """From vocab.json and merges.txt alone, as from tokenizer.json."""
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(len(learnt)))
    version, *lines = (folder / "merges.txt").read_text().splitlines()
    assert version.startswith("#version")
    merges = [(first, second) for first, second in (line.split(" ") for line in lines)]
    old = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=words.LENGTH)
    whole = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    for text in ("a red apple, 3d style", "Kläranlage ☃", "face with tears of joy"):
        assert old(text).input_ids == whole(text).input_ids == learnt(text).input_ids


def test_it_is_trained_once_and_cached(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, learn = count(), words.learn
    monkeypatch.setattr(words, "learn", lambda things: (next(numbers), learn(things))[1])
    first = words.build(pictures.things, tmp_path)
    again = words.build([Thing("x", "something else", [], "", "")], tmp_path)
    assert next(numbers) == 1
    assert first.get_vocab() == again.get_vocab()
