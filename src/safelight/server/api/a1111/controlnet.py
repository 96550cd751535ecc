"""ControlNet units in ``alwayson_scripts.controlnet``, as clients of A1111's extension and of Forge send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safelight.errors import UnsupportedFieldError, field_error
from safelight.generation.control.units import (
    MODE_LABELS,
    MODES,
    REFERENCE_MODULE,
    RESIZE_LABELS,
    RESIZE_MODES,
    bare_name,
    is_ip_adapter_module,
    label_number,
    module_of,
    name_of,
    preprocessor_options,
)
from safelight.generation.request import MAX_CONTROLS
from safelight.models.controls.kinds import KINDS, kinds_in
from safelight.server.api.a1111.ignored_fields import is_empty
from safelight.server.api.a1111.schemas import GenerationParameters
from safelight.validation import first_problem

SCRIPT = "controlnet"
FIELD = "alwayson_scripts"
_IGNORED = frozenset(
    {
        *(
            "low_vram",
            "lowvram",
            "input_mode",
            "is_ui",
            "loopback",
            "save_detected_map",
            "use_preview_as_input",
        ),
        *("inpaint_crop_input_image", "generated_image", "batch_image_files", "batch_images", "output_dir"),
        *("ipadapter_input", "union_control_type", "animatediff_batch", "batch_modifiers", "batch_image_dir"),
        *("batch_input_gallery", "batch_mask_dir", "batch_mask_gallery", "multi_inputs_gallery", "image_fg"),
        *("mask_image_fg", "pulid_mode", "instant_id_mode", "accepted_preprocessor", "batch_keyframe_idx"),
    }
)
"""Fields of units that say how the extension's page is used or what it saves, or that are for other kinds of models."""
_MUST_BE_EMPTY = frozenset(
    {"ipadapter_input", "batch_images", "advanced_weighting", "image_fg", "batch_image_dir"}
)

_PICTURES = frozenset(
    {
        *("image", "input_image", "mask", "mask_image", "effective_region_mask", "override"),
        *("images", "masks"),  # SD.Next's, of IP-Adapters
    }
)

Number = Annotated[float, Field(allow_inf_nan=False)]


class ControlUnit(BaseModel):
    """A unit; null means absent."""

    model_config = ConfigDict(extra="allow", frozen=True)

    enabled: bool = True
    module: str = Field("none", max_length=500)
    model: str = Field("None", max_length=500)
    weight: Number = Field(1.0, ge=0, le=4)
    image: str | dict[str, Any] | None = None
    mask: str | None = None
    resize_mode: int | str = 1
    processor_res: Number = -1
    threshold_a: Number = -1
    threshold_b: Number = -1
    guidance_start: Number = Field(0.0, ge=0, le=1)
    guidance_end: Number = Field(1.0, ge=0, le=1)
    control_mode: int | str = 0
    pixel_perfect: bool = False

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, given: object) -> object:
        """Take the names of older versions, and leave out what is null."""
        if not isinstance(given, Mapping):
            return given
        fields = {name: value for name, value in given.items() if value is not None}
        for old, new in (
            ("input_image", "image"),
            ("mask_image", "mask"),
            ("effective_region_mask", "mask"),
            ("guidance", "guidance_end"),
            ("enable", "enabled"),
        ):
            if old in fields:
                fields.setdefault(new, fields.pop(old))
        return fields

    @property
    def encoded(self) -> tuple[str | None, str | None]:
        """Its picture and its mask, in base64; None where it has none."""
        if isinstance(self.image, dict):
            picture, mask = self.image.get("image"), self.image.get("mask")
            return (picture or None), (self.mask or mask or None)
        return (self.image or None), (self.mask or None)


def control_units(body: GenerationParameters) -> list[ControlUnit]:
    """The units of a body that are switched on.

    Raises:
        UnsupportedFieldError: A unit asks for something that Safelight does not do.
        BodyInvalidError: A value of a unit cannot be used.
    """
    units = []
    for number, given in enumerate(_arguments(body)):
        if isinstance(given, Mapping) and given.get("enabled", given.get("enable", True)) is False:
            continue
        unit = _parse(number, given)
        if unit.enabled:
            _check(number, unit)
            units.append(unit)
    if len(units) > MAX_CONTROLS:
        raise UnsupportedFieldError(f"{FIELD}: at most {MAX_CONTROLS} ControlNet units.", field=FIELD)
    return units


def _arguments(body: GenerationParameters) -> Sequence[object]:
    found: list[object] = []
    for name, script in body.alwayson_scripts.items():
        if name.casefold() == SCRIPT:
            given = script.get("args") if isinstance(script, Mapping) else script
            found += (
                given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else []
            )
    return [each for each in found if each not in (None, {}, False)]


