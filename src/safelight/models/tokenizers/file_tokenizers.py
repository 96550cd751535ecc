"""The tokenizer of a text encoder in a weights file, which cannot hold one: given beside the file, or bundled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerFast

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.sections import read_contents
from safelight.models.checkpoints.sidecar import given_tokenizer
from safelight.models.tokenizers.bundled import BUNDLED_TOKENIZERS

_SOURCES = {
    "pile-t5": "EleutherAI's pile-t5-xl",
    "gemma2": "google's gemma-2-2b",
    "mistral": "Flux.2's folder tokenizer/",
    "glm": "CogView4's folder tokenizer/",
    "bert-hunyuan": "Hunyuan-DiT's folder tokenizer/",
    "mt5": "Hunyuan-DiT's folder tokenizer_2/",
    "llama": "meta-llama's Llama-3.1-8B-Instruct",
}
"""Where people get the tokenizers that do not come with Safelight."""


def tokenizer_of(name: str, part: PartFile, checkpoint: Path) -> object:
    """The tokenizer or processor of a text encoder.

    Args:
        name: The tokenizer that the family needs: a key of ``BUNDLED_TOKENIZERS``, or another.
        part: The text encoder's file.
        checkpoint: The file with the denoiser, beside which a tokenizer may be given too.

    Raises:
        CheckpointInvalidError: There is none, it cannot be read, or it has more words than the text encoder.
    """
    bundled = name in BUNDLED_TOKENIZERS
    folder = given_tokenizer(part.path, part.component, beside=not bundled)
    if folder is None and part.path != checkpoint:
        folder = given_tokenizer(checkpoint, part.component, beside=False)
    if folder is not None:
        tokenizer = _load(folder, name)
    elif bundled:
        tokenizer = BUNDLED_TOKENIZERS[name]()
    else:
        raise CheckpointInvalidError(
            f"{part.path.name} needs a tokenizer, which its file cannot hold and Safelight does not ship.",
            hint=f"Put the tokenizer.json of {_SOURCES.get(name, 'its authors')} into the folder "
            f"{part.path.with_suffix('')}/.",
        )
    _check_size(tokenizer, part)
    return tokenizer


def _load(folder: Path, name: str) -> object:
    try:
        if name in ("clip", "open-clip"):
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
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
    inner: Any = getattr(tokenizer, "tokenizer", tokenizer)
    words = next((each.words for each in read_contents(part.path).sections if each.prefix == part.prefix), 0)
    if words and len(inner) > words:
        raise CheckpointInvalidError(
            f"The text encoder {part.component} of {part.path.name} knows {words} tokens, its usual tokenizer has "
            f"{len(inner)}.",
            hint=f"Put its own tokenizer into the folder {part.path.with_suffix('')}/tokenizer/.",
        )
