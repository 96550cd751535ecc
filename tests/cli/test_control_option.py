from __future__ import annotations

from typing import Any

import pytest

from safelight.cli.control_option import parse_control
from safelight.errors import UsageError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("canny=edges.png", {"kind": "canny", "image": "edges.png"}),
        ("OpenPose:0.8=a b.png", {"kind": "pose", "weight": 0.8, "image": "a b.png"}),
        (
            "canny@canny:1.5=photo=1.jpg",
            {"kind": "canny", "preprocessor": {"name": "canny"}, "weight": 1.5, "image": "photo=1.jpg"},
        ),
        ("tile=", {"kind": "tile"}),
        ("ip-adapter:0.7=cat.png", {"kind": "ip-adapter", "weight": 0.7, "image": "cat.png"}),
        ("ip-adapter-plus_sd15=cat.png", {"model": "ip-adapter-plus_sd15", "image": "cat.png"}),
        ("my/control_v11:0.5=x.png", {"model": "my/control_v11", "weight": 0.5, "image": "x.png"}),
        ('{"model": "m", "image": "x.png", "end": 0.5}', {"model": "m", "image": "x.png", "end": 0.5}),
    ],
)
def test_controls_as_text(text: str, fields: dict[str, Any]) -> None:
    assert parse_control(text) == fields


@pytest.mark.parametrize("text", ["canny", "=x.png", "canny:much=x.png", "canny:1.2.3=x.png", "{", "[1]"])
def test_what_is_no_control(text: str) -> None:
    with pytest.raises(UsageError, match="--control"):
        parse_control(text)
