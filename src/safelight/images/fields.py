"""Image fields of pydantic models: one walk finds the images of a request, one replaces them, however deeply nested.

A field that holds an image, or several, is marked once, where it is declared:

    class Control(BaseModel):
        image: Annotated[bytes, ImageField()]

    class Request(BaseModel):
        control: tuple[Control, ...] = ()
        references: tuple[Annotated[bytes, ImageField()], ...] = ()

Whatever has to do with all images of a request (storing, sending, judging) walks the types and knows no field by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str | int, ...]
Values = TypeVar("Values", bound=BaseModel | dict[str, Any])


@dataclass(frozen=True)
class ImageField:
    """Marks a field, or the items of one, as images.

    In a list the items are marked, not the list.

    Args:
        judged: Whether moderation judges them before they are used; masks are not judged.
    """

    judged: bool = True


@dataclass(frozen=True)
class FoundImage:
    """An image within a request.

    Args:
        path: The field's name; in front of it those of the models and the positions in the lists that it is nested in.
        value: The image, in whatever form it is there.
        field: How the field is marked.
    """

    path: Path
    value: Any
    field: ImageField

    @property
    def name(self) -> str:
        """The path as people write it: ``control[0].image``."""
        first, *others = self.path
        return f"{first}" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in others)


def find_images(model: type[BaseModel], values: BaseModel | Mapping[str, Any]) -> Iterator[FoundImage]:
    """Each image of a request, in the order of its fields; fields without a value have none.

    Args:
        model: The request's type.
        values: The request, or its fields as a mapping, with nested models as mappings.
    """
    found: list[FoundImage] = []

    def keep(image: FoundImage) -> Any:
        found.append(image)
        return image.value

    _replaced(model, values, (), keep)
    return iter(found)


def replace_images(model: type[BaseModel], values: Values, replace: Callable[[FoundImage], Any]) -> Values:
    """A copy of a request with another value for each image; what has no images is shared.

    Args:
        model: The request's type.
        values: The request, or its fields as a mapping, with nested models as mappings.
        replace: Returns the new value; a model's are not validated again.
    """
    replaced: Values = _replaced(model, values, (), replace)
    return replaced


def image_fields(model: type[BaseModel]) -> dict[str, bool]:
    """The names of a model's own fields that hold images, and whether they hold several."""
    return {field.name: field.several for field in _fields(model) if field.image is not None}


def models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The models that a type is made of, as those of a union or a list."""
    parts = _parts(annotation)
    return tuple(part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))


@dataclass(frozen=True)
class _Field:
    """A field that holds images, or models that may.

    Args:
        name: Its name.
        image: How it is marked; None for models.
        several: Whether it holds a list.
        models: The models that it may hold.
    """

    name: str
    image: ImageField | None
    several: bool
    models: tuple[type[BaseModel], ...]


@cache
def _fields(model: type[BaseModel]) -> tuple[_Field, ...]:
    found = []
    for name, info in model.model_fields.items():
        parts = [*info.metadata, *_parts(info.annotation)]
        image = next((part for part in parts if isinstance(part, ImageField)), None)
        models = models_in(info.annotation)
        if image is not None or models:
            found.append(_Field(name, image, _is_list(info.annotation), models))
    return tuple(found)


def _is_list(annotation: Any) -> bool:
    """Whether a type holds several items that are marked as images."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (list, tuple):
        return any(isinstance(part, ImageField) for each in arguments for part in _parts(each))
    return any(_is_list(each) for each in arguments)


def _parts(annotation: Any) -> Iterator[Any]:
    """All types and marks that an annotation is made of."""
    yield get_origin(annotation) or annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _replaced(model: type[BaseModel], values: Any, path: Path, replace: Callable[[FoundImage], Any]) -> Any:
    """The values with their images replaced; they themselves where nothing changes."""
    given = values.__dict__ if isinstance(values, BaseModel) else values
    changed = {}
    for field in _fields(model):
        if (old := given.get(field.name)) is None:
            continue
        new = _replaced_value(field, old, (*path, field.name), replace)
        if new is not old:
            changed[field.name] = new
    if not changed:
        return values
    return values.model_copy(update=changed) if isinstance(values, BaseModel) else {**values, **changed}


def _replaced_value(field: _Field, value: Any, path: Path, replace: Callable[[FoundImage], Any]) -> Any:
    if isinstance(value, list | tuple):
        items = [_replaced_value(field, item, (*path, index), replace) for index, item in enumerate(value)]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, BaseModel):
        return _replaced(type(value), value, path, replace)
    if field.image is not None:
        return None if value is None else replace(FoundImage(path, value, field.image))
    if isinstance(value, Mapping):
        for model in field.models:  # which one of several it is shows when it is validated
            value = _replaced(model, value, path, replace)
    return value
