"""Translate the bodies of OpenAI's image routes to the fields of our own request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageOps

from safelight.errors import MaskError, PromptError, UnsupportedError, UnsupportedFieldError
from safelight.generation.canvas.references import check_count
from safelight.generation.infotext import parse_infotext
from safelight.generation.prompts.adapter_tags import find_adapter_tags, without_gap
from safelight.generation.prompts.unsupported import escape_unsupported
from safelight.generation.request import DEFAULT_STRENGTH, GenerationRequest, Mode
from safelight.images import DecodeLimits, decode
from safelight.images.alpha import decode_alpha
from safelight.images.metadata.file_metadata import read_metadata
from safelight.server.api.checkpoint_names import SelectedCheckpoint
from safelight.server.api.image_resizing import CROP, Size, fast_png, resize
from safelight.server.api.openai.schemas import OWN_NAMES, CommonFields, EditForm, GenerationFields
from safelight.server.core.executors.image_cost import decode_alpha_cost, decode_cost
from safelight.server.core.executors.image_executor import ImageCost

RequestFields = dict[str, Any]
STEP_FACTORS: Mapping[str, float] = MappingProxyType(
    {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 3.0}
)
"""Steps by quality, as multiples of the default steps of the checkpoint's family."""
QUALITY_ALIASES: Mapping[str, str] = MappingProxyType({"auto": "medium", "standard": "medium", "hd": "high"})
"""Older names of qualities, and auto."""
FIDELITY_STRENGTHS: Mapping[str | None, float] = MappingProxyType(
    {None: DEFAULT_STRENGTH[Mode.IMAGE], "low": 0.75, "high": 0.5}
)
"""Denoising strength of an edit without a mask."""
VARIATION_STRENGTH = 0.6
"""Denoising strength of a variation."""
MAX_DEFAULT_PIXELS = 1024 * 1024
"""Up to this number of pixels, an image keeps its own size where no size is requested."""
DEFAULT_SIZE_MULTIPLE = 64
"""Sides are multiples of this where the checkpoint's family is unknown: every family accepts it."""


def check_form(form: GenerationFields) -> None:
    """Check that the fields agree with each other and are supported.

    Raises:
        UnsupportedFieldError: They do not.
    """
    if form.background == "transparent":
        raise UnsupportedFieldError(
            "background: pictures have no transparent parts.", field="background", hint="Give opaque."
        )
    if form.output_compression not in (None, 100) and form.file_format == "png":
        raise UnsupportedFieldError(
            "output_compression: png keeps every pixel.",
            field="output_compression",
            hint="Give webp or jpeg, or 100.",
        )
    if form.response_format == "url" and (form.file_format != "png" or form.stream):
        raise UnsupportedFieldError(
            "response_format: an address leads to the gallery's own file, which is png and comes without stream.",
            field="response_format",
            hint="Give b64_json.",
        )
    if form.partial_images and not form.stream:
        raise UnsupportedFieldError(
            "partial_images: previews come with stream.", field="partial_images", hint="Set stream."
        )


def quality_of(form: GenerationFields) -> str:
    """The quality under its current name."""
    asked = form.quality or "auto"
    return QUALITY_ALIASES.get(asked, asked)


def common_fields(form: CommonFields, checkpoint: SelectedCheckpoint) -> RequestFields:
    """Checkpoint, number of images and size."""
    width, height = form.sides or (None, None)
    fields = {"checkpoint": checkpoint.name, "count": form.image_count, "width": width, "height": height}
    return {"ignore_unsupported": True} | _without_none(fields)


def generation_fields(form: GenerationFields, checkpoint: SelectedCheckpoint) -> RequestFields:
    """The fields of our request.

    Args:
        form: The body, checked.
        checkpoint: The checkpoint.

    Raises:
        UnsupportedFieldError: A quality is requested of a checkpoint whose default steps are unknown.
    """
    ours = GenerationRequest.model_fields.keys() - OWN_NAMES.keys() - {"quality"}
    if isinstance(form, EditForm):
        ours -= {"mask"}  # a file, which ``edit_fields`` turns into ours
    fields = form.model_dump(include=set(ours), exclude_defaults=True)
    steps = form.steps or _steps_for_quality(form, checkpoint)
    return fields | common_fields(form, checkpoint) | _without_none({"steps": steps})


