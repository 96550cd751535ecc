"""How the attention layers of a denoiser see pictures: keys and values of an IP-Adapter beside the layers' own.

The layers keep their processors. What they compute is caught by hooks while a call is computed: the queries, and the
result before its last projection, to which the attention to the pictures is added. So it goes together with everything
else that changes the layers, and leaves nothing behind.

The pictures' tokens are arguments of the call, with a row for each row of the call: calls of several pictures of one
adapter can be joined, and whatever takes some of a call's rows takes those of the tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from safelight.errors import UnsupportedError
from safelight.models.controls.ip_adapter_network import IPAdapter

TOKENS = "ip_hidden_states"
"""The argument of attention layers with the pictures' tokens, by the number of the group; diffusers' name, which its
processors without pictures ignore."""
MASKS = "ip_adapter_masks"
"""That with their masks, (rows, 1, height, width), likewise."""


class Handle(Protocol):
    """A hook that can be removed."""

    def remove(self) -> None:
        """Remove it."""


@dataclass(frozen=True)
class SeePictures:
    """A patch: attention layers also attend to pictures.

    Args:
        kind: How a denoiser's layers do it.
        adapters: The adapter of each group of pictures.
        weights: How much each group counts.
        identity: The adapters and their weights; the pictures are arguments of the call.
    """

    kind: type[SeeingLayer]
    adapters: tuple[IPAdapter, ...]
    weights: tuple[float, ...]
    identity: str

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Let the layers see pictures within the block.

        Raises:
            UnsupportedError: The network lacks one of the layers.
        """
        with ExitStack() as stack:
            for number, name in enumerate(self.adapters[0].names):
                own = [adapter.layers[number] for adapter in self.adapters]
                try:
                    layer = self.kind(network, name, own, self.weights)
                except AttributeError as error:
                    raise UnsupportedError(
                        f"The checkpoint's denoiser has no layer {name} for the IP-Adapter.", field="control"
                    ) from error
                for handle in layer.hooks():
                    stack.callback(handle.remove)
            yield


