"""What a request's fields are called elsewhere: on the command line, in forms, in infotexts, in other programs' APIs.

A field is described once, where it is declared:

    class Request(BaseModel):
        steps: Annotated[int, RequestField(group="basic", infotext="Steps", cli=CliOption("--steps", metavar="N"))]

``request_fields`` lists the fields of a model, those of nested models included. Everything that treats fields alike
(options, forms, infotexts, the docs' table) is derived from that list and knows no field by name. A field's default,
range and description are pydantic's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from safelight.images.fields import ImageField

Group = Literal["basic", "edit", "regions", "hires", "fine"]
"""Part of a form: what is always visible, starting from an image, parts with prompts of their own, the second pass, and
fine tuning."""
Control = Literal["slider", "text", "choice", "checkbox", "editor"]
"""Kinds of controls; those of the image editor are its own."""
Value = str | int | float | bool | None


@dataclass(frozen=True)
class CliOption:
    """A field's option on the command line.

    Args:
        name: With two dashes.
        short: With one dash; empty for none.
        metavar: Stands for the value in the help; empty for switches.
    """

    name: str
    short: str = ""
    metavar: str = ""


@dataclass(frozen=True, kw_only=True)
class FormField:
    """How forms show a field; labels and explanations are in the catalogues of ``ui/static/texts``.

    Args:
        control: The kind of control; derived from the field's type if None.
        step: Step of a slider.
        minimum: Lower end of a slider, where the useful range is smaller than the permitted one.
        maximum: Upper end of a slider, likewise.
        initial: Initial value, where the field has no default of its own.
        unset: The value that stands for "not given".
        by_checkpoint: Whether the suitable value depends on the checkpoint.
        aliases: What people may search for, beside the field's key in infotexts: its names in other programs.
    """

    control: Control | None = None
    step: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    initial: Value = None
    unset: Value = None
    by_checkpoint: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RequestField:
    """Describes a field outside the model.

    Args:
        group: Part of forms that it belongs to.
        form: How forms show it; None if they do not.
        infotext: Its key in infotexts; empty if it has none.
        infotext_aliases: Other keys that are read as this one.
        a1111: Name of the field of A1111's API that holds the same value; empty where none does. Only for fields of
            the request itself, not for nested ones.
        cli: Its option on the command line; ``--set`` reaches every field.
        changes_pixels: Whether an image depends on it. Such a field is in the reproduction record.
        omitted_at_default: Whether records leave it out at its default, as they must for a field that is newer than
            the first records: an older image has to be reproduced to the same bytes.
    """

    group: Group = "fine"
    form: FormField | None = None
    infotext: str = ""
    infotext_aliases: tuple[str, ...] = ()
    a1111: str = ""
    cli: CliOption | None = None
    changes_pixels: bool = True
    omitted_at_default: bool = False


@dataclass(frozen=True)
class FieldDescription:
    """A field of a request with everything that is known about it.

    Args:
        path: Its name; that of a nested field with its model's in front, as in ``hires.scale``.
        info: Type, default and description.
        options: Names and presentation.
        optional_part: Whether it is nested in a model that a request may lack.
    """

    path: str
    info: FieldInfo
    options: RequestField
    optional_part: bool = False

    @property
    def part(self) -> str:
        """The field that holds its model; empty for fields of the request itself."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in its model."""
        return self.path.rpartition(".")[2]

    @property
    def description(self) -> str:
        """What it does, in a sentence or two."""
        return self.info.description or ""

    @property
    def default(self) -> Any:
        """Its default; None if it has none."""
        return None if self.info.is_required() else self.info.get_default()

    @property
    def is_image(self) -> bool:
        """Whether it holds an image."""
        return any(isinstance(item, ImageField) for item in self.info.metadata)

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of its value when it is given."""
        if self.is_image:
            return {"type": "image"}
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[self.info.annotation, self.info])  # type: ignore[arg-type]  # known only at run time
        schema = adapter.json_schema()
        types = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
        return dict(types[0])

    @property
    def minimum(self) -> float | None:
        """Smallest permitted value; if it is excluded, the end of the range."""
        minimum: float | None = self.schema.get("minimum", self.schema.get("exclusiveMinimum"))
        return minimum

    @property
    def maximum(self) -> float | None:
        """Largest permitted value."""
        return self.schema.get("maximum")

    @property
    def choices(self) -> tuple[str, ...]:
        """Permitted values of a field that has only a few."""
        return tuple(self.schema.get("enum", ()))

    def value_in(self, model: BaseModel) -> Any:
        """Its value in a model that has the request's fields; None if the part that it belongs to is missing."""
        holder = getattr(model, self.part) if self.part else model
        return None if holder is None else getattr(holder, self.name)


@cache
def request_fields(model: type[BaseModel]) -> tuple[FieldDescription, ...]:
    """The fields of a request's model in order, with nested fields in place of the models that hold them.

    Args:
        model: Its fields are described by ``RequestField``; a field without one has no name elsewhere.
    """
    return tuple(_collect_fields(model, "", optional=False))


def fields_by_path(model: type[BaseModel]) -> dict[str, FieldDescription]:
    """The fields of a request's model by path."""
    return {field.path: field for field in request_fields(model)}


def _collect_fields(model: type[BaseModel], prefix: str, *, optional: bool) -> list[FieldDescription]:
    found = []
    for name, info in model.model_fields.items():
        part = _nested_model(info.annotation)
        if part is not None:
            part_is_optional = not info.is_required() and info.get_default() is None
            found += _collect_fields(part, f"{prefix}{name}.", optional=optional or part_is_optional)
        else:
            options = next((item for item in info.metadata if isinstance(item, RequestField)), RequestField())
            found.append(FieldDescription(f"{prefix}{name}", info, options, optional))
    return found


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one and no list of them."""
    candidates = (
        (annotation, *get_args(annotation)) if get_origin(annotation) in (None, Union, UnionType) else ()
    )
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), None)


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by path as fields of a request, in which nested fields are mappings."""
    fields: dict[str, Any] = {}
    for path, value in values.items():
        part, _, name = path.rpartition(".")
        if part:
            fields.setdefault(part, {})[name] = value
        else:
            fields[name] = value
    return fields
