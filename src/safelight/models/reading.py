"""How much of a prompt is read by pipelines that encode words themselves: beyond it they cut without a word."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import diffusers
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from safelight.models.loading import Loaded

UNBOUNDED = 10**6
"""Tokens; tokenizers that know no bound give a larger number."""


@dataclass(frozen=True)
class Reader:
    """What cuts a prompt.

    Args:
        tokenizer: That of the encoder that reads furthest.
        limit: Tokens of a prompt, the ones at both ends included.
    """

    tokenizer: Any
    limit: int

    def count(self, text: str) -> int:
        """How many tokens a text comes to."""
        return len(self.tokenizer(text)["input_ids"])


def reader_of(loaded: Loaded) -> Reader | None:
    """The reader of a checkpoint: of its text encoders, the last one that is there reads furthest.

    Returns:
        None where the tokenizer is none of transformers' or knows no bound.
    """
    family, parts = loaded.family, loaded.components
    names = [name.replace("text_encoder", "tokenizer") for name in family.text_encoders]
    found: Any = next((parts[name] for name in reversed(names) if parts.get(name) is not None), None)
    tokenizer = getattr(found, "tokenizer", found)  # a processor has one for its words
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return None
    call = inspect.signature(getattr(diffusers, next(iter(family.pipelines.values()))).__call__)
    longest = call.parameters.get("max_sequence_length")
    if isinstance(tokenizer, CLIPTokenizer) or (longest is None and family.reads is None):
        limit = int(tokenizer.model_max_length)
    elif longest is None:
        limit = int(family.reads or 0)
    else:
        limit = int(family.always.get(longest.name, longest.default))
    return Reader(tokenizer, limit - family.template_tokens) if limit < UNBOUNDED else None
