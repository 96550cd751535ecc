"""Options of a command for the fields of a request, derived from the request's model.

The model takes half a second to import, so a command's options are made when the command itself is used; the list of
commands shows without them.
"""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperArgument, TyperCommand

from safelight.cli.control_option import parse_control
from safelight.cli.generation import parse_size
from safelight.cli.region_option import parse_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typer._click import Context, Parameter

    from safelight.generation.fields import FieldDescription

REFERENCES = "references"
WRITTEN = {"control": parse_control, "regions": parse_region}
"""Fields whose options are written as text of their own."""
SIZE = "size"
"""An option for two fields, width and height."""
ORDER = (
    *("mask", "strength", "inpaint.fill", "inpaint.blur", "inpaint.only_masked", "inpaint.padding"),
    *("inpaint.invert", "inpaint.soft", "outpaint.left", "outpaint.right", "outpaint.top", "outpaint.bottom"),
    *("negative_prompt", "styles", "checkpoint", "seed", "steps", "sampler", "schedule", "guidance_scale"),
    *(SIZE, "count", "clip_skip", "hires.scale", "hires.upscaler", "hires.strength"),
)
"""Order of the options, which is part of the command line; options of other fields follow in the model's order."""
TYPES: Mapping[str, Any] = {
    "integer": int,
    "number": float,
    "string": str,
    "boolean": bool,
    "array": list[str],
    "image": Path,
}
"""Types of options, by the type of the field's value in JSON."""
PREFIX = "request_"
"""Keeps the names of fields apart from those of the command's own parameters."""
_GIVEN = "safelight.cli.request_options"


class RequestCommand(TyperCommand):
    """A command with an option for each field of a request that has one; they come after the command's arguments."""

    without_group: ClassVar[str]
    """Group of the fields that the command does not offer."""

    @cached_property
    def request_fields(self) -> dict[str, FieldDescription]:
        """The fields that have an option, by path."""
        from safelight.generation.fields import request_fields
        from safelight.generation.request import GenerationRequest

        return {
            field.path: field
            for field in request_fields(GenerationRequest)
            if field.options.cli is not None and field.options.group != self.without_group
        }

    @cached_property
    def _request_options(self) -> Sequence[Parameter]:
        offered = {**self.request_fields, SIZE: None}
        first = [path for path in ORDER if path in offered]
        return _options({path: offered[path] for path in dict.fromkeys([*first, *offered])})

    def get_params(self, ctx: Context) -> list[Parameter]:
        """All parameters, in the order of the help."""
        own = super().get_params(ctx)
        arguments = [each for each in own if isinstance(each, TyperArgument)]
        return [*arguments, *self._request_options, *(each for each in own if each not in arguments)]

    def invoke(self, ctx: Context) -> Any:
        """Run the command with its own parameters; ``given_fields`` returns the others."""
        values = {path: ctx.params.pop(_parameter_name(path)) for path in [*self.request_fields, SIZE]}
        ctx.meta[_GIVEN] = {path: value for path, value in values.items() if _is_given(ctx, path)}
        return super().invoke(ctx)


class TextToImageCommand(RequestCommand):
    """A command that generates from a prompt alone."""

    without_group = "edit"


class ImageToImageCommand(RequestCommand):
    """A command that generates from an image."""

    without_group = "hires"


def given_fields(ctx: typer.Context) -> dict[str, Any]:
    """The fields of a request that were given as options of a ``RequestCommand``.

    Raises:
        UsageError: The size is not two whole numbers, or a control or a region is not written as one.
    """
    from safelight.generation.fields import nest

    given = dict(ctx.meta[_GIVEN])
    size = parse_size(given.pop(SIZE, None))
    for path, parse in WRITTEN.items():
        if path in given:
            given[path] = [parse(text) for text in given[path]]
    if REFERENCES in given:
        given[REFERENCES] = [{"image": path} for path in given[REFERENCES]]
    fields = nest(given) | size
    if not any(fields.get("outpaint", {}).values()):
        fields.pop("outpaint", None)
    return fields


def _is_given(ctx: Context, path: str) -> bool:
    source = ctx.get_parameter_source(_parameter_name(path))
    return source is not None and source.name == "COMMANDLINE"


def _parameter_name(path: str) -> str:
    return PREFIX + path.replace(".", "_")


def _options(fields: Mapping[str, FieldDescription | None]) -> Sequence[Parameter]:
    """Typer's options for fields: those of a function that has a parameter for each of them."""

    def declared() -> None:
        """Has a signature that is known only at run time."""

    parameters = [
        inspect.Parameter(
            _parameter_name(path),
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[annotation | None if default is None else annotation, option],
        )
        for path, field in fields.items()
        for annotation, option, default in [_declaration(field)]
    ]
    declared.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect looks for it
    app = typer.Typer(add_completion=False)
    app.command()(declared)
    return typer.main.get_command(app).params


def _declaration(field: FieldDescription | None) -> tuple[Any, Any, Any]:
    """Type, option and default of a field; None stands for the size."""
    if field is None:
        return str, typer.Option("--size", metavar="WxH", help="Width and height in pixels: 128x128."), None
    cli = field.options.cli
    assert cli is not None
    names = [cli.name, *([cli.short] if cli.short else [])]
    repeated = field.schema["type"] == "array"
    option = typer.Option(
        *names,
        metavar=cli.metavar or None,
        help=f"{field.description} Can be repeated." if repeated else field.description,
        show_default=not field.optional_part,  # without that part, its fields' defaults mean nothing
    )
    return TYPES[field.schema["type"]], option, None if repeated else field.default
