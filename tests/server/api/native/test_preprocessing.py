from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.errors import BlockedError
from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.core.moderation_service import ModerationService
from safelight.server.security.keys import KeyStore
from safelight.settings import Settings

ROUTE = "/v1/preprocess"


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def test_a_result_is_the_same_however_the_picture_is_sent(
    standing: TestClient, photographs: list[Path]
) -> None:
    fields = {"preprocessor": "canny", "parameters": {"low": 50}, "resolution": 128}
    answers = [
        standing.post(ROUTE, json=fields | {"image": text(photographs[1])}),
        standing.post(
            ROUTE, files={"image": photographs[1].read_bytes()}, data={"request": json.dumps(fields)}
        ),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == ("image/png", "no-store")
        assert answer.content == answers[0].content
    found = pixels(answers[0].content)
    assert found.shape == (128, 192, 3)
    image = Image.open(photographs[1]).convert("RGB")
    expected = PREPROCESSORS["canny"].run(
        image, {"low": 50}, resolution=128, context=PreprocessContext(Settings())
    )
    assert np.array_equal(found, np.asarray(expected))


def test_pictures_are_upright_and_opaque(standing: TestClient) -> None:
    picture = Image.new("RGBA", (30, 20), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 30, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    answer = standing.post(
        ROUTE, json={"image": base64.b64encode(file.getvalue()).decode(), "preprocessor": "tile"}
    )
    found = pixels(answer.content)
    assert found.shape == (30, 20, 3)
    assert found[15, 2].tolist() == [255, 0, 0]
    assert found[15, 17].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"preprocessor": "canyn"}, 404, "preprocessor.unknown", "preprocessor"),
        ({"preprocessor": "none"}, 404, "preprocessor.unknown", "preprocessor"),
        (
            {"preprocessor": "canny", "parameters": {"low": -1}},
            422,
            "request.below_minimum",
            "parameters.low",
        ),
        ({"preprocessor": "canny", "parameters": {"x": 1}}, 422, "request.unknown_field", "parameters.x"),
        ({"preprocessor": "canny", "resolution": 8}, 422, "request.below_minimum", "resolution"),
        ({"preprocessor": "canny", "image": "/etc/passwd"}, 422, "request.picture", ""),
        ({"preprocessor": "pose"}, 422, "preprocessor.nobody", ""),
        ({"preprocessor": "soft_edge"}, 422, "extra.missing", ""),
        ({}, 422, "request.missing", "preprocessor"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_failures_are_errors_and_never_pictures(
    fields: dict[str, Any], status: int, code: str, field: str, standing: TestClient, photographs: list[Path]
) -> None:
    answer = standing.post(ROUTE, json={"image": text(photographs[3])} | fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"].get("field", "") == field


def test_a_blocked_picture_is_not_preprocessed(
    open_service: Callable[..., QueueService], photographs: list[Path], tmp_path: Path
) -> None:
    policy = tmp_path / "nothing-goes.toml"
    policy.write_text(
        'name = "nothing-goes"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 0.0 }\n'
    )
    service = open_service(policy=str(policy))
    with app_client(create_app(service, service.settings)) as client:
        answer = client.post(ROUTE, json={"image": text(photographs[1]), "preprocessor": "canny"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (BlockedError.http_status, "blocked")


def test_the_result_is_judged_too(
    client: TestClient, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes] = []
    judge = ModerationService.judge

    async def watched(self: ModerationService, images: list[bytes], **options: Any) -> Any:
        judged.extend(images)
        return await judge(self, images, **options)

    monkeypatch.setattr(ModerationService, "judge", watched)
    answer = client.post(ROUTE, json={"image": text(photographs[1]), "preprocessor": "canny"})
    assert judged == [photographs[1].read_bytes(), answer.content]


def test_it_counts_as_a_picture_and_failures_do_not(
    client: TestClient, service: QueueService, photographs: list[Path]
) -> None:
    anna = {"Authorization": f"Bearer {KeyStore(service.engine).add('anna', pictures_per_day=1)}"}
    picture = {"image": text(photographs[3])}
    answers = [
        client.post(ROUTE, json=picture | {"preprocessor": name}, headers=anna)
        for name in ("pose", "grey", "grey")
    ]
    assert [answer.status_code for answer in answers] == [422, 200, 429]


def test_the_list_says_what_each_takes(standing: TestClient) -> None:
    rows = {row["name"]: row for row in standing.get("/v1/preprocessors").json()["preprocessors"]}
    assert list(rows) == list(PREPROCESSORS)
    assert rows["canny"]["parameters"][0] == {
        "name": "low",
        "type": "integer",
        "default": 100,
        "minimum": 0,
        "maximum": 1000,
        "description": "Edges continue where the gradient is above it.",
    }
    assert rows["soft_edge"]["available"] is False
    assert rows["soft_edge"]["extra"] == "soft-edge"
    assert "scribble_xdog" in rows["scribble"]["aliases"]
