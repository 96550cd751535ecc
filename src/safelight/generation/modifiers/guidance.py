"""Hooks around each denoiser call: guidance interval, rescaling, CFG-Zero*, scheduled prompts and cancellation.

The hooks are forward hooks, registered for one run and removed after it, so that stock pipelines and networks stay
unchanged. They rely on what diffusers' pipelines have in common: with classifier-free guidance the denoiser is called
once with a batch of two, the negative prompt first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from safelight.errors import RunStoppedError
from safelight.generation.prompts.encode import Conditioning, ConditioningPhase


@dataclass(frozen=True)
class GuidanceOptions:
    """Classifier-free guidance: its scale, its correction, and the interval of steps in which it applies.

    Args:
        scale: Guidance scale as in diffusers; 1 means no guidance.
        rescale: Guidance rescale factor against overexposure (Lin et al., 2023, arXiv 2305.08891, section 3.4), 0 to 1.
        start: Fraction of the steps before which guidance is off.
        end: Fraction of the steps from which guidance is off again.
        cfg_zero: Use CFG-Zero* (Fan et al., 2025, arXiv 2503.18886); flow models only.
    """

    scale: float = 1.0
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    cfg_zero: bool = False

    def is_active(self, fraction: float) -> bool:
        """Whether guidance applies to the step that starts after this fraction of the steps."""
        return self.start <= fraction < self.end


@dataclass
class DenoiserHooks:
    """Forward hooks on a denoiser for one run; use it as a context manager.

    Args:
        denoiser: The U-Net or transformer.
        guidance: How the two predictions are combined.
        has_negative: Whether every call is a batch whose first half is the negative prompt.
        phases: Text embeddings by step; empty to keep the pipeline's own.
        steps: Number of steps of this run.
        should_stop: Called before every denoiser call; the run stops if it returns True.

    Attributes:
        step: The current step, from 0; the run updates it.
    """

    denoiser: nn.Module
    guidance: GuidanceOptions
    has_negative: bool
    phases: Sequence[ConditioningPhase]
    steps: int
    should_stop: Callable[[], bool]
    step: int = 0
    _handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)
    _positive_only: bool = False

    def __enter__(self) -> Self:
        self._handles = [
            self.denoiser.register_forward_pre_hook(self._pre_forward, with_kwargs=True),
            self.denoiser.register_forward_hook(self._post_forward, with_kwargs=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _pre_forward(
        self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        if self.should_stop():
            raise RunStoppedError
        sample = _denoiser_input(args, kwargs)
        if sample is not None and len(self.phases) > 1:
            kwargs = _replace_conditioning(kwargs, self._conditionings(len(sample)))
        on = self.guidance.is_active(self.step / self.steps)
        self._positive_only = self.has_negative and not on and sample is not None and len(sample) == 2
        if self._positive_only:
            # Without guidance the negative prompt's half has no effect, so only the prompt's half is computed.
            return tuple(_positive_half(value) for value in args), {
                name: _positive_half(value) for name, value in kwargs.items()
            }
        return args, kwargs

    def _post_forward(
        self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object
    ) -> object:
        values, sample = output[0] if isinstance(output, tuple) else output, _denoiser_input(args, kwargs)
        if sample is None or not isinstance(values, Tensor):
            return output
        if self._positive_only:
            guided = values
        elif self.has_negative and len(values) == 2 and (self.guidance.rescale or self.guidance.cfg_zero):
            guided = combine_predictions(
                values, self.guidance, first_step=self.step == 0, channels=sample.shape[1]
            )
        else:
            return output
        # The pipeline adds the scaled difference of the two halves, which is zero for equal halves.
        values = torch.cat([guided, guided])
        return (values, *output[1:]) if isinstance(output, tuple) else values

    def _conditionings(self, batch: int) -> list[Conditioning]:
        """Return the conditioning of each row of the batch at this step."""
        phase = [phase for phase in self.phases if phase.first_step <= self.step][-1]
        negatives = [phase.negative] if self.has_negative else []
        return negatives + [phase.positive] * (batch - len(negatives))


def combine_predictions(
    values: Tensor, guidance: GuidanceOptions, *, first_step: bool, channels: int
) -> Tensor:
    """Combine the two predictions into the guided one, (1, ...).

    Args:
        values: (2, ...), the negative prompt's prediction first.
        guidance: Scale, rescaling and method.
        first_step: Whether this is the first step, where CFG-Zero* returns zeros because the network's prediction is
            least reliable there.
        channels: Channels of the latents; a prediction with twice as many has a learned variance in its second half.
    """
    negative, positive = values[:1], values[1:]
    if guidance.cfg_zero:
        if first_step:
            return torch.zeros_like(positive)
        negative = negative * _projection_factor(positive.float(), negative.float()).to(values.dtype)
    guided = negative + guidance.scale * (positive - negative)
    if guidance.rescale == 0:
        return guided
    noise = slice(0, channels if values.shape[1] == 2 * channels else None)
    rescaled = guided * (positive[:, noise].std() / guided[:, noise].std())
    return guidance.rescale * rescaled + (1 - guidance.rescale) * guided


def _projection_factor(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the factor that brings the negative prediction closest to the positive one (s in CFG-Zero*)."""
    return (positive * negative).sum() / (negative.square().sum() + 1e-8)


def _denoiser_input(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor | None:
    first = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
    return first if isinstance(first, Tensor) else None


def _replace_conditioning(
    kwargs: dict[str, object], conditionings: Sequence[Conditioning]
) -> dict[str, object]:
    """Return the call's arguments with the text embeddings replaced, one for each row."""
    changed = kwargs | {"encoder_hidden_states": torch.cat([part.embeddings for part in conditionings])}
    added = kwargs.get("added_cond_kwargs")
    pooled = [part.pooled for part in conditionings if part.pooled is not None]
    if isinstance(added, dict) and "text_embeds" in added and pooled:
        changed["added_cond_kwargs"] = added | {"text_embeds": torch.cat(pooled)}
    return changed


def _positive_half(value: object) -> object:
    """Return the prompt's half of a value whose first half may belong to the negative prompt."""
    if isinstance(value, Tensor) and value.ndim and len(value) == 2:
        return value[1:]
    if isinstance(value, dict):
        return {name: _positive_half(inner) for name, inner in value.items()}
    return value
