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
from safelight.models.checkpoints.diffusers_layout import INDEX_NAME, read_json
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.tokenizers.clip_vocabulary import END, START, read_merges, read_vocabulary
from safelight.models.tokenizers.given_tokenizers import given_folder

MAX_LENGTH = 10_000
"""More tokens than any text encoder reads at once; a larger ``model_max_length`` means that none was set."""
_DEFAULT_LENGTH = 77
_PRETOKENIZER_PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class ClipTokenizer:
    """The part of a tokenizer that cutting prompts into chunks needs. Thread-safe.

    Args:
        backend: The tokenizer of the ``tokenizers`` library.
        length: Tokens that the text encoder reads at once, start and end token included.
        special_tokens: The texts of bos_token, eos_token and pad_token.
    """

    def __init__(self, backend: Tokenizer, length: int, special_tokens: Mapping[str, str]) -> None:
        self._backend = backend
        self._length = length
        self._special = special_tokens
        self._added = {str(token): number for number, token in backend.get_added_tokens_decoder().items()}

    @property
    def model_max_length(self) -> int:
        """Tokens that the text encoder reads at once, start and end token included."""
        return self._length

    @property
    def bos_token_id(self) -> int:
        """The token that begins each chunk."""
        return self._special_token_id("bos_token")

    @property
    def eos_token_id(self) -> int:
        """The token that ends a chunk's text."""
        return self._special_token_id("eos_token")

    @property
    def pad_token_id(self) -> int:
        """The token that pads a chunk."""
        return self._special_token_id("pad_token")

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

    def _special_token_id(self, name: str) -> int:
        number = self._backend.token_to_id(self._special[name])
        assert number is not None, "it was added if it was no word"
        return int(number)


@dataclass(frozen=True)
class TokenizerSource:
    """Where a tokenizer comes from; equal sources give equal tokens.

    Args:
        folder: The checkpoint's tokenizer folder; None for CLIP's own vocabulary.
        pad: The padding token where there is no folder.
        modified: Modification time of the folder's files, in nanoseconds since 1970.
    """

    folder: Path | None
    pad: str = END
    modified: int = 0

    def open(self) -> ClipTokenizer:
        """Build the tokenizer; takes up to a few tenths of a second.

        Raises:
            CheckpointInvalidError: Its files are damaged.
        """
        if self.folder is None:
            special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": self.pad}
            merges = read_merges()
            return _build_tokenizer(read_vocabulary(merges), merges, {}, special, _DEFAULT_LENGTH)
        try:
            return _load_folder(self.folder)
        except CheckpointInvalidError:
            raise
        except Exception as error:  # tokenizers raises plain Exception for a vocabulary that does not match
            raise CheckpointInvalidError(
                f"{self.folder} holds no tokenizer of CLIP's kind: {error}."
            ) from error


def tokenizer_sources(checkpoint: Checkpoint) -> tuple[TokenizerSource, ...]:
    """The CLIP tokenizers of a checkpoint, in the order of its text encoders; empty for families without CLIP.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    if checkpoint.family.text_encoding == "plain":
        return ()
    if checkpoint.kind == "file":
        return tuple(_sources_of_file(checkpoint))
    index = read_json(checkpoint.path / INDEX_NAME)
    names = [name.replace("text_encoder", "tokenizer") for name in checkpoint.family.text_encoders]
    return tuple(_source_of_folder(checkpoint.path / name) for name in names if _is_clip(index.get(name)))


def _sources_of_file(checkpoint: Checkpoint) -> Iterator[TokenizerSource]:
    for part in checkpoint.parts:
        if part.tokenizer not in ("clip", "open-clip"):
            continue
        given = given_folder(part, checkpoint.path)
        if given is not None:
            yield _source_of_folder(given)
        else:
            yield TokenizerSource(None, "!" if part.tokenizer == "open-clip" else END)


def _source_of_folder(folder: Path) -> TokenizerSource:
    times = [path.stat().st_mtime_ns for path in folder.glob("*") if path.suffix in (".json", ".txt")]
    return TokenizerSource(folder, modified=max(times, default=0))


def _is_clip(entry: object) -> bool:
    """Whether a component's entry in the index, a library and a class, names CLIP's tokenizer."""
    return isinstance(entry, list) and len(entry) == 2 and str(entry[1]).startswith("CLIPTokenizer")


def _load_folder(path: Path) -> ClipTokenizer:
    config = _read_optional_json(path / "special_tokens_map.json") | _read_optional_json(
        path / "tokenizer_config.json"
    )
    whole = _read_optional_json(path / "tokenizer.json")
    if whole:
        vocabulary, merges = (
            whole["model"]["vocab"],
            [_parse_merge(each) for each in whole["model"]["merges"]],
        )
    else:
        vocabulary = read_json(path / "vocab.json")
        lines = (path / "merges.txt").read_text("utf-8").splitlines()
        merges = [_parse_merge(line) for line in lines if line.strip() and not line.startswith("#version")]
    usual = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    special = {name: _token_text(config.get(name) or usual[name]) for name in _SPECIAL}
    length = config.get("model_max_length")
    if not isinstance(length, int) or not 3 <= length <= MAX_LENGTH:
        raise CheckpointInvalidError(f"{path} does not say how many tokens its text encoder reads.")
    return _build_tokenizer(vocabulary, merges, _added_tokens(whole, config), special, length)


def _build_tokenizer(
    vocabulary: Mapping[str, Any],
    merges: list[tuple[str, str]],
    added_tokens: Mapping[str, AddedToken],
    special_tokens: Mapping[str, str],
    length: int,
) -> ClipTokenizer:
    backend = Tokenizer(
        models.BPE(
            vocab=dict(vocabulary),
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=special_tokens["unk_token"],
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_PRETOKENIZER_PATTERN), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    named = {text: AddedToken(text, special=True, normalized=False) for text in special_tokens.values()}
    backend.add_tokens(list({**named, **added_tokens}.values()))
    tokens = ClipTokenizer(backend, length, special_tokens)
    end, start = (
        (special_tokens["eos_token"], tokens.eos_token_id),
        (special_tokens["bos_token"], tokens.bos_token_id),
    )
    backend.post_processor = processors.RobertaProcessing(
        end, start, trim_offsets=False, add_prefix_space=False
    )
    return tokens


def _added_tokens(whole: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, AddedToken]:
    """The tokens that a checkpoint adds to its vocabulary."""
    rows = [*whole.get("added_tokens", ()), *dict(config.get("added_tokens_decoder") or {}).values()]
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        row["content"]: AddedToken(row["content"], **{flag: row[flag] for flag in flags if flag in row})
        for row in rows
    }


def _parse_merge(merge: Any) -> tuple[str, str]:
    first, second = merge.split() if isinstance(merge, str) else merge
    return first, second


def _token_text(token: Any) -> str:
    """A token's text: configs hold either the text itself or an object with the text under "content"."""
    return str(token["content"] if isinstance(token, dict) else token)


def _read_optional_json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
