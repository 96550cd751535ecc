from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from safelight.validation import Problem, first_problem


class Inner(BaseModel):
    size: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parts: list[Inner] = []
    low: int = 0

    @model_validator(mode="after")
    def _low(self) -> Outer:
        if self.low < 0:
            raise ValueError("low is below 0")
        return self


def problem(skip: int = 0, **fields: object) -> Problem:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(fields)
    return first_problem(caught.value, skip=skip)


def test_the_first_problem_names_its_field() -> None:
    found = problem(parts=[{"size": 1}, {"size": "large"}], low="none")
    assert found.field == "parts.1.size"
    assert str(found) == f"parts.1.size: {found.message}"
    assert (found.type, found.given) == ("int_parsing", "large")
    assert problem(skip=1, parts=[{"size": "large"}]).field == "0.size"
    assert problem(colour="red").type == "extra_forbidden"


def test_a_model_level_problem_has_no_field() -> None:
    assert str(problem(low=-1)) == "Value error, low is below 0"
