"""References: whether a checkpoint looks at the pictures of a request, and in which sizes."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from safelight.errors import (
    CheckpointInvalidError,
    FieldConflictError,
    PictureNeededError,
    ReferenceSizeError,
    UnsupportedError,
)
from safelight.generation.reference import Reference
from safelight.generation.request import GenerationRequest, Mode
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.families import FAMILIES, Family
from safelight.models.families.references import References, Size

MAX_REFERENCE_PIXELS = 1568 * 672
"""No pipeline looks at more pixels of one picture."""


def with_initial_reference(request: GenerationRequest, family: Family) -> GenerationRequest:
    """The request with its initial picture as the first reference, where that is what it is.

    It is for a checkpoint that looks at references, unless a strength says that the picture is to be started from.
    """
    if family.references is None or request.mode is not Mode.IMAGE or request.strength is not None:
        return request
    references = (Reference(image=request.init_image), *request.references)
    return request.model_copy(update={"init_image": None, "references": references})


def looks(mode: Mode, family: Family, count: int) -> References | None:
    """How pictures are looked at in a mode; None where the family's usual pipeline generates.

    Args:
        mode: The mode.
        family: The checkpoint's family.
        count: How many references there are, beside the initial picture of inpainting.
    """
    found = family.references
    if found is None or mode not in found.pipelines:
        return None
    return found if count or mode is Mode.INPAINT else None


def check_count(count: int, family: Family) -> None:
    """Check that a checkpoint looks at so many references.

    Raises:
        UnsupportedError: It looks at fewer, or at none.
    """
    found = family.references
    if found is None and count:
        titles = [each.title for each in FAMILIES.values() if each.references is not None]
        raise UnsupportedError(
            f"{family.title} does not look at references.",
            hint=f"These do: {', '.join(titles)}.",
            field="references",
        )
    if found is not None:
        _check_maximum(count, found.maximum, family.title)


def _check_maximum(count: int, maximum: int | None, who: str) -> None:
    if maximum is not None and count > maximum:
        raise UnsupportedError(
            f"{who} takes at most {maximum} reference{'s' if maximum > 1 else ''}; {count} came.",
            field="references",
            context={"maximum": maximum},
        )


def check_references(request: GenerationRequest, family: Family) -> None:
    """Check that a checkpoint looks at the references of a request, after ``with_initial_reference``.

    Raises:
        UnsupportedError: As ``check_count``, or it does not look at them in this mode.
        PictureNeededError: It generates nothing without one.
        FieldConflictError: Another field cannot be used with them.
    """
    found, count = family.references, len(request.references)
    check_count(count, family)
    if count or looks(request.mode, family, count):
        _check_others(request, "references" if count else f"{family.title}'s inpainting")
    if found is None:
        return
    if not count:
        if found.required and request.mode in found.parameters:
            raise PictureNeededError(
                f"{family.title} edits a picture, and there is none.",
                hint="Give it in references, or as the initial picture.",
                field="references",
            )
        return
    if request.mode not in found.parameters:
        raise UnsupportedError(
            f"{family.title} does not look at references in {request.mode}.",
            hint=f"It does in {' and '.join(found.parameters)}; leave out "
            f"{'the strength' if request.mode is Mode.IMAGE else 'the mask'}.",
            field="references",
        )
    _check_maximum(count, found.maximum_in(request.mode), f"{family.title} in {request.mode}")


def check_sizes(pictures: Sequence[Image.Image], family: Family) -> None:
    """Check that references have sizes that a checkpoint looks at.

    Raises:
        ReferenceSizeError: One is too small, or too long and narrow.
    """
    found = family.references
    for number, picture in enumerate(pictures if found is not None else ()):
        assert found is not None
        least, most = sorted(picture.size)
        if least < found.min_side or most > found.max_ratio * least:
            raise ReferenceSizeError(
                f"A reference of {picture.width} x {picture.height} pixels is too "
                f"{'small' if least < found.min_side else 'narrow'} for {family.title}.",
                hint=f"Each side has at least {found.min_side} pixels, and one at most "
                f"{found.max_ratio:g} times as many as the other.",
                field=f"references.{number}.image",
                context={"minimum": found.min_side, "maximum_ratio": found.max_ratio},
            )


def check_encoder_sees(checkpoint: Checkpoint) -> None:
    """Check that a text encoder that is to see references has the part for it, which files may leave out.

    Raises:
        CheckpointInvalidError: It has not.
    """
    found = checkpoint.family.references
    if found is None or "processor" not in found.components:
        return
    for part in checkpoint.parts:
        is_encoder = part.component.startswith("text_encoder")
        if is_encoder and not any("visual." in name for name in read_header(part.path).tensors):
            raise CheckpointInvalidError(
                f"{part.path.name} is a text encoder that cannot see: it lacks the part for pictures, which "
                f"{checkpoint.family.title} needs to look at references.",
                hint="Use a file with all of Qwen2.5-VL; one in GGUF often has that part in a file of its own.",
                field="references",
            )


def _check_others(request: GenerationRequest, looking: str) -> None:
    """Check that no other field needs a pipeline that does not look at pictures."""
    if request.hires is not None:
        raise FieldConflictError(
            "A second pass does not look at references.",
            hint="Leave it out, and upscale the result.",
            field="hires",
            context={"other": "references"},
        )
    if request.control:
        raise FieldConflictError(
            f"A control cannot be combined with {looking}.",
            hint="Leave out one of the two.",
            field="control",
            context={"other": "references" if request.references else "mask"},
        )


def result_size(references: Sequence[Image.Image], family: Family, native_side: int) -> Size | None:
    """Width and height of a result whose request names none: those that the first reference suggests, in pixels.

    Args:
        references: The pictures.
        family: The checkpoint's family, which looks at them.
        native_side: Width and height on which the checkpoint was trained, in pixels.
    """
    if not references or family.references is None:
        return None
    return family.references.default_size(references[0].size, native_side)


def encoded_share(references: Sequence[Size], result: Size) -> float:
    """How many times the pixels of a result are encoded and decoded, at most a megapixel for each reference."""
    seen = sum(min(width * height, MAX_REFERENCE_PIXELS) for width, height in references)
    return 1 + seen / (result[0] * result[1])


def fit_references(pictures: Sequence[Image.Image], found: References, size: Size) -> list[Image.Image]:
    """The references in the sizes in which the pipelines take them.

    Args:
        pictures: The references.
        found: How the family looks at them.
        size: Width and height of the result, in pixels.
    """
    return [_resized(picture, found.fitted_size(picture.size, size)) for picture in pictures]


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
