from __future__ import annotations

from typing import Any

import pytest

from safelight.cli.region_option import parse_region
from safelight.errors import UsageError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("left.png=a red apple", {"mask": "left.png", "prompt": "a red apple"}),
        ("a b.png:0.5=x = (y:1.2)", {"mask": "a b.png", "weight": "0.5", "prompt": "x = (y:1.2)"}),
        ('{"mask": "m.png", "prompt": "x"}', {"mask": "m.png", "prompt": "x"}),
    ],
)
def test_a_region_as_text(text: str, fields: dict[str, Any]) -> None:
    assert parse_region(text) == fields


@pytest.mark.parametrize("text", ["left.png", "=a", '{"mask": '])
def test_other_texts_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="--region"):
        parse_region(text)
