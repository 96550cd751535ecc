"""The reproduction record: all that is needed to reproduce a picture, byte for byte if it was generated alone.

It is stored in the picture file (``images/metadata/file_metadata.py``). It contains no wall-clock time, so that a
reproduced picture is the same file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from safelight.errors import RecordInvalidError
from safelight.generation.fields import RequestField, request_fields
from safelight.generation.prompts.inversions import escape_required
from safelight.generation.prompts.unsupported import escape_unsupported
from safelight.generation.quality import DEFAULT_QUALITY
from safelight.generation.request import (
    DEFAULT_NOISE_SOURCE,
    Adapter,
    Fraction,
    GenerationRequest,
    Hires,
    Inpaint,
    Mode,
    Outpaint,
    PreprocessOptions,
    Refiner,
    RequestPart,
    SamplingOptions,
    Scale,
    Seed,
    Side,
    Steps,
    Variation,
)
from safelight.models.controls.kinds import ControlKind
from safelight.validation import first_problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safelight.images import ImageSource

FORMAT: Literal[1] = 1
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
LESS_PRECISION_NOTE = "To fit the memory, the checkpoint ran in bf16 instead of fp32."
"""Why a picture ran in another precision. To reproduce it, that precision is taken from the record."""
_NEWER_PARTS = ("hires_checkpoint", "refiner", "refiner_checkpoint")
"""Parts that older records lack: where there is none they are left out: older pictures reproduce to the same file."""
_NOT_IN_XML = re.compile("[\ufffe\uffff]")
_MAX_SHOWN = 60


class PartRef(RequestPart):
    """A file that one of a checkpoint's networks was read from, where it is not the checkpoint's own."""

    component: str = Field(description="The network: vae, text_encoder …")
    name: str = Field(description="The file's name.")
    digest: Digest = Field(description="SHA-256 of the file.")


class CheckpointRef(RequestPart):
    """Which weights were used."""

    name: str
    family: str = Field(description="A key of models/families.py.")
    digest: Digest = Field(description="SHA-256 of the weights.")
    configs: Annotated[Digest | None, RequestField(omitted_at_default=True)] = Field(
        None,
        description="SHA-256 of configs and tokenizers; None for a single file, which has none of its own.",
    )
    parts: Annotated[tuple[PartRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="The files of networks that are not in the checkpoint's own file or folder."
    )


class AdapterRef(Adapter):
    """Which adapter was used, and its strengths; those that are the usual ones are left out."""

    digest: Digest = Field(description="SHA-256 of its file.")
    hash: str = Field("", pattern="^[0-9a-f]*$", description="The hash by which A1111 knows it.")
    layers: dict[str, int] = Field({}, description="How many weights of each network it changes.")

    @property
    def adapter(self) -> Adapter:
        """Its name and strengths."""
        return Adapter(**{name: getattr(self, name) for name in Adapter.model_fields})

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class EmbeddingRef(RequestPart):
    """Which textual inversion was used."""

    name: str = Field(description="Its name in the prompts.")
    digest: Digest = Field(description="SHA-256 of its file.")
    vectors: int = Field(ge=1, description="How many tokens it takes.")


class ImageEncoderRef(RequestPart):
    """Which image encoder an IP-Adapter read its picture with."""

    name: str = Field(description="Its file's name, or its folder's.")
    digest: Digest = Field(description="SHA-256 of its file.")


class ControlRef(RequestPart):
    """Which network read a control picture, and how it was used; the fields are those of ``request.Control``."""

    name: str
    digest: Digest | None = Field(
        description="SHA-256 of its weights; None for a reference, which needs none."
    )
    kind: ControlKind | None = None
    image: Digest | None = Field(
        None, description="``pixels_digest`` of its picture; None where that was the initial picture."
    )
    mask: Digest | None = Field(None, description="``pixels_digest`` of its mask.")
    preprocessor: PreprocessOptions | None = None
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    start: Fraction = 0.0
    end: Fraction = 1.0
    mode: Literal["balanced", "prompt", "guess"] = "balanced"
    resize: Literal["crop", "fill", "stretch"] = "crop"
    encoder: ImageEncoderRef | None = Field(None, description="The image encoder of an IP-Adapter.")

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if (name, value) != ("encoder", None)}

    def summary(self) -> dict[str, Any]:
        """Its network, its kind and its weight, for JSON output."""
        return {"name": self.name, "kind": self.kind, "weight": self.weight}

    def options(self, image: ImageSource | None = None, mask: ImageSource | None = None) -> dict[str, Any]:
        """The fields of the control that does the same again.

        Args:
            image: Its picture, of which the record has only the digest.
            mask: Its mask, likewise.
        """
        same = ("kind", "preprocessor", "weight", "start", "end", "mode", "resize")
        return {name: getattr(self, name) for name in same} | {
            "model": None if self.digest is None else self.name,
            "image": image,
            "mask": mask,
        }


class ReferenceRef(RequestPart):
    """A picture that the model looked at."""

    image: Digest = Field(description="``pixels_digest`` of the picture, decoded.")


class RegionRef(RequestPart):
    """A part of the picture with a prompt of its own; the fields are those of ``request.Region``."""

    prompt: str = Field(description="As it was written.")
    expanded_prompt: str = Field(description="With wildcards and variants expanded.")
    mask: Digest = Field(description="``pixels_digest`` of its mask.")
    weight: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)

    @property
    def digests(self) -> tuple[str, str, float]:
        """What makes it the same region, whatever was written."""
        return self.expanded_prompt, self.mask, self.weight


class Versions(RequestPart):
    """Versions of the programs that generated the picture."""

    safelight: str
    torch: str
    diffusers: str
    transformers: str


class Machine(RequestPart):
    """The hardware and arithmetic of the network."""

    device: str = Field(description="As torch names it: cpu, cuda:0 …")
    precision: str = Field(description="Arithmetic of the denoiser: fp32, bf16 …")
    other_precisions: Annotated[dict[str, str], RequestField(omitted_at_default=True)] = Field(
        {},  # pydantic copies it
        description="Arithmetic of the networks that ran in another precision than the denoiser, by name.",
    )
    backend: str = Field(description="What ran the denoiser: eager, openvino …")
    other_backends: Annotated[dict[str, str], RequestField(omitted_at_default=True)] = Field(
        {},
        description="What ran the networks that this backend did not run, by name; or some of their calls, by name, "
        "method and shapes, as 'unet 1x4x16x16 1x77x256'.",
    )
    other_devices: Annotated[dict[str, str], RequestField(omitted_at_default=True)] = Field(
        {}, description="The devices of the networks that ran on another device than the denoiser, by name."
    )
    threads: int = Field(
        ge=1, description="Threads of the network; sums in another order differ in the last bit."
    )
    following: Annotated[tuple[Machine, ...], RequestField(omitted_at_default=True)] = Field(
        (),
        description="What a refiner, and a second pass with a checkpoint of its own, ran on, in this order.",
    )

    @property
    def all_backends(self) -> frozenset[str]:
        """The backends that ran anything."""
        return frozenset({self.backend, *self.other_backends.values()})

    def ran(self, component: str, place: str) -> tuple[str, str]:
        """The backend and the precision that ran a network's calls of a method and shapes.

        Args:
            component: The network's name.
            place: Method and shapes, as in ``other_backends``.
        """
        other = self.other_backends
        backend = other.get(f"{component} {place}") or other.get(component) or self.backend
        return backend, self.other_precisions.get(component, self.precision)


class RecordedVerdict(RequestPart):
    """The verdict of moderation on the picture."""

    policy: str
    version: str
    digest: Digest = Field(description="SHA-256 of the policy's rules.")
    decision: Literal["allow", "review", "block"]


class FileRef(RequestPart):
    """How the file was encoded."""

    kind: Literal["png", "jpeg", "webp"]
    quality: int | None = Field(None, ge=1, le=100, description="Of lossy formats.")
    lossless: bool = False


class RecordHead(RequestPart):
    """The first fields of a record: what it ran on, prompts, size and sampler."""

    format: Literal[1] = Field(FORMAT, description="Version of this record's layout.")
    versions: Versions
    machine: Machine
    batched: bool = Field(
        False, description="Whether it was batched with other pictures: the last bits may then differ."
    )
    mode: Mode
    checkpoint: CheckpointRef
    adapters: tuple[AdapterRef, ...] = ()
    embeddings: Annotated[tuple[EmbeddingRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="The textual inversions that the prompts name."
    )

    prompt: str = Field(description="As it was written.")
    negative_prompt: str = ""
    styles: tuple[str, ...] = ()
    expanded_prompt: str = Field(
        description="With styles, wildcards and variants expanded, and without adapters: what was generated."
    )
    expanded_negative_prompt: str = ""
    composed: Annotated[bool, RequestField(omitted_at_default=True)] = Field(
        False, description="Whether AND composed the prompt; early versions encoded it as a word."
    )
    left_out: Annotated[tuple[str, ...], RequestField(omitted_at_default=True)] = Field(
        (),
        description="Unsupported parts of both prompts that were ignored, as they were written: <hypernet:…>, AND …",
    )

    seed: Seed = Field(description="Of this very picture, not of the first in its batch.")
    variation: Variation | None = Field(None, description="With the seed of this very picture.")
    width: Side = Field(description="Pixels; of the first pass where there are two.")
    height: Side
    steps: Steps
    sampler: str
    schedule: str | None = Field(None, description="None where the sampler has but one.")
    eta: Fraction | None = None
    guidance_scale: Scale


class ReproductionRecord(SamplingOptions, RecordHead):
    """How one picture was made: every value that was used, defaults included."""

    init_image: Digest | None = Field(None, description="``pixels_digest`` of the initial picture, decoded.")
    mask: Digest | None = Field(None, description="``pixels_digest`` of the mask, decoded.")
    strength: Fraction | None = None
    inpaint: Inpaint | None = None
    outpaint: Outpaint | None = None
    hires: Hires | None = None
    hires_checkpoint: Annotated[CheckpointRef | None, RequestField(omitted_at_default=True)] = Field(
        None, description="The weights of the second pass, where they are others."
    )
    hires_adapters: Annotated[tuple[AdapterRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="The adapters of the second pass, where it has a prompt of its own."
    )
    refiner: Refiner | None = None
    refiner_checkpoint: Annotated[CheckpointRef | None, RequestField(omitted_at_default=True)] = Field(
        None, description="The weights of the refiner."
    )
    upscaler: Annotated[Digest | None, RequestField(omitted_at_default=True)] = Field(
        None, description="SHA-256 of the upscaler's network between two passes."
    )
    control: Annotated[tuple[ControlRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="The controls, in the order of the request."
    )
    references: Annotated[tuple[ReferenceRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="The pictures that the model looked at, in order."
    )
    regions: Annotated[tuple[RegionRef, ...], RequestField(omitted_at_default=True)] = Field(
        (), description="Parts of the picture with prompts of their own."
    )

    verdict: RecordedVerdict | None = None
    file: FileRef | None = Field(None, description="None until the picture is written.")
    notes: tuple[str, ...] = Field((), description="What was done that the request did not ask for.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a record from its JSON.

        Raises:
            RecordInvalidError: It is no JSON, has another layout version, or a field is missing, unknown or out of
                range.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise RecordInvalidError(_error_message(error)) from error

    def to_json(self) -> str:
        """The record on one line; equal records give equal text, and every character is valid in XML."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))
        return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def to_dict(self) -> dict[str, Any]:
        """The record for JSON output.

        Fields of later versions are omitted where they are empty, so that older pictures reproduce to the same file.
        """
        body = self.model_dump(mode="json")
        for name in _NEWER_PARTS:
            if body[name] is None:
                del body[name]
        for field in request_fields(type(self)):
            holder = body.get(field.part) if field.part else body
            if field.options.omitted_at_default and field.value_in(self) == field.default and holder:
                del holder[field.name]
        return body

    def to_request(
        self,
        *,
        init_image: ImageSource | None = None,
        mask: ImageSource | None = None,
        control: Mapping[str, ImageSource] = MappingProxyType({}),
        references: Mapping[str, ImageSource] = MappingProxyType({}),
    ) -> GenerationRequest:
        """The request that reproduces this picture, with its prompt already expanded.

        Where an older version treated ``<lora:…>`` and the like as plain text, they are escaped to be plain text
        again.

        Args:
            init_image: The initial picture; the record contains only its digest.
            mask: The mask, likewise.
            control: The pictures and masks of controls, and the masks of regions, by their digests.
            references: The pictures that the model looks at, likewise.

        Raises:
            RequestError: A required initial picture is missing, or the record contradicts itself.
        """
        fields = {name: getattr(self, name) for name in GenerationRequest.model_fields if hasattr(self, name)}
        used = {each.name for each in self.embeddings}
        fields |= {
            "prompt": escape_required(escape_unsupported(self.expanded_prompt, composes=self.composed), used),
            "negative_prompt": escape_required(escape_unsupported(self.expanded_negative_prompt), used),
            "styles": (),
        }
        fields |= {"checkpoint": self.checkpoint.name, "init_image": init_image, "mask": mask}
        fields["adapters"] = tuple(each.adapter for each in self.adapters)
        fields |= {"inpaint": self.inpaint or Inpaint(), "quality": self.quality or DEFAULT_QUALITY}
        fields["noise_source"] = self.noise_source or DEFAULT_NOISE_SOURCE
        if self.hires is not None and self.hires.prompt is not None:
            fields["hires"] = self.hires.model_copy(
                update={
                    "prompt": escape_required(escape_unsupported(self.hires.prompt), used),
                    "adapters": tuple(each.adapter for each in self.hires_adapters),
                }
            )
        if fields["hires"] is not None and fields["hires"].negative_prompt is not None:
            negative = escape_required(escape_unsupported(fields["hires"].negative_prompt), used)
            fields["hires"] = fields["hires"].model_copy(update={"negative_prompt": negative})
        fields["control"] = [
            each.options(control.get(each.image or ""), control.get(each.mask or "")) for each in self.control
        ]
        fields["references"] = [{"image": references.get(each.image)} for each in self.references]
        fields["regions"] = [
            {
                "prompt": escape_required(escape_unsupported(each.expanded_prompt), used),
                "mask": control.get(each.mask),
                "weight": each.weight,
            }
            for each in self.regions
        ]
        return GenerationRequest.parse(**fields)


