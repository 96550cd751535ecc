"""Token merging: self-attention among fewer tokens, since neighbouring ones are alike (Bolya & Hoffman, 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor

from safelight.errors import UnsupportedError
from safelight.generation.modifiers.modifier import Modifier
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl
from safelight.runtime.component import PurePatch

MAX_MERGED = 0.75
"""The largest fraction of tokens that can be merged: of each square of two by two, one stays."""


@dataclass(frozen=True)
class MergedTokens(PurePatch):
    """A patch: the self-attention layers at a U-Net's largest size work on merged tokens.

    It has no state, and merges the tokens of each row by themselves, so calls of several pictures are computed as one.

    Args:
        fraction: The fraction of tokens that are merged into others, 0 to 0.75.
    """

    fraction: float

    @property
    def identity(self) -> str:
        """Equal for equal fractions."""
        return f"token-merging:{self.fraction}"

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Wrap the attention processors.

        Raises:
            UnsupportedError: The network has no such layers.
        """
        if not supports_token_merging(network):
            raise UnsupportedError(
                "This checkpoint's denoiser has no layers for token merging.",
                hint="Leave token_merging at 0.",
                field="token_merging",
            )
        layers = [each.attn1 for each in network.modules() if isinstance(each, BasicTransformerBlock)]
        size: list[int] = []
        scale = _largest_attention(network)

        def note_size(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            sample = args[0] if args else kwargs["sample"]
            size[:] = [-(-side // scale) for side in sample.shape[-2:]]

        before = network.register_forward_pre_hook(note_size, with_kwargs=True)
        processors = [layer.processor for layer in layers]
        try:
            for layer in layers:
                layer.processor = _MergingProcessor(layer.processor, self.fraction, size)
            yield
        finally:
            before.remove()
            for layer, processor in zip(layers, processors, strict=True):
                layer.processor = processor


class _MergingProcessor:
    """Merges tokens before an attention processor, and copies the results to the merged tokens after it.

    Args:
        processor: The layer's processor.
        fraction: The fraction of tokens to merge.
        size: Rows and columns of the tokens of the layers that merge, known when the network is called.
    """

    def __init__(self, processor: Any, fraction: float, size: list[int]) -> None:
        self._processor, self._fraction, self._size = processor, fraction, size

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        rows, columns = self._size
        if hidden_states.ndim != 3 or hidden_states.shape[1] != rows * columns or min(rows, columns) < 2:
            result: Tensor = self._processor(attn, hidden_states, *args, **kwargs)
            return result
        matching = match_tokens(hidden_states, rows, columns, self._fraction)
        return matching.unmerge(self._processor(attn, matching.merge(hidden_states), *args, **kwargs))


@dataclass(frozen=True)
class Matching:
    """Which tokens are merged into which, for each row of a batch.

    Args:
        target: Index of the token that each token is merged into, (batch, tokens), among those that stay.
        count: How many tokens stay.
    """

    target: Tensor
    count: int

    def merge(self, tokens: Tensor) -> Tensor:
        """The mean of the tokens that are merged into one: (batch, tokens, channels) to (batch, count, channels)."""
        index = self.target[..., None].expand(-1, -1, tokens.shape[-1])
        merged = tokens.new_zeros(len(tokens), self.count, tokens.shape[-1])
        return merged.scatter_reduce(1, index, tokens, "mean", include_self=False)

    def unmerge(self, merged: Tensor) -> Tensor:
        """Each token's value after attention: (batch, count, channels) to (batch, tokens, channels)."""
        return merged.gather(1, self.target[..., None].expand(-1, -1, merged.shape[-1]))


def match_tokens(tokens: Tensor, rows: int, columns: int, fraction: float) -> Matching:
    """Match the tokens that are most like the first token of some square of two by two, by the angle between them.

    Args:
        tokens: (batch, rows * columns, channels).
        rows: Of the picture's grid of tokens.
        columns: Likewise.
        fraction: The fraction of all tokens to merge; at most those that are not the first of a square.
    """
    batch, count, _ = tokens.shape
    grid = torch.arange(count, device=tokens.device).reshape(rows, columns)
    stays = torch.zeros_like(grid, dtype=torch.bool)
    stays[: rows // 2 * 2 : 2, : columns // 2 * 2 : 2] = True
    kept, others = grid[stays], grid[~stays]
    merged_count = min(int(fraction * count), len(others))
    unit = torch.nn.functional.normalize(tokens, dim=-1)
    likeness, nearest = (unit[:, others] @ unit[:, kept].transpose(1, 2)).max(-1)
    order = likeness.argsort(dim=-1, descending=True, stable=True)
    merged, unmerged = order[:, :merged_count], order[:, merged_count:]
    target = torch.empty(batch, count, dtype=torch.long, device=tokens.device)
    target[:, kept] = torch.arange(len(kept), device=tokens.device).expand(batch, -1)
    target.scatter_(1, others[merged], nearest.gather(1, merged))
    alone = torch.arange(len(kept), count - merged_count, device=tokens.device).expand(batch, -1)
    target.scatter_(1, others[unmerged], alone)
    return Matching(target, count - merged_count)


class TokenMerging(Modifier):
    """Patches the denoiser for the whole pass.

    Args:
        denoiser: Its name.
        fraction: The fraction of tokens to merge.
    """

    def __init__(self, denoiser: str, fraction: float) -> None:
        self.patches = {denoiser: (MergedTokens(fraction),)}


def supports_token_merging(network: Any) -> bool:
    """Whether a denoiser is a U-Net with transformer blocks."""
    return hasattr(network, "up_blocks") and any(
        isinstance(each, BasicTransformerBlock) for each in network.modules()
    )


def _largest_attention(network: Any) -> int:
    """How many times smaller than the latents the largest picture is that self-attention works on."""
    with_attention = (hasattr(block, "attentions") for block in network.down_blocks)
    first = next((number for number, found in enumerate(with_attention) if found), 0)
    return int(2**first)


def _build(context: PassContext) -> TokenMerging | None:
    fraction = context.plan.request.token_merging
    return TokenMerging(context.plan.family.denoiser, fraction) if fraction else None


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register token merging."""
    registry.register("token-merging", ModifierFactory(Layer.NETWORK, _build))