def _parse(number: int, given: object) -> ControlUnit:
    if not isinstance(given, Mapping):
        raise UnsupportedFieldError(
            f"{FIELD}: ControlNet unit {number} is no object.",
            field=FIELD,
            hint="Give each unit as an object with its fields.",
        )
    try:
        return ControlUnit.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error)
        found = field_error(problem, f"ControlNet unit {number}: {problem}.")
        found.field = f"{FIELD}.{SCRIPT}.{number}.{found.field}".rstrip(".")
        raise found from error


def _check(number: int, unit: ControlUnit) -> None:
    extra = unit.model_extra or {}
    refused = [name for name in _MUST_BE_EMPTY if not is_empty(extra.get(name))]
    if extra.get("hr_option") not in (None, 0, "Both", "HiResFixOption.BOTH"):
        refused.append("hr_option")
    if refused:
        raise UnsupportedFieldError(
            f"{FIELD}: ControlNet unit {number}: {refused[0]} is not supported.",
            field=FIELD,
            hint="Leave it out.",
        )


def unit_fields(number: int, unit: ControlUnit, image: bytes | None, mask: bytes | None) -> dict[str, Any]:
    """The fields of a control.

    Args:
        number: The unit's number.
        unit: It.
        image: Its picture's file; None for the initial picture.
        mask: Its mask's file.

    Raises:
        UnsupportedFieldError: It has neither model nor kind, or a mode that is unknown.
        ControlUnsupportedError: The module needs networks that Safelight does not use.
        PreprocessorUnknownError: There is no such module.
    """
    fields: dict[str, Any] = {
        "weight": unit.weight,
        "start": unit.guidance_start,
        "end": unit.guidance_end,
        "mode": _mode(number, unit, "control_mode", MODE_LABELS, MODES),
        "resize": _mode(number, unit, "resize_mode", RESIZE_LABELS, RESIZE_MODES),
    }
    pictures = {"image": image, "mask": mask}
    given = {name: data for name, data in pictures.items() if data is not None}
    if unit.module.casefold() == REFERENCE_MODULE:
        return fields | {"kind": "reference"} | given
    looks = is_ip_adapter_module(unit.module)
    module = None if looks else module_of(unit.module)
    model = bare_name(unit.model)
    if model:
        fields["model"] = model
    if looks:
        fields["mode"] = "balanced"  # the extension has no control mode for these modules
    kind = "ip-adapter" if looks else _kind(unit, model)
    if kind:
        fields["kind"] = kind
    if not model and not kind:
        raise UnsupportedFieldError(
            f"{FIELD}: ControlNet unit {number} has no model.",
            field=FIELD,
            hint="/controlnet/model_list lists them.",
        )
    if module is not None:
        resolution = None if unit.pixel_perfect else unit.processor_res
        thresholds = unit.threshold_a, unit.threshold_b
        fields["preprocessor"] = preprocessor_options(module, resolution, thresholds)
    return fields | given


def _kind(unit: ControlUnit, model: str) -> str | None:
    """What the picture shows: as the unit says, or its module where the model's name does not."""
    given = str((unit.model_extra or {}).get("union_control_type") or "")
    for text in (given, "" if kinds_in(model) else unit.module):
        if found := kinds_in(text):
            return found[0]
    return None


def _mode(
    number: int, unit: ControlUnit, field: str, labels: tuple[str, ...], names: Mapping[str, int]
) -> str:
    value = getattr(unit, field)
    found = label_number(value, labels)
    if found is None:
        raise UnsupportedFieldError(
            f"{FIELD}: ControlNet unit {number}: {field} {value!r} is none of {', '.join(labels)}.",
            field=FIELD,
        )
    return name_of(found, names)


def without_pictures(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without the pictures of its units, which would come back with every answer."""
    scripts = {
        name: _without(script, _PICTURES) if name.casefold() == SCRIPT else script
        for name, script in body.get(FIELD, {}).items()
    }
    units = {name: _without(body[name], _PICTURES) for name in ("control", "ip_adapter") if name in body}
    return {**body, FIELD: scripts, **units}


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(each, names) for name, each in value.items() if name not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


def control_types() -> list[str]:
    """A1111's control types, for menus."""
    return ["All", *dict.fromkeys(names.title for names in KINDS.values())]


def ignored_unit_fields(body: GenerationParameters) -> list[str]:
    """Names of fields of units without effect, as paths."""
    return [
        f"{FIELD}.{SCRIPT}.{number}.{name}"
        for number, unit in enumerate(control_units(body))
        for name, value in sorted((unit.model_extra or {}).items())
        if name not in _IGNORED and name not in ("hr_option", *_MUST_BE_EMPTY) and not is_empty(value)
    ]
