"""Where the tokenizers that do not come with Safelight are pulled from, and where they lie then.

Their licences do not permit to ship them, or were not clear. Each is one small download: ``safelight models pull
tokenizer:NAME``. Repositories are those of the families' authors, but for Gemma's, whose authors ask for a login.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

TOKENIZERS_FOLDER = "tokenizers"
"""The folder of the data directory for pulled tokenizers, each in a folder of its own name."""
TOKENIZER_PREFIX = "tokenizer:"
"""What the name of a tokenizer begins with in ``safelight models pull``."""
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""The files that are taken; a repository's code is never one of them."""


@dataclass(frozen=True)
class TokenizerSource:
    """Where a tokenizer is pulled from.

    Args:
        title: What it is, for people.
        repository: The hub's repository.
        folder: Its folder there; empty for the repository's own.
        terms: Whose terms apply to it, where the repository is another's.
        sha256: Known digests, by file name; the hub's own must agree.
        revision: The commit, where it is known; else the newest of the main branch.
    """

    title: str
    repository: str
    folder: str = "tokenizer"
    terms: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None


TOKENIZER_SOURCES: Mapping[str, TokenizerSource] = MappingProxyType(
    {
        "gemma2": TokenizerSource(
            "the tokenizer of Gemma 2 (Lumina 2, Sana)",
            "Efficient-Large-Model/gemma-2-2b-it",
            folder="",
            terms="Google's Gemma terms of use",
            sha256={
                "tokenizer.json": "3f289bc05132635a8bc7aca7aa21255efd5e18f3710f43e3cdb96bcd41be4922",
                "tokenizer.model": "61a7b147390c64585d6c3543dd6fc636906c9af3865a5548f27f31aee1d4c8e2",
            },
        ),
        "pile-t5": TokenizerSource("the tokenizer of Pile-T5 (AuraFlow)", "fal/AuraFlow"),
        "mistral": TokenizerSource("the tokenizer of Mistral (Flux.2)", "black-forest-labs/FLUX.2-dev"),
        "ministral": TokenizerSource("the tokenizer of Ministral (ERNIE-Image)", "baidu/ERNIE-Image"),
        "glm": TokenizerSource("the tokenizer of GLM-4 (CogView4)", "zai-org/CogView4-6B"),
        "chatglm": TokenizerSource("the tokenizer of ChatGLM3 (Kolors)", "Kwai-Kolors/Kolors-diffusers"),
        "bert-hunyuan": TokenizerSource(
            "the BERT tokenizer of Hunyuan-DiT", "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers"
        ),
        "mt5": TokenizerSource(
            "the mT5 tokenizer of Hunyuan-DiT",
            "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers",
            folder="tokenizer_2",
        ),
        "llama": TokenizerSource(
            "the tokenizer of Llama 3.1 (HiDream)",
            "meta-llama/Llama-3.1-8B-Instruct",
            folder="",
            revision="0e9e39f249a16976918f6564b8830bc894c89659",
            sha256={
                "special_tokens_map.json": "6f38c73729248f6c127296386e3cdde96e254636cc58b4169d3fd32328d9a8ec",
                "tokenizer.json": "79e3e522635f3171300913bb421464a87de6222182a0570b9b2ccba2a964b2b4",
                "tokenizer_config.json": "177c7b61e616fecb84c17ce0591acb92c6c4d60e9ac5ababfb940ff23bbcd424",
            },
        ),
    }
)
"""By the names that ``layouts`` use."""
