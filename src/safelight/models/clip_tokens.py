"""CLIP's tokenizers for counting tokens: the same tokens as transformers', without importing transformers.

Like transformers' CLIPTokenizer, this reads a checkpoint's vocabulary and merges; everything else is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints import Checkpoint
from safelight.models.clip_words import END, START, read_merges, read_vocabulary
from safelight.models.folders import INDEX, read_json
from safelight.models.single_file import CONFIGS, PREFIXES, identify

LONGEST = 10_000
"""More tokens than any text encoder reads at once; a larger ``model_max_length`` means that none was set."""
_USUAL_LENGTH = 77
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class ClipTokens:
    """The part of a tokenizer that cutting prompts into chunks needs. Thread-safe.

    Args:
        backend: The tokenizer of the ``tokenizers`` library.
        length: Tokens that the text encoder reads at once, start and end token included.
        special: The texts of bos_token, eos_token and pad_token.
    """

    def __init__(self, backend: Tokenizer, length: int, special: Mapping[str, str]) -> None:
        self._backend = backend
        self._length = length
        self._special = special
        self._added = {str(token): number for number, token in backend.get_added_tokens_decoder().items()}

    @property
    def model_max_length(self) -> int:
        """Tokens that the text encoder reads at once, start and end token included."""
        return self._length

    @property
    def bos_token_id(self) -> int:
        """The token that begins each chunk."""
        return self._number("bos_token")

    @property
    def eos_token_id(self) -> int:
        """The token that ends a chunk's text."""
        return self._number("eos_token")

    @property
    def pad_token_id(self) -> int:
        """The token that pads a chunk."""
        return self._number("pad_token")

    @property
    def added_tokens_encoder(self) -> Mapping[str, int]:
        """Tokens beyond the vocabulary, such as textual inversions."""
        return self._added

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> Mapping[str, list[int]]:
        """Tokenize a text; the tokens are under ``input_ids``.

        Args:
            text: The text.
            add_special_tokens: Add the start and end token.
            verbose: Ignored: there is no warning about texts that are too long.
        """
        del verbose
        return {"input_ids": list(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)}

    def decode(self, token_ids: list[int]) -> str:
        """Turn tokens back into text."""
        text: str = self._backend.decode(token_ids, skip_special_tokens=False)
        return text.replace("</w>", " ").strip()

    def _number(self, name: str) -> int:
        number = self._backend.token_to_id(self._special[name])
        assert number is not None, "it was added if it was no word"
        return int(number)


@dataclass(frozen=True)
class ClipSource:
    """Where a tokenizer comes from; equal sources give equal tokens.

    Args:
        folder: The checkpoint's tokenizer folder; None for CLIP's own vocabulary.
        pad: The padding token where there is no folder.
        modified: Modification time of the folder's files, in nanoseconds since 1970.
    """

    folder: Path | None
    pad: str = END
    modified: int = 0

    def open(self) -> ClipTokens:
        """Build the tokenizer; takes up to a few tenths of a second.

        Raises:
            CheckpointInvalidError: Its files are damaged.
        """
        if self.folder is None:
            special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": self.pad}
            merges = read_merges()
            return _built(read_vocabulary(merges), merges, {}, special, _USUAL_LENGTH)
        try:
            return _from_folder(self.folder)
        except CheckpointInvalidError:
            raise
        except Exception as error:  # tokenizers raises plain Exception for a vocabulary that does not match
            raise CheckpointInvalidError(
                f"{self.folder} holds no tokenizer of CLIP's kind: {error}."
            ) from error


def clip_sources(checkpoint: Checkpoint) -> tuple[ClipSource, ...]:
    """The CLIP tokenizers of a checkpoint, in the order of its text encoders; empty for families without CLIP.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    if checkpoint.family.text_encoding == "plain":
        return ()
    if checkpoint.kind == "file":
        return tuple(_of_file(checkpoint.path))
    index = read_json(checkpoint.path / INDEX)
    names = [name.replace("text_encoder", "tokenizer") for name in checkpoint.family.text_encoders]
    return tuple(_of_folder(checkpoint.path / name) for name in names if _is_clip(index.get(name)))


def _of_file(path: Path) -> Iterator[ClipSource]:
    configs = identify(path).configs
    for name in PREFIXES[configs]:
        if name.startswith("text_encoder"):
            config = read_json(CONFIGS / configs / name / "config.json")
            yield ClipSource(None, "!" if config.get("pad_token_id") == 0 else END)


def _of_folder(folder: Path) -> ClipSource:
    times = [path.stat().st_mtime_ns for path in folder.glob("*") if path.suffix in (".json", ".txt")]
    return ClipSource(folder, modified=max(times, default=0))


def _is_clip(entry: object) -> bool:
    """Whether a component's entry in the index, a library and a class, names CLIP's tokenizer."""
    return isinstance(entry, list) and len(entry) == 2 and str(entry[1]).startswith("CLIPTokenizer")


def _from_folder(folder: Path) -> ClipTokens:
    config = _optional(folder / "special_tokens_map.json") | _optional(folder / "tokenizer_config.json")
    whole = _optional(folder / "tokenizer.json")
    if whole:
        vocabulary, merges = whole["model"]["vocab"], [_pair(each) for each in whole["model"]["merges"]]
    else:
        vocabulary = read_json(folder / "vocab.json")
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
    usual = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    special = {name: _content(config.get(name) or usual[name]) for name in _SPECIAL}
    length = config.get("model_max_length")
    if not isinstance(length, int) or not 3 <= length <= LONGEST:
        raise CheckpointInvalidError(f"{folder} does not say how many tokens its text encoder reads.")
    return _built(vocabulary, merges, _added(whole, config), special, length)


def _built(
    vocabulary: Mapping[str, Any],
    merges: list[tuple[str, str]],
    added: Mapping[str, AddedToken],
    special: Mapping[str, str],
    length: int,
) -> ClipTokens:
    backend = Tokenizer(
        models.BPE(
            vocab=dict(vocabulary),
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=special["unk_token"],
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    named = {text: AddedToken(text, special=True, normalized=False) for text in special.values()}
    backend.add_tokens(list({**named, **added}.values()))
    tokens = ClipTokens(backend, length, special)
    end, start = (special["eos_token"], tokens.eos_token_id), (special["bos_token"], tokens.bos_token_id)
    backend.post_processor = processors.RobertaProcessing(
        end, start, trim_offsets=False, add_prefix_space=False
    )
    return tokens


def _added(whole: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, AddedToken]:
    """The tokens that a checkpoint adds to its vocabulary."""
    rows = [*whole.get("added_tokens", ()), *dict(config.get("added_tokens_decoder") or {}).values()]
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        row["content"]: AddedToken(row["content"], **{flag: row[flag] for flag in flags if flag in row})
        for row in rows
    }


def _pair(merge: Any) -> tuple[str, str]:
    first, second = merge.split() if isinstance(merge, str) else merge
    return first, second


def _content(token: Any) -> str:
    """A token's text: configs hold either the text itself or an object with the text under "content"."""
    return str(token["content"] if isinstance(token, dict) else token)


def _optional(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
