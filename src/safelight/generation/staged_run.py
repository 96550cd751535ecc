"""A run whose pictures other runs go on with: a refiner, and a second pass of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from safelight.generation.artifact import Artifact
from safelight.generation.plan import Plan
from safelight.generation.progress import Stage
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest, Hires
from safelight.generation.run import HandedOver, Run
from safelight.generation.stages import (
    Handover,
    Split,
    first_request,
    is_refiner,
    refiner_request,
    second_request,
    split_steps,
    stage_errors,
)
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.loading import scheduler_config


@dataclass(frozen=True, kw_only=True)
class StagedRun(Run):
    """The run of the first stage, and those that follow.

    Weights are leased for one stage at a time. A stage whose memory runs out is begun again with less of it; what the
    stages before it gave is kept.

    Args:
        request: The whole request.
        refiner: Refines what the first stage hands over; None without.
        second: The second pass; None without.
    """

    request: GenerationRequest
    refiner: Run | None = None
    second: Run | None = None

    def generate(self, index: int) -> Artifact:
        """Generate picture `index` with all stages; see ``Run.generate``."""
        parts: list[HandedOver] = []
        run: Run = self
        for following in filter(None, (self.refiner, self.second)):
            part = run.hand_over(index)
            if isinstance(part, Artifact):  # stopped
                return self._joined(parts, part)
            parts.append(part)
            run = following.going_on(part)
        return self._joined(parts, run.generate(index))

    def _joined(self, parts: Sequence[HandedOver], last: Artifact) -> Artifact:
        """The last stage's picture, with the record of all."""
        records = [*(part.record for part in parts), last.record]
        first, *later = records
        notes = dict.fromkeys(note for record in records for note in record.notes)
        embeddings = {each.name: each for record in records for each in record.embeddings}
        update: dict[str, object] = {
            "machine": first.machine.model_copy(update={"following": tuple(each.machine for each in later)}),
            "batched": any(record.batched for record in records),
            "embeddings": tuple(embeddings[name] for name in sorted(embeddings)),
            "upscaler": next((each.upscaler for each in records if each.upscaler), None),
            "notes": tuple(notes),
        }
        if self.refiner is not None and later:
            update |= {"refiner": self.request.refiner, "refiner_checkpoint": later.pop(0).checkpoint}
        if self.second is not None and later:
            hires = self.request.hires
            assert hires is not None
            (second,) = later
            update |= {
                "hires": _recorded_hires(hires, second),
                "hires_checkpoint": second.checkpoint if hires.checkpoint else None,
                "hires_adapters": second.adapters if _has_own_adapters(hires) else (),
            }
        return replace(
            last,
            record=first.model_copy(update=update),
            seconds=sum(part.seconds for part in parts) + last.seconds,
            memory=parts[0].memory if parts else last.memory,  # that of the checkpoint that the record names
        )


def _has_own_adapters(hires: Hires) -> bool:
    return hires.prompt is not None or hires.adapters is not None


def _recorded_hires(hires: Hires, record: ReproductionRecord) -> Hires:
    """A second pass with its prompts as they were used; its adapters are in the record itself, with their digests."""
    update: dict[str, object] = {"adapters": None}
    if _has_own_adapters(hires):
        update["prompt"] = record.expanded_prompt
    if hires.negative_prompt is not None:
        update["negative_prompt"] = record.expanded_negative_prompt
    return hires.model_copy(update=update)


@dataclass(frozen=True)
class StagePlanner:
    """Plans a request with several stages: all of it is checked before the weights of one stage are read.

    Args:
        find: Finds the checkpoint of a request.
        check: Checks and plans a request for a checkpoint, without its weights.
        prepare: Makes the run of a request.
    """

    find: Callable[[GenerationRequest], Checkpoint]
    check: Callable[[GenerationRequest, Checkpoint], Plan]
    prepare: Callable[..., Run]

    def plan(self, request: GenerationRequest) -> StagedRun:
        """The run of all stages.

        Raises:
            SafelightError: A stage cannot be; the error names the field of the whole request.
        """
        checkpoint = self.find(request)
        first = first_request(request, checkpoint.family)
        plan = self.check(first, checkpoint)
        request, first = (each.model_copy(update={"seed": plan.seed}) for each in (request, first))
        later: dict[str, Any] = {"variation": request.variation}
        refine = self._refiner(request, plan, checkpoint, later)
        second = self._second_pass(request, plan, later)
        enlarging = None
        if second is not None and request.hires is not None:
            size = second[0].width or 0, second[0].height or 0
            enlarging = Handover(None, request.hires.upscaler == "latent", request.hires, size)
        handover, refiner_run, second_run = enlarging, None, None
        run = self.prepare(first, hires=None if refine else request.hires)
        if refine is not None:
            refining, options, split = refine
            own = self.prepare(refining, hires=request.hires, number=1, **options)
            refiner_run = replace(own, stage=Stage.REFINER, split=split, handover=enlarging)
            handover = Handover(split, latents=True)
        if second is not None:
            enlarged, options = second
            own = self.prepare(enlarged, number=2 if refine else 1, **options)
            second_run = replace(own, stage=Stage.SECOND_PASS, previous_steps=plan.steps)
        same: dict[str, Any] = {each.name: getattr(run, each.name) for each in fields(Run)}
        return StagedRun(
            **same | {"handover": handover}, request=request, refiner=refiner_run, second=second_run
        )

    def _refiner(
        self, request: GenerationRequest, plan: Plan, checkpoint: Checkpoint, later: dict[str, Any]
    ) -> tuple[GenerationRequest, dict[str, Any], Split] | None:
        """The refiner's request, how it is prepared, and where it takes over; None without."""
        if request.refiner is None:
            return None
        with stage_errors("refiner"):
            found = self.find(_for_checkpoint(request, request.refiner.checkpoint))
            refining = refiner_request(request, request.refiner, plan, found.family)
            self.check(refining, found)
        split = split_steps(plan, request.refiner, scheduler_config(checkpoint))
        return refining, later | {"with_adapters": not is_refiner(found.family)}, split

    def _second_pass(
        self, request: GenerationRequest, plan: Plan, later: dict[str, Any]
    ) -> tuple[GenerationRequest, dict[str, Any]] | None:
        """The second pass's request, and how it is prepared; None without."""
        if request.hires is None:
            return None
        with stage_errors("hires"):
            own = request.hires.checkpoint
            found = self.find(request if own is None else _for_checkpoint(request, own))
            second = second_request(request, plan, found.family)
            self.check(second, found)
        return second, later


def _for_checkpoint(request: GenerationRequest, name: str) -> GenerationRequest:
    """A request for another checkpoint, without the networks that take the place of the first's."""
    return request.model_copy(update={"checkpoint": name, "vae": None, "text_encoders": ()})
