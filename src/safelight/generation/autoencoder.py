"""The autoencoder within one picture's pipeline: in a precision of its own, and checked for NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AsymmetricAutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from safelight.runtime.component import Component
from safelight.runtime.proxy import NetworkProxy


def decodes_with_mask(network: object) -> bool:
    """Whether an autoencoder also takes mask and initial picture when it decodes."""
    return isinstance(network, AsymmetricAutoencoderKL)


class AutoencoderProxy(NetworkProxy):
    """An autoencoder that takes and returns latents in the denoiser's precision, and computes in its own.

    Pipelines assume that both are the same: their latents go to the autoencoder as the denoiser left them.

    Args:
        component: The autoencoder.
        dtype: The denoiser's data type.
        on_latents: Called with the latents that are to be decoded.
        on_result: Called with what the autoencoder computed: latents or pixels.
    """

    def __init__(
        self,
        component: Component,
        dtype: torch.dtype,
        on_latents: Callable[[Tensor], None],
        on_result: Callable[[Tensor], None],
    ) -> None:
        super().__init__(component.network)
        self._own, self._outer = component.dtype, dtype
        self._on_latents, self._on_result = on_latents, on_result

    @property
    def dtype(self) -> torch.dtype:
        """The precision that pipelines are to use for latents and pictures."""
        return self._outer

    def encode(self, pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The latents of pixels in [-1, 1], in the denoiser's precision."""
        encoded = self.network.encode(pixels.to(self._own), *args, **kwargs)
        if isinstance(encoded, tuple):  # return_dict=False
            return tuple(self._leave(part) for part in encoded)
        for name, value in encoded.items():
            encoded[name] = self._leave(value)
        return encoded

    def decode(self, latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The pixels of latents, in the autoencoder's own precision."""
        self._on_latents(latents)
        decoded = self.network.decode(latents.to(self._own), *args, **kwargs)
        self._on_result(decoded[0])
        return decoded

    def _leave(self, value: Any) -> Any:
        """Latents, or their distribution, in the denoiser's precision."""
        if isinstance(value, DiagonalGaussianDistribution):
            self._on_result(value.parameters)
            if value.parameters.dtype != self._outer:
                return DiagonalGaussianDistribution(value.parameters.to(self._outer), value.deterministic)
            return value
        self._on_result(value)
        return value.to(self._outer)
