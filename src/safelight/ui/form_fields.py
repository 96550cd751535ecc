"""The controls of the form in Create, derived from the fields of a request; the page's scripts get the same list."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache

from pydantic import BaseModel

from safelight.generation.fields import Control, FieldDescription, FormField, Group, Value, request_fields
from safelight.generation.request import GenerationRequest

CONTROLS: dict[str, Control] = {
    "integer": "slider",
    "number": "slider",
    "boolean": "checkbox",
    "string": "text",
}
"""Kinds of controls, by the type of the field's value in JSON."""


@dataclass(frozen=True)
class FormControl:
    """A control of the form.

    Args:
        name: Path of its field.
        group: Part of the form.
        control: Its kind.
        initial: Initial value.
        unset: The value that is not sent, since it is the field's default or stands for "not given"; None if all are.
        by_checkpoint: Whether the suitable value depends on the checkpoint.
        type: JSON Schema's name for the type of its value: integer, number, boolean or string.
        minimum: Lower end of the range of a slider, of the editor, or of a number that is typed.
        maximum: Its upper end.
        limit: The largest value that can be typed; the request's own limit, which may lie above the slider's end.
        step: Step of a slider.
        choices: Values of a choice, the empty one for "not given"; none where the server's models or samplers are the
            choices.
        aliases: What the field is called elsewhere, by which people search for it.
    """

    name: str
    group: Group
    control: Control
    initial: Value
    unset: Value
    by_checkpoint: bool
    type: str
    minimum: float | None
    maximum: float | None
    limit: float | None
    step: float | None
    choices: tuple[str, ...]
    aliases: tuple[str, ...]


@cache
def form_controls(model: type[BaseModel] = GenerationRequest) -> tuple[FormControl, ...]:
    """The controls for a request's fields, in the model's order."""
    shown = ((field, field.options.form) for field in request_fields(model))
    return tuple(_control(field, form) for field, form in shown if form is not None)


def controls_json(model: type[BaseModel] = GenerationRequest) -> str:
    """The controls for a model's fields as JSON that may stand within a script element."""
    return json.dumps([asdict(each) for each in form_controls(model)]).replace("<", "\\u003c")


def _control(field: FieldDescription, form: FormField) -> FormControl:
    kind = field.schema["type"]
    control = form.control or ("choice" if field.choices else CONTROLS[kind])
    empty = "" if control in ("text", "choice") else None
    default = empty if field.default is None else field.default
    has_range = control in ("slider", "editor") or kind == "number"
    names = (field.options.infotext, *field.options.infotext_aliases, *form.aliases)
    return FormControl(
        name=field.path,
        group=field.options.group,
        control=control,
        initial=default if form.initial is None else form.initial,
        unset=(None if field.info.is_required() else default) if form.unset is None else form.unset,
        by_checkpoint=form.by_checkpoint,
        type=kind,
        minimum=(field.minimum if form.minimum is None else form.minimum) if has_range else None,
        maximum=(field.maximum if form.maximum is None else form.maximum) if has_range else None,
        limit=field.maximum,
        step=form.step,
        choices=("", *field.choices) if field.choices and default == "" else field.choices,
        aliases=tuple(name for name in names if name),
    )
