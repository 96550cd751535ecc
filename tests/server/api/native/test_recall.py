from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.generation.recall.test_recall import A1111, BESIDE_A_PICTURE, png
from tests.generation.test_record import BODY, PLAIN

from safelight.generation.infotext import infotext_from_record
from safelight.generation.record import ReproductionRecord
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.jobs.queue_service import QueueService
from safelight.server.api.native.schemas.recall import RecalledRequest

RECORD = ReproductionRecord.model_validate(PLAIN)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_every_way_to_send_a_picture(standing: TestClient, kind: str) -> None:
    told = Metadata(infotext=infotext_from_record(RECORD), record=RECORD.to_json())
    data = encode_image(Image.new("RGB", (8, 8)), kind, told)  # type: ignore[arg-type]
    bare = standing.post("/v1/recall", content=data, headers={"Content-Type": f"image/{kind}"})
    assert bare.status_code == 200
    found = bare.json()
    assert (found["source"], found["fields"]["prompt"]) == ("safelight", "a blue apple, 3d")
    assert (found["fields"]["checkpoint"], found["infotext"]) == ("starter", infotext_from_record(RECORD))
    assert standing.post("/v1/recall", files={"image": data}).json() == found
    assert standing.post("/v1/recall", json={"image": base64.b64encode(data).decode()}).json() == found


def test_recalled_fields_can_be_submitted(client: TestClient, service: QueueService) -> None:
    fields = client.post("/v1/recall", json={"text": A1111}).json()["fields"]
    submitted = client.post("/v1/jobs", json=fields | {"kind": "generate"})
    assert submitted.status_code == 202
    assert submitted.json()["request"]["hires"]["upscaler"] == "latent"


def test_fields_that_need_an_initial_picture_are_marked(client: TestClient) -> None:
    text = ReproductionRecord.model_validate(BODY | {"checkpoint": PLAIN["checkpoint"]}).to_json()
    fields = client.post("/v1/recall", json={"text": text}).json()["fields"] | {"kind": "generate"}
    unusable = BESIDE_A_PICTURE | {"regions"}
    assert fields.keys() >= unusable
    assert client.post("/v1/jobs", json=fields).status_code == 422
    others = {name: value for name, value in fields.items() if name not in unusable}
    assert client.post("/v1/jobs", json=others).status_code == 202
    said = RecalledRequest.model_fields["fields"].description or ""
    assert all(name in said for name in (*unusable, "init_image"))


def test_text(standing: TestClient) -> None:
    found = standing.post("/v1/recall", json={"text": A1111}).json()
    assert (found["source"], found["fields"]["sampler"]) == ("a1111", "DPM++ 2M")
    missing = next(each for each in found["unfilled"] if each["name"] == "checkpoint")
    assert missing == {
        "name": "checkpoint",
        "value": "another name",
        "reason": "There is no such checkpoint here.",
    }
    nothing = {"source": "none", "fields": {}, "infotext": None, "unfilled": []}
    for text in ("", "a red apple", json.dumps({"a": 1})):
        assert standing.post("/v1/recall", json={"text": text}).json() == nothing


def test_styles_of_this_server(client: TestClient, service: QueueService) -> None:
    folder = service.settings.home / "styles"
    folder.mkdir()
    (folder / "ink.json").write_text('{"name": "ink", "prompt": "ink"}')
    text = json.dumps({"prompt": "x", "styles": ["ink", "oil"]})
    assert client.post("/v1/recall", json={"text": text}).json()["fields"]["styles"] == ["ink"]
    (folder / "ink.json").write_text("{")
    assert "styles" not in client.post("/v1/recall", json={"text": text}).json()["fields"]


def test_a_picture_without_metadata(standing: TestClient, photographs: list[Path]) -> None:
    for data in (png(), photographs[0].read_bytes()):
        found = standing.post("/v1/recall", content=data, headers={"Content-Type": "image/png"}).json()
        assert (found["source"], found["fields"]) == ("none", {})
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    answer = standing.post("/v1/recall", content=buffer.getvalue(), headers={"Content-Type": "image/gif"})
    assert answer.json()["source"] == "none"


def test_unreadable_inputs(standing: TestClient) -> None:
    for body in ({}, {"text": "x", "image": "x"}, {"text": 1}, {"text": "x" * 1_000_001}, {"what": 1}):
        assert standing.post("/v1/recall", json=body).status_code == 422
    noise = standing.post("/v1/recall", content=b"noise", headers={"Content-Type": "image/png"})
    assert noise.status_code == 415
    assert noise.json()["error"]["code"].startswith("image.")
    assert standing.post("/v1/recall", content="x", headers={"Content-Type": "text/plain"}).status_code == 415
