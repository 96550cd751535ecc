"""The autoencoder within one picture's pipeline: in a precision of its own, in tiles where memory is short, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from diffusers import AsymmetricAutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from safelight.errors import MemoryExhaustedError
from safelight.generation.memory_tiling import needs_tiles, tiled_call
from safelight.models.checkpoints.loading import pixels_per_latent
from safelight.runtime.component import Component, Patch
from safelight.runtime.memory_plan.exhaustion import exhaustion_errors
from safelight.runtime.patching import patched
from safelight.runtime.proxy import NetworkProxy


def decodes_with_mask(network: object) -> bool:
    """Whether an autoencoder also takes mask and initial picture when it decodes."""
    return isinstance(network, AsymmetricAutoencoderKL)


class Shortage(Protocol):
    """Tells before and after decoding whether the memory is short (``memory_watch.MemoryWatch``)."""

    def needs_tiles(self) -> bool:
        """Whether a picture must be decoded in tiles."""

    def make_room(self) -> bool:
        """Called when decoding ran out of memory; returns whether tiles may be tried."""

    def note_tiles(self) -> None:
        """Called before a picture is decoded in tiles for either reason."""


class AutoencoderProxy(NetworkProxy):
    """An autoencoder that takes and returns latents in the denoiser's precision, and computes in its own.

    Pipelines assume that both are the same: their latents go to the autoencoder as the denoiser left them.

    Args:
        component: The autoencoder.
        dtype: The denoiser's data type.
        on_latents: Called with the latents that are to be decoded.
        on_result: Called with what the autoencoder computed: latents or pixels.
        on_pixels: Called before pixels are encoded.
        shortage: Tells whether the memory is short; None if that is not watched.
        patches: In effect while it computes.
        sample_with: Draws from the distribution of encoded pixels in place of the pipeline's generator.
    """

    def __init__(
        self,
        component: Component,
        dtype: torch.dtype,
        on_latents: Callable[[Tensor], None],
        on_result: Callable[[Tensor], None],
        on_pixels: Callable[[], None] = lambda: None,
        shortage: Shortage | None = None,
        patches: Sequence[Patch] = (),
        sample_with: torch.Generator | None = None,
    ) -> None:
        super().__init__(component.network)
        self._own, self._outer = component.dtype, dtype
        self._on_latents, self._on_result, self._on_pixels = on_latents, on_result, on_pixels
        self._shortage, self._patches, self._sample_with = shortage, patches, sample_with
        self._computes_on = component.key.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision that pipelines are to use for latents and pictures."""
        return self._outer

    def encode(self, pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The latents of pixels in [-1, 1], in the denoiser's precision."""
        self._on_pixels()
        encoded = self._compute("encode", pixels.to(self._own), *args, **kwargs)
        if isinstance(encoded, tuple):  # return_dict=False
            return tuple(self._leave(part) for part in encoded)
        for name, value in encoded.items():
            encoded[name] = self._leave(value)
        return encoded

    def decode(self, latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The pixels of latents, in the autoencoder's own precision."""
        self._on_latents(latents)
        decoded = self._decode_within_memory(latents.to(self._own), *args, **kwargs)
        self._on_result(decoded[0])
        return decoded

    def _decode_within_memory(self, latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Decode, in tiles where the memory is short or runs out: the steps done are not lost."""
        shortage = self._shortage
        if shortage is None or not needs_tiles(latents, pixels := pixels_per_latent(self.network)):
            return self._compute("decode", latents, *args, **kwargs)
        if not shortage.needs_tiles():
            try:
                with exhaustion_errors(torch.device(self._computes_on or latents.device)):
                    return self._compute("decode", latents, *args, **kwargs)
            except MemoryExhaustedError:
                if not shortage.make_room():
                    raise
        shortage.note_tiles()
        return tiled_call(self.network, "decode", pixels)(latents, *args, **kwargs)

    def _compute(self, method: str, *args: Any, **kwargs: Any) -> Any:
        with patched(self.network, self._patches):
            return getattr(self.network, method)(*args, **kwargs)

    def _leave(self, value: Any) -> Any:
        """Latents, or their distribution, in the denoiser's precision."""
        if isinstance(value, DiagonalGaussianDistribution):
            self._on_result(value.parameters)
            if value.parameters.dtype != self._outer:
                value = DiagonalGaussianDistribution(value.parameters.to(self._outer), value.deterministic)
            if self._sample_with is not None:
                draw, own = value.sample, self._sample_with
                value.sample = lambda generator=None: draw(own)  # noqa: ARG005  the pipeline's
            return value
        self._on_result(value)
        return value.to(self._outer)
