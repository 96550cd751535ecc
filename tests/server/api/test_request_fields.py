"""Fields of A1111's API that hold the same value as ours: their ranges and defaults are ours."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from safelight.generation.fields import FieldDescription, request_fields
from safelight.generation.request import GenerationRequest
from safelight.server.api.a1111.schemas import GenerationParameters

FIELDS = request_fields(GenerationRequest)
SAME = [(field, GenerationParameters, field.options.a1111) for field in FIELDS if field.options.a1111]
RANGE = ("type", "minimum", "maximum", "enum")


def test_there_are_such_fields() -> None:
    a1111 = {field.path: field.options.a1111 for field in FIELDS if field.options.a1111}
    assert a1111["guidance_rescale"] == "diffusers_guidance_rescale"


def test_only_fields_of_the_request_itself_have_one() -> None:
    assert not [field.path for field, _, _ in SAME if field.part]


@pytest.mark.parametrize(("field", "body", "name"), SAME, ids=lambda each: getattr(each, "path", ""))
def test_a_field_of_another_api_takes_what_ours_takes(
    field: FieldDescription, body: type[BaseModel], name: str
) -> None:
    schema = body.model_json_schema()["properties"][name]
    theirs = next(each for each in schema.get("anyOf", [schema]) if each.get("type") != "null")
    assert {key: theirs.get(key) for key in RANGE} == {key: field.schema.get(key) for key in RANGE}
    default = body.model_fields[name].get_default()
    assert default in (None, field.default, "") or body.model_fields[name].is_required()
