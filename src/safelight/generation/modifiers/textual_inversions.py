"""Textual inversions: vectors that stand in a prompt for words that the text encoders do not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from safelight.generation.adapters.embeddings import (
    EMBEDDINGS,
    embedding_source,
    named_embeddings,
    prompt_texts,
    used_names,
)
from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.modifier import Encode, Modifier, Phases
from safelight.generation.modifiers.registry import Layer, ModifierFactory, NetworkContext, PassContext
from safelight.generation.prompts.inversions import Inversions, required_names
from safelight.models.adapters.embeddings import LoadedEmbedding
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import ComponentSource


@dataclass(frozen=True, eq=False)
class VectorPatch:
    """A patch of a text encoder: the embeddings of negative ids are vectors of textual inversions.

    Args:
        identity: The names and digests of the inversions, in order.
        vectors: That of id -1 first, [vectors, width].
    """

    identity: str
    vectors: Tensor = field(repr=False)

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Put the vectors in the place of the vocabulary's."""
        vocabulary = network.get_input_embeddings()
        given: list[Tensor] = []

        def enter(_: object, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            given[:] = [arguments[0]]
            return (arguments[0].clamp(min=0), *arguments[1:])

        def leave(_: object, __: object, result: Tensor) -> Tensor:
            ids = given.pop()
            vectors = self.vectors.to(result.device, result.dtype)
            return torch.where((ids < 0)[..., None], vectors[(-1 - ids).clamp(min=0)], result)

        handles = [vocabulary.register_forward_pre_hook(enter), vocabulary.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class TextualInversions(Modifier):
    """Lets the text encoders read the textual inversions of a picture's prompts.

    Args:
        embeddings: The inversions by their names in the prompts.
        encoders: The text encoders of the checkpoint.
    """

    def __init__(self, embeddings: Mapping[str, LoadedEmbedding], encoders: tuple[str, ...]) -> None:
        self._inversions = Inversions({name: each.count for name, each in embeddings.items()})
        ordered = sorted(embeddings.items())
        identity = " ".join(["inversions", *(f"{name}={each.digest}" for name, each in ordered)])
        self.patches = {
            encoder: (VectorPatch(identity, torch.cat([each.vectors[encoder] for _, each in ordered])),)
            for encoder in encoders
        }

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        """Encode with the inversions."""
        return encode(replace(call, inversions=self._inversions))


def _networks(context: NetworkContext) -> Mapping[str, ComponentSource]:
    texts = prompt_texts(context.plan, context.settings.home)
    found = named_embeddings(texts, context.plan.family, context.settings)
    required = {name for text in texts for name in required_names(text)}
    return {
        name: embedding_source(
            each, context.parts, context.networks, context.digests, required=name in required
        )
        for name, each in found.items()
    }


def _build(context: PassContext) -> TextualInversions | None:
    used = used_names(context.prompts, context.networks)
    if not used:
        return None
    embeddings: Mapping[str, Any] = {name: context.networks[name].network for name in used}
    return TextualInversions(embeddings, context.plan.family.text_encoders)


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register textual inversions."""
    registry.register(EMBEDDINGS, ModifierFactory(Layer.CONDITIONING, _build, _networks))
