from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from safelight.server.api.native import segmentation

ROUTE = "/v1/segment"


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_mask_has_the_pictures_size(
    standing: TestClient, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    async def preprocessed(*given: Any) -> bytes:
        """What a worker returns: for a picture that is too large to work on, a smaller mask."""
        asked[:] = given[-3:]
        file = io.BytesIO()
        Image.new("RGB", (8, 6), (255, 255, 255)).save(file, "PNG")
        return file.getvalue()

    monkeypatch.setattr(segmentation, "preprocess", preprocessed)
    width, height = size_of(photographs[1])
    body = {
        "image": text(photographs[1]),
        "points": [{"x": width / 2, "y": height / 4}, {"x": 0, "y": 0, "inside": False}],
        "box": {"left": 0, "top": 0, "right": width, "bottom": height},
        "model": "mine",
    }
    answer = standing.post(ROUTE, json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == ("image/png", "no-store")
    with Image.open(io.BytesIO(answer.content)) as mask:
        assert mask.size == (width, height)
        assert np.asarray(mask).min() == 255
    name, parameters, resolution = asked
    assert (name, resolution) == ("object_mask", None)
    assert parameters == {
        "points": "0.500000000,0.250000000;0.000000000,0.000000000,0",
        "box": "0.000000000,0.000000000,1.000000000,1.000000000",
        "model": "mine",
    }


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({}, "request.missing", "points"),
        ({"points": [{"x": 1}]}, "request.missing", "points.0.y"),
        ({"points": [{"x": 5000, "y": 1}]}, "request.above_maximum", "points.0"),
        ({"points": [{"x": 1, "y": 1}], "model": "/etc/passwd"}, "request.pattern", "model"),
    ],
)
def test_invalid_places_are_refused(
    fields: dict[str, Any], code: str, field: str, standing: TestClient, photographs: list[Path]
) -> None:
    answer = standing.post(ROUTE, json={"image": text(photographs[1])} | fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), answer.text
    assert answer.json()["error"]["field"] == field
