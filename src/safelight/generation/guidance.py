"""What happens around each call of the denoiser: guidance windows, rescaling, CFG-Zero*, changing prompts, stopping.

An adapter is injected from outside with forward hooks and removed after the run, so that the stock pipelines and
networks stay as they are. It relies on what diffusers' pipelines have in common: with classifier-free guidance the
denoiser is called once with a batch of two, the negative prompt first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from safelight.errors import StoppedError
from safelight.generation.prompts.encode import Conditioning, GuidedPhase


@dataclass(frozen=True)
class Guidance:
    """How much the prompt counts, and when.

    Args:
        scale: Classifier-free guidance in the usual counting; 1 is none.
        rescale: Share of overexposure to take back (Lin et al., 2023, arXiv 2305.08891, section 3.4), 0 to 1.
        start: Share of the steps before which there is no guidance.
        end: Share of the steps from which on there is no guidance any more.
        cfg_zero: Correct the guidance as CFG-Zero* does (Fan et al., 2025, arXiv 2503.18886); flow models only.
    """

    scale: float = 1.0
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    cfg_zero: bool = False

    def on(self, done: float) -> bool:
        """Whether there is guidance in the step that begins with this share of the steps done."""
        return self.start <= done < self.end


@dataclass
class DenoiserAdapter:
    """Hooks on a denoiser for the length of one run; use it as a context manager.

    Args:
        denoiser: The U-Net or transformer.
        guidance: How the two predictions become one.
        guided: Whether the negative prompt's half comes first in every call.
        phases: Text embeddings by step; none to leave the pipeline's own.
        steps: Steps of this run.
        should_stop: Asked before every call of the network.

    Attributes:
        step: The step that is on, from 0; the run keeps it up to date.
    """

    denoiser: nn.Module
    guidance: Guidance
    guided: bool
    phases: Sequence[GuidedPhase]
    steps: int
    should_stop: Callable[[], bool]
    step: int = 0
    _handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)
    _halved: bool = False

    def __enter__(self) -> Self:
        self._handles = [
            self.denoiser.register_forward_pre_hook(self._before, with_kwargs=True),
            self.denoiser.register_forward_hook(self._after, with_kwargs=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(
        self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        if self.should_stop():
            raise StoppedError
        sample = _sample(args, kwargs)
        if sample is not None and len(self.phases) > 1:
            kwargs = _conditioned(kwargs, self._parts(len(sample)))
        on = self.guidance.on(self.step / self.steps)
        self._halved = self.guided and not on and sample is not None and len(sample) == 2
        if self._halved:
            # Half the work: the negative prompt's half would have no say.
            return tuple(_second_half(value) for value in args), {
                name: _second_half(value) for name, value in kwargs.items()
            }
        return args, kwargs

    def _after(
        self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object
    ) -> object:
        values, sample = output[0] if isinstance(output, tuple) else output, _sample(args, kwargs)
        if sample is None or not isinstance(values, Tensor):
            return output
        if self._halved:
            guided = values
        elif self.guided and len(values) == 2 and (self.guidance.rescale or self.guidance.cfg_zero):
            guided = combined(values, self.guidance, first_step=self.step == 0, channels=sample.shape[1])
        else:
            return output
        # The pipeline adds the scaled difference of the two halves; equal halves are left as they are.
        values = torch.cat([guided, guided])
        return (values, *output[1:]) if isinstance(output, tuple) else values

    def _parts(self, batch: int) -> list[Conditioning]:
        """What each row of a call is conditioned on at this step."""
        phase = [phase for phase in self.phases if phase.first_step <= self.step][-1]
        negatives = [phase.negative] if self.guided else []
        return negatives + [phase.positive] * (batch - len(negatives))


def combined(values: Tensor, guidance: Guidance, *, first_step: bool, channels: int) -> Tensor:
    """The guided prediction of two.

    Args:
        values: (2, ...), the negative prompt's prediction first.
        guidance: Scale, rescaling and method.
        first_step: Whether this is the first step, in which CFG-Zero* moves nothing: there the network knows least.
        channels: Of the latents; a prediction of twice as many has a learnt variance in its second half.
    """
    negative, positive = values[:1], values[1:]
    if guidance.cfg_zero:
        if first_step:
            return torch.zeros_like(positive)
        negative = negative * _projection(positive.float(), negative.float()).to(values.dtype)
    guided = negative + guidance.scale * (positive - negative)
    if guidance.rescale == 0:
        return guided
    noise = slice(0, channels if values.shape[1] == 2 * channels else None)
    rescaled = guided * (positive[:, noise].std() / guided[:, noise].std())
    return guidance.rescale * rescaled + (1 - guidance.rescale) * guided


def _projection(positive: Tensor, negative: Tensor) -> Tensor:
    """The factor that brings the negative prediction nearest to the positive one (CFG-Zero*'s s)."""
    return (positive * negative).sum() / (negative.square().sum() + 1e-8)


def _sample(args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor | None:
    first = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
    return first if isinstance(first, Tensor) else None


def _conditioned(kwargs: dict[str, object], parts: Sequence[Conditioning]) -> dict[str, object]:
    """The call's arguments with other embeddings, one for each row."""
    changed = kwargs | {"encoder_hidden_states": torch.cat([part.embeddings for part in parts])}
    added = kwargs.get("added_cond_kwargs")
    pooled = [part.pooled for part in parts if part.pooled is not None]
    if isinstance(added, dict) and "text_embeds" in added and pooled:
        changed["added_cond_kwargs"] = added | {"text_embeds": torch.cat(pooled)}
    return changed


def _second_half(value: object) -> object:
    """What belongs to the prompt, of a value that may hold the negative prompt's half first."""
    if isinstance(value, Tensor) and value.ndim and len(value) == 2:
        return value[1:]
    if isinstance(value, dict):
        return {name: _second_half(inner) for name, inner in value.items()}
    return value
