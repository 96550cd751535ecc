"""A step cache for every family and backend: some steps are not computed, their predictions are extrapolated."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl


@dataclass
class _History:
    """The last two computed predictions of calls with the same rows, and the steps they belong to."""

    steps: list[int] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)

    def add(self, step: int, prediction: Tensor) -> None:
        self.steps, self.predictions = [*self.steps[-1:], step], [*self.predictions[-1:], prediction]

    def extrapolate(self, step: int) -> Tensor:
        """The prediction of a later step on the line through both."""
        (before, last), (first, second) = self.steps, self.predictions
        return second + (second - first) * ((step - last) / (last - before))


class PredictionCache(Modifier):
    """Computes the first two steps, every n-th one and the last; extrapolates the predictions of the others.

    Nothing is computed in the other steps, and the network is not changed: it works with every denoiser and backend.

    Args:
        interval: Steps from one computation to the next, at least 2.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._histories: dict[object, _History] = {}
        self._step, self._calls = -1, 0

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction, computed or extrapolated."""
        if call.step != self._step:
            self._step, self._calls = call.step, 0
        self._calls += 1  # some samplers and some kinds of guidance call more than once in a step
        key = self._calls, call.roles, tuple(patch.identity for patch in call.patches)
        history = self._histories.setdefault(key, _History())
        whole = call.step < 2 or call.step % self._interval == 0 or call.step == call.steps - 1
        if not whole and len(history.steps) == 2:
            return history.extrapolate(call.step)
        history.add(call.step, prediction := compute(call))
        return prediction


def _build(context: PassContext) -> PredictionCache | None:
    cache = context.step_cache
    if cache is None or cache.kind != "extrapolate" or cache.interval is None:
        return None
    return PredictionCache(cache.interval)


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register the cache of predictions."""
    registry.register("prediction-cache", ModifierFactory(Layer.NETWORK, _build))
