"""Regions in one call: each attends to its own words (attention couple).

The layers of a U-Net that attend to the prompt do so once more for each region, and what they return is joined by the
masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor

from safelight.errors import UnsupportedError
from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Encode, Modifier, Phases, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.generation.regions import Mask, resized, shares
from safelight.plugins import Registry, hookimpl


@dataclass(frozen=True, eq=False)
class RegionWords:
    """A patch: the layers that attend to words also attend to those of regions.

    Args:
        words: The regions' embeddings, (regions, tokens, width).
        masks: How much each region counts in each pixel of the pass, 0 to 1 together.
        rows: The rows of the call to which that applies.
        identity: Of the pass: its calls are not joined with those of other pictures.
    """

    words: Tensor = field(repr=False)
    masks: Sequence[Mask] = field(repr=False)
    rows: Sequence[int]
    identity: str

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Wrap the layers' processors.

        Raises:
            UnsupportedError: The network has no such layers.
        """
        blocks = [each for each in network.modules() if isinstance(each, BasicTransformerBlock)]
        layers: list[Any] = [block.attn2 for block in blocks if block.attn2 is not None]
        if not layers:
            raise UnsupportedError(
                "This checkpoint's denoiser has no layers that join regions by attention.",
                hint="Leave region_method at prediction.",
                field="region_method",
            )
        size: list[int] = []

        def note_size(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            size[:] = (args[0] if args else kwargs["sample"]).shape[-2:]

        before = network.register_forward_pre_hook(note_size, with_kwargs=True)
        processors = [layer.processor for layer in layers]
        try:
            for layer in layers:
                layer.processor = _RegionProcessor(layer.processor, self, size)
            yield
        finally:
            before.remove()
            for layer, processor in zip(layers, processors, strict=True):
                layer.processor = processor


class _RegionProcessor:
    """Joins what a processor returns for the prompt and for each region.

    Args:
        processor: The layer's processor.
        regions: The regions.
        size: Rows and columns of the latents, known when the network is called.
    """

    def __init__(self, processor: Any, regions: RegionWords, size: list[int]) -> None:
        self._processor, self._regions, self._size = processor, regions, size

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        result: Tensor = self._processor(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
        rows, words = list(self._regions.rows), self._regions.words
        count = len(words)
        own: Tensor = self._processor(
            attn,
            hidden_states[rows].repeat_interleave(count, 0),
            words.to(hidden_states.dtype).repeat(len(rows), 1, 1),
            *args,
            **kwargs,
        )
        grid = _token_grid(self._size, hidden_states.shape[1])
        masks = torch.stack([resized(mask, *grid).reshape(-1, 1) for mask in self._regions.masks])
        masks = masks.to(result.device, result.dtype)
        regions = (own.unflatten(0, (len(rows), count)) * masks).sum(1)
        joined = result.clone()
        joined[rows] = result[rows] * (1 - masks.sum(0)) + regions
        return joined


def _token_grid(size: Sequence[int], tokens: int) -> tuple[int, int]:
    """Rows and columns of a layer's tokens: those of the latents, halved until there are as many."""
    rows, columns = size
    while rows * columns > tokens:
        rows, columns = -(-rows // 2), -(-columns // 2)
    return rows, columns


class RegionAttention(Modifier):
    """Lets each region of a picture attend to its own words.

    Args:
        texts: The regions' prompts.
        masks: How much each region counts in each pixel of the pass, 0 to 1 together.
    """

    def __init__(self, texts: Sequence[str], masks: Sequence[Mask]) -> None:
        self._texts, self._masks = tuple(texts), tuple(masks)
        self._identity = f"region-attention:{uuid4().hex}"
        self._phases: list[Phases] = []

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        """Encode the regions' prompts too, and keep their embeddings."""
        others = (*call.others, *self._texts)
        self._phases = [
            encode(replace(call, prompts=replace(call.prompts, prompt=text), others=others))
            for text in self._texts
        ]
        return encode(replace(call, others=others))

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction, with the regions' words for the prompt's rows."""
        rows = [row for row, role in enumerate(call.roles) if role is Role.POSITIVE]
        if not rows:
            return compute(call)
        found = [[each for each in phases if each.first_step <= call.step][-1] for phases in self._phases]
        words = torch.cat([phase.positive.embeddings for phase in found])
        identity = f"{self._identity}:{','.join(map(str, rows))}"
        return compute(call.patch(RegionWords(words, self._masks, rows, identity)))


def _build(context: PassContext) -> RegionAttention | None:
    request = context.plan.request
    if not request.regions or request.region_method != "attention":
        return None
    masks = shares(context.region_masks, [region.weight for region in request.regions])
    return RegionAttention(context.prompts.regions, masks)


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register regions that are joined by attention."""
    registry.register("region-attention", ModifierFactory(Layer.CONTROL, _build))
