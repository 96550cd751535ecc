"""What is derived from the description of a request's fields."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field

from safelight.generation.fields import RequestField, fields_by_path, nest, request_fields
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest

FIELDS = fields_by_path(GenerationRequest)


class Inner(BaseModel):
    share: Annotated[float, RequestField(infotext="Share")] = Field(0.5, ge=0, lt=2, description="A share.")


class Outer(BaseModel):
    inner: Inner | None = None
    always: Inner = Inner()
    several: tuple[Inner, ...] = ()
    plain: int | None = None


def test_nested_fields_have_the_path_of_their_model() -> None:
    found = {field.path: field for field in request_fields(Outer)}
    assert list(found) == ["inner.share", "always.share", "several", "plain"]
    assert (found["inner.share"].part, found["inner.share"].name) == ("inner", "share")
    assert found["inner.share"].optional_part
    assert not found["always.share"].optional_part
    assert not found["plain"].optional_part
    assert found["plain"].options == RequestField()


def test_defaults_and_ranges_are_the_models() -> None:
    share = fields_by_path(Outer)["always.share"]
    assert (share.default, share.minimum, share.maximum, share.description) == (0.5, 0, None, "A share.")
    assert (FIELDS["steps"].minimum, FIELDS["steps"].maximum, FIELDS["steps"].default) == (1, 1000, None)
    assert (FIELDS["hires.scale"].minimum, FIELDS["hires.scale"].maximum) == (1, 8)
    assert FIELDS["inpaint.fill"].choices == ("original", "blur", "noise")
    assert FIELDS["mask"].is_image


def test_values_are_found_where_they_are() -> None:
    assert FIELDS["hires.scale"].value_in(GenerationRequest(prompt="a")) is None
    request = GenerationRequest(prompt="a", hires={"scale": 3})  # type: ignore[arg-type]  # as JSON has it
    assert FIELDS["hires.scale"].value_in(request) == 3
    assert nest({"prompt": "a", "hires.scale": 3.0}) == {"prompt": "a", "hires": {"scale": 3.0}}


def test_ranges_of_forms_lie_within_those_of_the_fields() -> None:
    for field in FIELDS.values():
        form = field.options.form
        if form is None:
            continue
        assert form.maximum is None or (field.maximum is not None and form.maximum < field.maximum), (
            field.path
        )
        within = form.minimum is None or form.minimum == form.unset or form.minimum > (field.minimum or 0)
        assert within, f"{field.path}: the form's range begins where the field's does, or before it"


def test_every_field_that_changes_pixels_is_in_the_record() -> None:
    recorded = fields_by_path(ReproductionRecord).keys()
    for field in FIELDS.values():
        assert field.path in recorded or not field.options.changes_pixels or field.path == "checkpoint"


def test_ranges_in_descriptions_are_the_fields() -> None:
    for field in FIELDS.values():
        for ends in re.findall(r"(\d+) to (\d+)", field.description):
            assert [float(end) for end in ends] == [field.minimum, field.maximum], field.path


def test_every_field_is_explained() -> None:
    assert [field.path for field in FIELDS.values() if not field.description] == []
