"""The tokenizer of a text encoder in a weights file, which cannot hold one: given beside it, pulled, or bundled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.pipelines.kolors import ChatGLMTokenizer
from transformers import AutoProcessor, AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerFast, ProcessorMixin

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.sections import read_contents
from safelight.models.tokenizers.bundled import BUNDLED_TOKENIZERS
from safelight.models.tokenizers.given_tokenizers import given_folder
from safelight.models.tokenizers.tokenizer_sources import TOKENIZER_PREFIX, TOKENIZER_SOURCES


def tokenizer_of(part: PartFile, checkpoint: Path) -> object:
    """The tokenizer or processor of a text encoder: given beside its file, pulled, or bundled.

    Args:
        part: The text encoder's file.
        checkpoint: The file with the denoiser, beside which a tokenizer may be given too.

    Raises:
        CheckpointInvalidError: There is none, it cannot be read, or it has more words than the text encoder.
    """
    bundled = part.tokenizer in BUNDLED_TOKENIZERS
    folder = given_folder(part, checkpoint, beside=not bundled) or part.pulled_tokenizer
    if folder is not None:
        tokenizer = _load(folder, part.tokenizer)
    elif bundled:
        tokenizer = BUNDLED_TOKENIZERS[part.tokenizer]()
    else:
        raise CheckpointInvalidError(
            f"{part.path.name} needs a tokenizer, which its file cannot hold and Safelight does not ship.",
            hint=_hint(part),
        )
    _check_size(tokenizer, part)
    return tokenizer


def tokenizer_of_replacement(part: PartFile, own: object | None) -> object | None:
    """The tokenizer of a text encoder that takes the place of a diffusers folder's.

    Args:
        part: The text encoder's file.
        own: The folder's tokenizer; None if it has none.

    Returns:
        That which is given beside the file; None where the folder's own stays.

    Raises:
        CheckpointInvalidError: It cannot be read, or has more words than the text encoder.
    """
    if own is None:
        return tokenizer_of(part, part.path)
    folder = given_folder(part)
    if folder is None:
        _check_size(own, part)
        return None
    tokenizer = _load(folder, part.tokenizer)
    _check_size(tokenizer, part)
    return tokenizer


def _hint(part: PartFile) -> str:
    """How to get a tokenizer."""
    place = part.path.with_suffix("")
    if part.tokenizer in TOKENIZER_SOURCES:
        return (
            f"Pull it with: safelight models pull {TOKENIZER_PREFIX}{part.tokenizer} "
            f"({TOKENIZER_SOURCES[part.tokenizer].title}), or put its tokenizer.json into the folder {place}/."
        )
    return f"Put the tokenizer.json of its authors into the folder {place}/."


def _load(folder: Path, name: str) -> object:
    try:
        if name in ("clip", "open-clip"):
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        if name == "chatglm":
            return ChatGLMTokenizer.from_pretrained(folder, local_files_only=True)
        if (folder / "processor_config.json").is_file() or (folder / "preprocessor_config.json").is_file():
            return AutoProcessor.from_pretrained(folder, local_files_only=True)
        if (folder / "tokenizer_config.json").is_file():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return _from_tokenizer_json(folder, name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        lines = str(error).splitlines()
        raise CheckpointInvalidError(
            f"The tokenizer in {folder} cannot be loaded: {lines[0] if lines else type(error).__name__}"
        ) from error


def _from_tokenizer_json(folder: Path, name: str) -> object:
    """A tokenizer from its ``tokenizer.json`` alone, with the special tokens that are usual for its kind."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), model_max_length=8192)
    usual = {
        "eos_token": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "[SEP]"),
        "bos_token": ("<s>", "<bos>", "<|begin_of_text|>", "[CLS]"),
        "pad_token": ("<pad>", "[PAD]", "<|endoftext|>", "<|finetune_right_pad_id|>", "</s>"),
    }
    vocabulary = tokenizer.get_vocab()
    for role, candidates in usual.items():
        found = next((token for token in candidates if token in vocabulary), None)
        if found is not None:
            setattr(tokenizer, role, found)
    if name == "gemma2":
        tokenizer.padding_side = "right"
    return tokenizer


def _check_size(tokenizer: object, part: PartFile) -> None:
    """Refuse a tokenizer whose numbers exceed the text encoder's vocabulary."""
    inner: Any = tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer
    words = next((each.words for each in read_contents(part.path).sections if each.prefix == part.prefix), 0)
    if words and len(inner) > words:
        raise CheckpointInvalidError(
            f"The text encoder {part.component} of {part.path.name} knows {words} tokens, its usual tokenizer has "
            f"{len(inner)}.",
            hint=f"Put its own tokenizer into the folder {part.path.with_suffix('')}/tokenizer/.",
        )
