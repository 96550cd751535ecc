"""Fields of generations as the APIs take them: pictures in base64, models by the names that are listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from safelight.errors import SafelightError
from safelight.generation.canvas.references import check_count
from safelight.generation.plan import check_sides
from safelight.generation.prompts import load_styles, select_styles
from safelight.generation.reference import MAX_REFERENCES, Reference
from safelight.generation.request import (
    MAX_CONTROLS,
    MAX_REGIONS,
    Control,
    GenerationRequest,
    Name,
    Region,
)
from safelight.generation.solvers.samplers import check_sampler_names
from safelight.images.fields import ImageField, find_images, replace_images
from safelight.server.api.checkpoint_names import select_checkpoint
from safelight.server.core.app_state import AppState
from safelight.server.core.request_bodies.payload_decoding import image_inputs_of
from safelight.server.security.allowlist import with_allowed_names
from safelight.server.security.principal import Principal
from safelight.settings import Settings

EncodedImage = Annotated[
    str | bytes,
    ImageField(),
    WithJsonSchema({"type": "string", "minLength": 1}),
    Field(
        min_length=1,
        description="A picture in base64 or as a data URI; a part of its own in multipart/form-data.",
    ),
]

JobImage = Annotated[
    EncodedImage,
    Field(
        description="A picture in base64 or as a data URI, or gallery: and the id of a picture in the gallery; "
        "a part of its own in multipart/form-data.",
    ),
]

ListedName = Annotated[Name, Field(description="A name that GET /v1/models lists; no path, no hub id.")]


class JobControl(Control):
    """A picture that steers the generation."""

    model: ListedName | None = Field(
        None, description="A ControlNet or adapter that GET /v1/models/files lists."
    )
    image: JobImage | None = Field(
        None, description="The picture: in base64, or gallery: and an id; the initial picture when not given."
    )
    mask: JobImage | None = Field(
        None, description="White where it counts: in base64, or gallery: and the id of an entry."
    )


class JobReference(Reference):
    """A picture that the model looks at."""

    image: JobImage | None = Field(None, description="The picture: in base64, or gallery: and an id.")


class JobRegion(Region):
    """A part of the picture with a prompt of its own."""

    mask: JobImage = Field(
        description="White where it counts, grey where it counts in part: in base64, or gallery: and an id."
    )


class GenerateFields(GenerationRequest):
    """All fields of a generation."""

    checkpoint: ListedName | None = Field(None, description="A checkpoint that GET /v1/models lists.")
    init_image: JobImage | None = Field(
        None, description="The picture to start from: in base64, or gallery: and the id of an entry."
    )
    mask: JobImage | None = Field(
        None, description="White where the picture is to be changed: in base64, or gallery: and an id."
    )
    control: tuple[JobControl, ...] = Field(
        (),
        max_length=MAX_CONTROLS,
        description="Pictures that steer it, by ControlNets and what is like them.",
    )
    references: tuple[JobReference, ...] = Field(
        (),
        max_length=MAX_REFERENCES,
        description="Pictures that the model looks at: what it is to edit, or what the result is to show too.",
    )
    regions: tuple[JobRegion, ...] = Field(
        (),
        max_length=MAX_REGIONS,
        description="Parts of the picture with prompts of their own; the prompt itself counts everywhere else.",
    )


async def decode_images(
    model: type[BaseModel], fields: dict[str, Any], app_state: AppState, principal: Principal
) -> dict[str, Any]:
    """Fields with the bytes of their images, as ``submission.submit`` takes them.

    Args:
        model: The type that the fields are of.
        fields: The fields, with images as text or bytes.
        app_state: The application's state.
        principal: Whose gallery they may name pictures of.

    Raises:
        ImageError, RequestError: An image is invalid or too large.
        EntryMissingError, BlockedError, EntryFileMissingError: A picture of the gallery has no file.
    """
    inputs = image_inputs_of(app_state, principal)
    images = {}
    for found in find_images(model, fields):
        try:
            images[found.path] = await inputs.read(found.value)
        except SafelightError as error:
            error.field = error.field or found.name
            raise
    return replace_images(model, fields, lambda found: images[found.path])


def check_names(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Check what the checkpoint's family and lists of names tell, so that nobody has to wait for a worker's refusal.

    Returns:
        The fields with canonical names.

    Raises:
        CheckpointMissingError, UpscalerUnknownError, ControlMissingError, SamplerUnknownError, StyleUnknownError:
            There is no such name.
        NotMultipleError: Width or height does not fit the checkpoint's family.
        UnsupportedError: It does not look at so many references.
    """
    fields = with_allowed_names(given, settings)
    if styles := fields.get("styles"):
        select_styles(styles, load_styles(settings.home / "styles"))
    check_sampler_names(fields.get("sampler"), fields.get("schedule"))
    references = len(fields.get("references") or ())
    if fields.get("width") or fields.get("height") or references:
        family = select_checkpoint(fields.get("checkpoint"), settings).family
        if family is not None:
            check_sides(fields.get("width"), fields.get("height"), family)
            check_count(references, family)
    return fields
