"""Schemas of adapters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from safelight.server.api.native.schemas.base import ResponseModel


class AdapterView(ResponseModel):
    """An adapter or a textual inversion that requests can name."""

    name: str = Field(description="Its file's name without suffix, by which requests and prompts name it.")
    place: str = Field(description="The same with its folders, for where two files have one name.")
    alias: str = Field(description="The name that its trainer gave it, which works too; empty for none.")
    kind: Literal["LoRA", "embedding"]
    family: str | None = Field(description="The family that it is for; null where its file does not say.")
    types: list[str] = Field(
        description="How it changes layers: LoRA, LoCon, LoHa, LoKr …; textual inversion."
    )
    rank: int | None = Field(description="Its largest rank, or number of vectors; null where it has none.")
    trigger_words: list[str] = Field(description="Words that prompts are to have with it.")
    size: int = Field(description="Bytes.")
    digest: str | None = Field(description="SHA-256 of its file, if it is known already.")
    metadata: dict[str, Any] = Field(description="What its trainer wrote into it.")


class AdapterList(ResponseModel):
    """All adapters of this server."""

    adapters: list[AdapterView]
