"""A cascade of two forms of a network: integers for pictures that are clearly harmless, fp32 for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.errors import BackendError
from safelight.runtime.backends import CompiledNetwork, Outputs
from safelight.runtime.graph import PROBABILITIES, OnnxGraph

_PROBABILITY_TOLERANCE = 0.01
_LOG_ODDS_TOLERANCE = 1.0


@dataclass(frozen=True)
class QuantizedForm:
    """The int8 form of a classifier's network, and which of its results are kept.

    Args:
        define: Reads its graph, whose convolutions are between pairs of QuantizeLinear and DequantizeLinear.
        safe_label: The label of harmless pictures.
        unsafe_below: Its result is kept if the probability of all other labels together is below this.
    """

    define: Callable[[], OnnxGraph]
    safe_label: str
    unsafe_below: float


@dataclass(frozen=True)
class CascadedNetwork:
    """Runs the int8 form on every picture, and fp32 on those that do not look clearly harmless to it.

    Args:
        quantized: The int8 form.
        precise: The network in fp32.
        safe: Index of the safe label.
        unsafe_below: The int8 result is kept if the probability of all other labels together is below this.
    """

    quantized: CompiledNetwork
    precise: CompiledNetwork
    safe: int
    unsafe_below: float

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """See ``CompiledNetwork.run``; a picture's outputs all come from the same form."""
        outputs = self.quantized.run(pixels)
        doubtful = ~self._is_harmless(outputs)
        if doubtful.any():
            for name, values in self.precise.run(pixels[doubtful]).items():
                outputs[name][doubtful] = values
        return outputs

    def check(self, pixels: NDArray[np.uint8]) -> None:
        """Compare both forms on probe images, uint8 [n, height, width, 3].

        Raises:
            BackendError: The engine's integers stray from fp32 here.
        """
        quantized = self.quantized.run(pixels)
        kept, rough = self._is_harmless(quantized), quantized[PROBABILITIES]
        precise = self.precise.run(pixels)[PROBABILITIES]
        shift = np.abs(rough - precise)[kept].max(initial=0)
        drift = np.abs(_log_odds(rough) - _log_odds(precise)).max()
        if not (shift <= _PROBABILITY_TOLERANCE and drift <= _LOG_ODDS_TOLERANCE):
            raise BackendError(
                f"int8 strays from fp32 on this machine: probabilities by {shift:.3f}, log-odds by {drift:.2f}."
            )

    def _is_harmless(self, outputs: Outputs) -> NDArray[np.bool_]:
        harmless: NDArray[np.bool_] = 1 - outputs[PROBABILITIES][:, self.safe] < self.unsafe_below
        return harmless


def _log_odds(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    p = np.clip(probability.astype(np.float64), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p) - np.log1p(-p))
