"""A tokenizer without a vocabulary: every text has as many tokens as its text encoder reads.

It stands in for a checkpoint's tokenizers where only the sizes of text embeddings matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from transformers import BatchEncoding


def _picture_tokens(image: Any) -> int:
    """How many tokens a text encoder sees a picture as: one for 28 x 28 pixels."""
    return 0 if image is None else (image.width // 28) * (image.height // 28)


class StubTokenizer:
    """A tokenizer whose texts fill the text encoder.

    Args:
        max_length: Tokens of a text, where the pipeline does not say how many it wants.
    """

    pad_token_id = eos_token_id = bos_token_id = 0
    pad_token = eos_token = bos_token = "<pad>"  # noqa: S105  no password
    padding_side = "right"
    added_tokens_encoder: Mapping[str, int] = MappingProxyType({})

    def __init__(self, max_length: int) -> None:
        self.model_max_length = max_length

    @property
    def tokenizer(self) -> StubTokenizer:
        """The tokenizer of a processor."""
        return self

    def __call__(
        self,
        text: str | Sequence[str] = "",
        *,
        max_length: int | None = None,
        return_tensors: str | None = None,
        images: Any = None,
        **_: Any,
    ) -> BatchEncoding:
        """Tokens of one text or of several, (texts, tokens); lists of one text's tokens without ``return_tensors``.

        Those of pictures are added; what a text encoder computes to see them is not counted.
        """
        count = 1 if isinstance(text, str) else len(text)
        length = max_length if max_length is not None and max_length < 10**6 else self.model_max_length
        length += sum(_picture_tokens(image) for image in (images if isinstance(images, list) else [images]))
        ones = torch.ones(count, length, dtype=torch.long)
        if return_tensors is None and isinstance(text, str):
            return BatchEncoding({"input_ids": [0] * length, "attention_mask": [1] * length})
        positions = torch.arange(length).expand(count, -1)
        return BatchEncoding(
            {"input_ids": torch.zeros_like(ones), "attention_mask": ones, "position_ids": positions}
        )

    def apply_chat_template(self, messages: Any, *, tokenize: bool = True, **kwargs: Any) -> Any:
        """The text of a chat, or its tokens."""
        if not tokenize:
            return "text"
        if kwargs.get("return_dict") is False:
            return [[0, 0]]
        several = bool(messages) and isinstance(messages[0], list)
        return self(["text"] * (len(messages) if several else 1), max_length=kwargs.get("max_length"))

    def tokenize(self, text: str) -> list[str]:
        """A text as one token."""
        return [text]

    def encode(self, _text: str, **_: Any) -> list[int]:
        """The tokens of a short text, which are in no other text."""
        return [1, 1]

    def batch_decode(self, ids: Any, **_: Any) -> list[str]:
        """A text for each row."""
        return [""] * len(ids)

    def __len__(self) -> int:
        return 1
