"""The token limit of pipelines that encode prompts themselves: they truncate longer prompts without a warning."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import diffusers
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from safelight.models.checkpoints.loading import LoadedCheckpoint

UNBOUNDED = 10**6
"""A number of tokens; tokenizers without a limit report a larger ``model_max_length``."""


@dataclass(frozen=True)
class PromptLimit:
    """The tokenizer that determines where a prompt is truncated.

    Args:
        tokenizer: The tokenizer of the text encoder with the highest limit.
        max_tokens: Limit in tokens, start and end token included.
    """

    tokenizer: Any
    max_tokens: int

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self.tokenizer(text)["input_ids"])


def prompt_limit_of(loaded: LoadedCheckpoint) -> PromptLimit | None:
    """The prompt limit of a checkpoint; of its text encoders, the last one present has the highest limit.

    Returns:
        None if the tokenizer is not one of transformers' or has no limit.
    """
    family, parts = loaded.family, loaded.components
    names = (family.prompt_tokenizer,) if family.prompt_tokenizer else reversed(family.tokenizer_names)
    found: Any = next((parts[name] for name in names if parts.get(name) is not None), None)
    tokenizer = getattr(found, "tokenizer", found)  # a processor contains a tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return None
    call = inspect.signature(getattr(diffusers, next(iter(family.pipelines.values()))).__call__)
    longest = call.parameters.get("max_sequence_length")
    if isinstance(tokenizer, CLIPTokenizer) or (longest is None and family.max_prompt_tokens is None):
        limit = int(tokenizer.model_max_length)
    elif longest is None:
        limit = int(family.max_prompt_tokens or 0)
    else:
        limit = int(family.call_arguments.get(longest.name, longest.default))
    return PromptLimit(tokenizer, limit - family.template_tokens) if limit < UNBOUNDED else None