def differences(record: ReproductionRecord, other: ReproductionRecord) -> list[str]:
    """The differences of two records, one sentence each, in the record's order.

    Args:
        record: The record of the original.
        other: The record of its reproduction here.
    """
    ours, theirs = dict(_flatten(record.to_dict())), dict(_flatten(other.to_dict()))
    names = list(ours) + [name for name in theirs if name not in ours]
    return [
        _difference(name, ours.get(name), theirs.get(name))
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def pixels_digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of shape and samples, in hexadecimal: the same for a picture in every file format.

    Args:
        pixels: uint8, [height, width] or [height, width, channels].
    """
    shape = "x".join(str(side) for side in pixels.shape)
    return hashlib.sha256(f"{shape}\n".encode() + pixels.tobytes()).hexdigest()


def _flatten(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, by its dotted path."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _difference(name: str, ours: object, theirs: object) -> str:
    mine, other = _format_value(name, ours), _format_value(name, theirs)
    if max(len(mine), len(other)) > _MAX_SHOWN:
        return f"{name} differs."
    return f"{name} is {mine} in the record and {other} here."


def _format_value(name: str, value: object) -> str:
    if value is None:
        return "not given"
    short = isinstance(value, str) and name.endswith(("digest", "configs", "init_image", "mask", "upscaler"))
    return f"{str(value)[:12]}…" if short else json.dumps(value, ensure_ascii=False)


def _error_message(error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.field == "format":
        return f"The record has the layout {str(problem.given)[:20]!r}; this Safelight reads layout {FORMAT}."
    return f"The record cannot be read: {problem}."
