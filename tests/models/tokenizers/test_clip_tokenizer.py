from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.discovery import STARTER_PATH, describe_checkpoint, find_checkpoint
from safelight.models.tokenizers.clip_tokenizer import ClipTokenizer, TokenizerSource, tokenizer_sources
from safelight.models.tokenizers.clip_vocabulary import END, clip_tokenizer

TEXTS = [
    "a photo of a cat",
    "A  Photo\nof a CAT!!",
    "!",
    "don't, it'S 12½ <|endoftext|> x<|STARTOFTEXT|>",
    "猫 🐈‍⬛ é ﬁ İ ß",
    "",
]


def same(ours: ClipTokenizer, real: CLIPTokenizer) -> None:
    for text in TEXTS:
        for special in (False, True):
            ids = ours(text, add_special_tokens=special, verbose=False)["input_ids"]
            assert ids == real(text, add_special_tokens=special, verbose=False)["input_ids"], text
        assert [ours.decode([each]) for each in ids] == [real.decode([each]).strip() for each in ids]
    assert dict(ours.added_tokens_encoder) == dict(real.added_tokens_encoder)
    for name in ("model_max_length", "bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(ours, name) == getattr(real, name)


@pytest.mark.parametrize("pad", [END, "!"])
def test_the_built_in_clip_tokenizer(pad: str) -> None:
    same(TokenizerSource(None, pad).open(), clip_tokenizer(pad))


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_checkpoints_of_each_kind(name: str, tiny: Callable[[str], Path]) -> None:
    folder = tiny(name)
    sources = tokenizer_sources(describe_checkpoint(folder, name))
    assert [str(source.folder) for source in sources] == sorted(map(str, folder.glob("tokenizer*")))
    assert sources
    for source in sources:
        same(source.open(), CLIPTokenizer.from_pretrained(source.folder))


@pytest.mark.parametrize("name", ["flux", "sd3"])
def test_other_families_have_none(name: str, tiny: Callable[[str], Path]) -> None:
    assert tokenizer_sources(describe_checkpoint(tiny(name), name)) == ()


def test_the_starter(tmp_path: Path) -> None:
    (source,) = tokenizer_sources(find_checkpoint("starter", tmp_path))
    same(source.open(), CLIPTokenizer.from_pretrained(STARTER_PATH / "tokenizer"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER_PATH / "tokenizer", tmp_path / "tokenizer"))


def test_vocabulary_and_merges_in_separate_files(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    same(TokenizerSource(folder).open(), CLIPTokenizer.from_pretrained(folder))


def test_added_tokens_of_a_checkpoint(folder: Path) -> None:
    real = CLIPTokenizer.from_pretrained(folder)
    real.add_tokens(["ink", "ink_1", "ink_2"])
    real.save_pretrained(folder)
    ours = TokenizerSource(folder).open()
    same(ours, CLIPTokenizer.from_pretrained(folder))
    assert "ink_2" in ours.added_tokens_encoder


def test_damaged_files(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 10**30}))
    with pytest.raises(CheckpointInvalidError, match="how many tokens"):
        TokenizerSource(folder).open()
    for content in (
        "{",
        '{"model": {}}',
        '{"model": {"vocab": {"a": 1}, "merges": ["b c"]}}',
        '{"model": 1}',
    ):
        (folder / "tokenizer.json").write_text(content)
        with pytest.raises(CheckpointInvalidError):
            TokenizerSource(folder).open()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(CheckpointInvalidError):
        TokenizerSource(folder).open()


def test_it_needs_no_transformers() -> None:
    script = "import sys; from safelight.models.tokenizers.clip_tokenizer import TokenizerSource\n"
    script += "TokenizerSource(None).open(); "
    script += "print({'transformers', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