class SeeingLayer(ABC):
    """An attention layer while one call is computed.

    Args:
        network: The denoiser.
        name: The layer's name.
        adapters: What each group's adapter has for the layer.
        weights: How much each group counts.
    """

    def __init__(
        self, network: Any, name: str, adapters: Sequence[nn.Module], weights: Sequence[float]
    ) -> None:
        self.attention: Any = network.get_submodule(name)
        self._groups: list[tuple[str, Any, float]] = [
            (str(number), adapter, weight)
            for number, (adapter, weight) in enumerate(zip(adapters, weights, strict=True))
        ]
        self._tokens: Mapping[str, Any] = {}
        self._masks: Mapping[str, Tensor] = {}

    @abstractmethod
    def hooks(self) -> Iterable[Handle]:
        """Put the hooks on the layer."""

    @abstractmethod
    def attend(self, adapter: Any, tokens: Any) -> Tensor:
        """The attention of the layer's queries to a group's tokens: (rows, queries, width)."""

    def keep_pictures(self, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A hook before the layer: keeps the tokens and the masks."""
        self._tokens, self._masks = kwargs[TOKENS], kwargs.get(MASKS) or {}

    def seen(self) -> Iterator[Tensor]:
        """What is added for each group: (rows, queries, width)."""
        for number, adapter, weight in self._groups:
            seen = self.attend(adapter, self._tokens[number])
            if number in self._masks:
                seen = seen * fit_mask(self._masks[number], seen.shape[1]).to(seen)
            yield weight * seen

    def add(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A hook before the layer's last projection: adds what it sees of the pictures."""
        hidden = args[0]
        for seen in self.seen():
            hidden = hidden + seen
        return (hidden, *args[1:])


class UNetLayer(SeeingLayer):
    """A U-Net's cross-attention layer."""

    def hooks(self) -> Iterable[Handle]:
        """Keep the queries, and add to the result before its projection."""
        layer = self.attention
        return (
            layer.register_forward_pre_hook(self.keep_pictures, with_kwargs=True),
            layer.to_q.register_forward_hook(self._keep_query),
            layer.to_out[0].register_forward_pre_hook(self.add),
        )

    def _keep_query(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        self._query = output

    def attend(self, adapter: Any, tokens: Tensor) -> Tensor:
        """The attention to tokens, (rows, pictures, tokens, width), of which all pictures count as one."""
        heads = self.attention.heads
        query = into_heads(self._query, heads)
        key, value = (into_heads(project(tokens), heads) for project in (adapter.to_k_ip, adapter.to_v_ip))
        return out_of_heads(scaled_dot_product_attention(query, key, value))


class FluxLayer(SeeingLayer):
    """A layer of one of Flux's double blocks; what it sees is added at the end of the block."""

    def __init__(
        self, network: Any, name: str, adapters: Sequence[nn.Module], weights: Sequence[float]
    ) -> None:
        super().__init__(network, name, adapters, weights)
        self._block: Any = network.get_submodule(name.rpartition(".")[0])

    def hooks(self) -> Iterable[Handle]:
        """Keep the normalised queries of the picture, and add to the block's result."""
        layer = self.attention
        return (
            layer.register_forward_pre_hook(self.keep_pictures, with_kwargs=True),
            layer.norm_q.register_forward_hook(self._keep_query),
            self._block.register_forward_hook(self._add_to_block),
        )

    def _keep_query(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        self._query = output

    def _add_to_block(
        self, _: nn.Module, __: tuple[Any, ...], output: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        text, hidden = output
        return text, hidden + sum(self.seen())

    def attend(self, adapter: Any, tokens: Tensor) -> Tensor:
        """The attention to tokens, (rows, pictures, tokens, width), of which all pictures count as one."""
        layer = self.attention
        rows = len(tokens)
        key, value = (
            project(tokens).view(rows, -1, layer.heads, layer.head_dim)
            for project in (adapter.to_k_ip, adapter.to_v_ip)
        )
        backend = getattr(layer.processor, "_attention_backend", None)
        attended: Tensor = dispatch_attention_fn(self._query, key, value, backend=backend)
        return attended.reshape(rows, -1, layer.heads * layer.head_dim)


class SD3Layer(SeeingLayer):
    """A layer of Stable Diffusion 3: the picture that is generated attends to itself and to the tokens once more."""

    def hooks(self) -> Iterable[Handle]:
        """Keep queries, keys and values as they are before they are normalised, and add to the result."""
        layer = self.attention
        self._own: dict[str, Tensor] = {}
        kept = [
            getattr(layer, name).register_forward_hook(self._keeper(name))
            for name in ("to_q", "to_k", "to_v")
        ]
        return (
            layer.register_forward_pre_hook(self.keep_pictures, with_kwargs=True),
            *kept,
            layer.to_out[0].register_forward_pre_hook(self.add),
        )

    def _keeper(self, name: str) -> Any:
        def keep(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            self._own[name] = output

        return keep

    def attend(self, adapter: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        """The attention to tokens, (rows, tokens, width), which are normalised by the time."""
        heads = self.attention.heads
        query, key, value = (into_heads(self._own[name], heads) for name in ("to_q", "to_k", "to_v"))
        normalised = adapter.norm_ip(tokens["tokens"], temb=tokens["time"])
        more_keys = adapter.norm_ip_k(into_heads(adapter.to_k_ip(normalised), heads))
        more_values = into_heads(adapter.to_v_ip(normalised), heads)
        keys = torch.cat([adapter.norm_k(key), more_keys], dim=2)
        values = torch.cat([value, more_values], dim=2)
        return out_of_heads(scaled_dot_product_attention(adapter.norm_q(query), keys, values))


def into_heads(tokens: Tensor, heads: int) -> Tensor:
    """(rows, …, width) to (rows, heads, tokens, width / heads)."""
    return tokens.reshape(len(tokens), -1, heads, tokens.shape[-1] // heads).transpose(1, 2)


def out_of_heads(attended: Tensor) -> Tensor:
    """(rows, heads, tokens, width / heads) to (rows, tokens, width)."""
    rows, heads, tokens, width = attended.shape
    return attended.transpose(1, 2).reshape(rows, tokens, heads * width)


def fit_mask(mask: Tensor, queries: int) -> Tensor:
    """A mask for each query of a layer: (rows, 1, height, width) to (rows, queries, 1).

    A level of a denoiser has half as many rows and columns as the one before, rounded up.

    Raises:
        UnsupportedError: The layer has no such level.
    """
    height, width = mask.shape[-2:]
    while height * width > queries:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != queries:
        raise UnsupportedError(
            "This checkpoint's layers are not laid out as a mask is.",
            hint="Leave out the mask.",
            field="control",
        )
    return interpolate(mask, (height, width), mode="bicubic").flatten(2).transpose(1, 2)