def edit_fields(
    form: EditForm,
    checkpoint: SelectedCheckpoint,
    images: Sequence[bytes],
    mask: bytes | None,
    limits: DecodeLimits,
) -> RequestFields:
    """The fields of our request for an edit. With a mask, image and mask are resized to the requested size.

    A checkpoint that looks at references gets the images as such, without a mask and a strength; with one of them it
    starts from the first image.

    Args:
        form: The form, checked.
        checkpoint: The checkpoint.
        images: The image files, first the one to edit.
        mask: Its mask's file; without one, the fully transparent parts of the image are the mask.
        limits: Limits for decoding.

    Raises:
        UnsupportedFieldError: The checkpoint does not look at so many images.
        MaskError: The mask has no transparent parts, or another size than the image.
        ImageError: An image cannot be read.
    """
    family = checkpoint.family
    if len(images) > 1 and family is not None:
        try:
            check_count(len(images) - (mask is not None), family)
        except UnsupportedError as error:
            raise UnsupportedFieldError(
                f"image: {error.message}", field="image", hint=error.hint, context=error.context
            ) from error
    is_looked_at = len(images) > 1 if family is None else family.references is not None
    if is_looked_at and mask is None and form.strength is None:
        return _with_references(generation_fields(form, checkpoint), images)
    image, *others = images
    cover = transparent_area(image, limits) if mask is None else inpaint_mask(mask, limits)
    if mask is not None and cover is None:
        raise MaskError("The mask has no transparent parts.", hint="They mark the part to repaint.")
    picture = decode(image, limits=limits).image
    if cover is not None and cover.size != picture.size:
        raise MaskError(
            f"The mask is {_size_text(cover.size)} pixels, its picture {_size_text(picture.size)}."
        )
    size = form.sides or fit_size(picture.size, checkpoint)
    fields = generation_fields(form, checkpoint) | {"init_image": image} | _size_fields(size)
    if cover is not None:
        fields["mask"] = fast_png(resize(cover, size or cover.size, CROP))
    if cover is not None and size is not None and size != picture.size:
        fields["init_image"] = fast_png(resize(picture, size, CROP))
    fields = _with_references(fields, others)
    strength = FIDELITY_STRENGTHS[form.input_fidelity] if cover is None else None
    return fields | _without_none({"strength": strength if form.strength is None else form.strength})


def _with_references(fields: RequestFields, images: Iterable[bytes]) -> RequestFields:
    """Fields with images before the references that they have."""
    references = [*({"image": image} for image in images), *fields.get("references", ())]
    return fields | ({"references": references} if references else {})


def edit_cost(image: bytes, mask: bytes | None, limits: DecodeLimits) -> ImageCost:
    """The cost of ``edit_fields`` with the same arguments: the alpha channel is kept while the image is decoded.

    Raises:
        ImageError: A file is no image, or exceeds the limits.
    """
    cover = decode_alpha_cost(image if mask is None else mask, limits)
    picture = decode_cost(image, limits)
    return cover.then(picture + ImageCost(2 * cover.pixels + picture.memory // 2))


def variation_fields(
    form: CommonFields,
    checkpoint: SelectedCheckpoint,
    image: bytes,
    limits: DecodeLimits,
    has_adapter: Callable[[str], bool] = lambda _: True,
) -> RequestFields:
    """The fields of our request for variations, with the image's own prompt where its metadata has one.

    Adapters that are not here are left out: the client did not write that prompt.
    """
    infotext = parse_infotext(read_metadata(image, limits=limits).infotext or "")
    prompt = _with_adapters_here(infotext.prompt, has_adapter)
    words = {"prompt": prompt, "negative_prompt": infotext.negative_prompt}
    size = form.sides or fit_size(decode(image, limits=limits).image.size, checkpoint)
    return (
        common_fields(form, checkpoint)
        | words
        | {"init_image": image, "strength": VARIATION_STRENGTH}
        | _size_fields(size)
    )


def _with_adapters_here(prompt: str, has_adapter: Callable[[str], bool]) -> str:
    try:
        tags = find_adapter_tags(prompt)
    except PromptError:  # a tag that cannot be read
        return escape_unsupported(prompt)
    for tag in reversed(tags):
        if not has_adapter(str(tag.fields["name"])):
            prompt = without_gap(prompt[: tag.start], prompt[tag.end :])
    return prompt


def fit_size(size: Size, checkpoint: SelectedCheckpoint) -> Size | None:
    """The size to generate at where none is requested; None for the image's own.

    An image with more pixels than a megapixel, and than the checkpoint's best size, keeps its proportions only.
    """
    side, unit = (
        (checkpoint.family.side, checkpoint.family.size_multiple)
        if checkpoint.family
        else (0, DEFAULT_SIZE_MULTIPLE)
    )
    share = math.sqrt(max(side**2, MAX_DEFAULT_PIXELS) / (size[0] * size[1]))
    if share >= 1:
        return None
    width, height = (max(unit, int(length * share) // unit * unit) for length in size)
    return width, height


def inpaint_mask(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Our mask, mode L, white where a mask file is transparent; None where it is opaque everywhere.

    Raises:
        ImageError: It cannot be read.
    """
    alpha = decode_alpha(data, limits)
    return None if alpha is None else ImageOps.invert(alpha)


def transparent_area(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Our mask for an image without a mask file: its fully transparent pixels, without shadows and soft edges.

    Raises:
        ImageError: The image cannot be read.
    """
    alpha = decode_alpha(data, limits)
    if alpha is None or alpha.getextrema()[0] != 0:
        return None
    return alpha.point(lambda value: 0 if value else 255)


def _size_fields(size: Size | None) -> RequestFields:
    return {} if size is None else {"width": size[0], "height": size[1]}


def _size_text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _steps_for_quality(form: GenerationFields, checkpoint: SelectedCheckpoint) -> int | None:
    share = STEP_FACTORS[quality_of(form)]
    if share == 1:
        return None
    if checkpoint.family is None:
        raise UnsupportedFieldError(
            "quality: the default number of steps of this checkpoint is unknown.",
            field="quality",
            hint="Give auto, or steps.",
        )
    return max(checkpoint.family.min_steps, round(checkpoint.family.steps * share))


def _without_none(fields: RequestFields) -> RequestFields:
    return {name: value for name, value in fields.items() if value is not None}
