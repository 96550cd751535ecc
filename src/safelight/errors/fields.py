"""Errors of one field of a request: each says what is wrong with it by its code, so that a form can show it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from safelight.errors.api import BodyInvalidError


class FieldError(BodyInvalidError):
    """A field has a value that cannot be used."""

    code = "request.value"
    summary = "A field has a value that cannot be used."
    keys: ClassVar[Mapping[str, str]] = {}
    """The names that pydantic gives the values of the context, and ours."""


class FieldUnknownError(FieldError):
    """The request has no such field."""

    code = "request.unknown_field"
    summary = "There is no field of that name."


class FieldMissingError(FieldError):
    """A required field is missing."""

    code = "request.missing"
    summary = "A field that is needed is not there."


class FieldTypeError(FieldError):
    """The value has the wrong type."""

    code = "request.type"
    summary = "A field has a value of the wrong type."


class BelowMinimumError(FieldError):
    """The value is too small."""

    code = "request.below_minimum"
    summary = "A value is below its minimum."
    keys: ClassVar[Mapping[str, str]] = {"ge": "minimum", "gt": "above"}


class AboveMaximumError(FieldError):
    """The value is too large."""

    code = "request.above_maximum"
    summary = "A value is above its maximum."
    keys: ClassVar[Mapping[str, str]] = {"le": "maximum", "lt": "below"}


class NotMultipleError(FieldError):
    """The value is not a multiple of a number."""

    code = "request.not_multiple"
    summary = "A value is no multiple of what it must be a multiple of."
    keys: ClassVar[Mapping[str, str]] = {"multiple_of": "multiple"}


class TooManyPixelsError(FieldError):
    """Width times height is more than the checkpoint's family can generate."""

    code = "request.too_many_pixels"
    summary = "Width times height is more than the checkpoint's family can generate."
    default_field = "width"


class TooShortError(FieldError):
    """A text or a list is too short."""

    code = "request.too_short"
    summary = "A text or a list is shorter than it must be."
    keys: ClassVar[Mapping[str, str]] = {"min_length": "minimum"}


class TooLongError(FieldError):
    """A text or a list is too long."""

    code = "request.too_long"
    summary = "A text or a list is longer than it may be."
    keys: ClassVar[Mapping[str, str]] = {"max_length": "maximum"}


class NotAChoiceError(FieldError):
    """The value is none of the possible ones."""

    code = "request.choice"
    summary = "A value is none of those that are possible."


class PatternError(FieldError):
    """A text does not have the required form."""

    code = "request.pattern"
    summary = "A text does not have the form that it must have."


class PictureNeededError(FieldError):
    """The field is for changing a picture, and there is none."""

    code = "request.picture_needed"
    summary = "The field needs an initial picture."


class FieldConflictError(FieldError):
    """Two fields exclude each other; the context names the other one."""

    code = "request.conflict"
    summary = "Two fields cannot be used together."


class NothingRunsError(FieldError):
    """The denoising strength is so low that no step runs."""

    code = "request.no_step"
    summary = "The denoising strength is so low that no step runs."
    default_field = "strength"


class InvalidField(Protocol):
    """What is wrong with a field, as ``validation.Problem`` has it."""

    @property
    def field(self) -> str:
        """The field's path, with dots."""

    @property
    def message(self) -> str:
        """What is wrong with it."""

    @property
    def type(self) -> str:
        """Pydantic's name for it, or the code of one of these errors."""

    @property
    def context(self) -> Mapping[str, Any]:
        """Pydantic's values for the message."""


_BY_TYPE: Mapping[str, type[FieldError]] = {
    "extra_forbidden": FieldUnknownError,
    "missing": FieldMissingError,
    "union_tag_not_found": FieldMissingError,
    "greater_than": BelowMinimumError,
    "greater_than_equal": BelowMinimumError,
    "less_than": AboveMaximumError,
    "less_than_equal": AboveMaximumError,
    "multiple_of": NotMultipleError,
    "too_short": TooShortError,
    "string_too_short": TooShortError,
    "bytes_too_short": TooShortError,
    "too_long": TooLongError,
    "string_too_long": TooLongError,
    "bytes_too_long": TooLongError,
    "literal_error": NotAChoiceError,
    "enum": NotAChoiceError,
    "union_tag_invalid": NotAChoiceError,
    "string_pattern_mismatch": PatternError,
}
_OWN_CODES: Mapping[str, type[FieldError]] = {
    kind.code: kind for kind in (PictureNeededError, FieldConflictError, AboveMaximumError, FieldMissingError)
}
"""Errors that our own validators raise, as ``PydanticCustomError`` of this type with the field in its context."""
_TYPES = {
    "int": "integer",
    "float": "number",
    "finite": "number",
    "bool": "boolean",
    "string": "string",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "model": "object",
}
"""The first words of pydantic's names for wrong types, and JSON Schema's names for what is expected."""


def field_error(problem: InvalidField, message: str) -> BodyInvalidError:
    """The error about one field.

    Args:
        problem: What is wrong with it.
        message: The error's message.
    """
    kind, context, field = _kind_of(problem), dict[str, Any](), problem.field
    given = problem.context
    if kind is NotAChoiceError:
        quoted = str(given.get("expected") or given.get("expected_tags") or "")  # 'one', 'two' or 'three'
        context["choices"] = quoted.split("'")[1::2]
    elif kind is FieldTypeError:
        context["expected"] = _TYPES[problem.type.partition("_")[0]]
    elif issubclass(kind, FieldError):
        context = {ours: given[name] for name, ours in kind.keys.items() if name in given}
    if problem.type.startswith("union_tag"):
        field = ".".join(filter(None, (field, str(given.get("discriminator", "")).strip("'"))))
    if problem.type in _OWN_CODES:
        context = {name: value for name, value in given.items() if name != "field"}
        own = str(given.get("field") or "")
        within = (
            field if field.rpartition(".")[2].isdecimal() else ""
        )  # an item of a list, which has fields itself
        field = ".".join(filter(None, (within, own))) or field
    return kind(message, field=field, context=context) if field else BodyInvalidError(message)


def _kind_of(problem: InvalidField) -> type[BodyInvalidError]:
    """The class of an error; of a problem that none is known for, their base class."""
    if kind := _OWN_CODES.get(problem.type) or _BY_TYPE.get(problem.type):
        return kind
    first, _, rest = problem.type.partition("_")
    is_type = first in _TYPES and rest in (
        "type",
        "parsing",
        "from_float",
        "number",
        "attributes_type",
        "unicode",
    )
    return FieldTypeError if is_type or problem.type == "model_attributes_type" else BodyInvalidError
