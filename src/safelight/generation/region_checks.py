"""What composed prompts and regions need of a checkpoint and of the other fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safelight.errors import PromptError, UnsupportedError
from safelight.generation.prompts.composition import PromptPart
from safelight.generation.request import GenerationRequest
from safelight.models.families import Family

if TYPE_CHECKING:
    from safelight.generation.plan import Plan


def check_regions(request: GenerationRequest, family: Family) -> None:
    """Check a request's regions.

    Raises:
        UnsupportedError: The family's denoiser does not join them in this way, or they do not go with another field.
    """
    if not request.regions:
        return
    if request.region_method == "attention" and not has_region_attention(family):
        raise UnsupportedError(
            f"{family.title} joins no regions by attention, which is for the U-Nets of Stable Diffusion 1, 2 and XL.",
            hint="Leave region_method at prediction.",
            field="region_method",
        )
    if request.region_method == "prediction" and request.pag_scale > 0:
        raise UnsupportedError(
            "Regions joined by predictions cannot be combined with perturbed-attention guidance.",
            hint="Leave pag_scale at 0, or join them by attention.",
            field="regions",
            context={"other": "pag_scale"},
        )


def has_region_attention(family: Family) -> bool:
    """Whether a family's denoiser attends to words in layers of their own."""
    return family.denoiser == "unet" and family.text_encoding != "plain"


def check_parts(parts: Sequence[PromptPart], plan: Plan) -> None:
    """Check the parts of a composed prompt.

    Raises:
        UnsupportedError: They do not go with another field.
        PromptError: Their weights mean nothing without guidance.
    """
    request = plan.request
    if len(parts) == 1:
        return
    if request.pag_scale > 0:
        raise UnsupportedError(
            "AND cannot be combined with perturbed-attention guidance.",
            hint="Leave pag_scale at 0, or write \\AND for the word.",
            field="prompt",
            context={"other": "pag_scale"},
        )
    always = plan.guided and request.guidance_start == 0 and request.guidance_end == 1
    if sum(part.weight for part in parts) <= 0 and not always:
        raise PromptError(
            "The weights of the prompt's parts add up to nothing, which takes guidance in every step.",
            hint="Give larger weights, or a guidance scale above 1 for all steps.",
        )
