from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.api.manual_worker import generate_images, run_worker

from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.jobs.job import JobKind
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision

WORDS = "a cat\nSteps: 4, Sampler: Euler, Seed: 5, Size: 64x32"
PICTURE = base64.b64encode(
    encode_image(
        Image.new("RGB", (64, 32), "red"), "png", Metadata(infotext=WORDS, other_texts={"Title": "cats"})
    )
).decode()


def sizes(*texts: str) -> list[tuple[int, int]]:
    return [Image.open(io.BytesIO(base64.b64decode(text))).size for text in texts]


def test_one_picture(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        answer = client.post(
            "/sdapi/v1/extra-single-image", json={"image": PICTURE, "upscaler_1": "Lanczos"}
        ).json()
    assert begun[0].kind == JobKind.UPSCALE
    assert (begun[0].request["by"], begun[0].request["upscaler"]) == (2.0, "lanczos")
    assert sizes(answer["image"]) == [(64, 32)]
    assert answer["html_info"] == "<p>Postprocess upscale by: 2, Postprocess upscaler: lanczos</p>"


def test_ignored_fields_are_reported(client: TestClient, service: QueueService) -> None:
    sent = {"image": PICTURE, "upscaler_1": "Lanczos", "upscaler_2": None, "<b>": 1}
    with run_worker(service):
        answer = client.post("/sdapi/v1/extra-single-image", json=sent).json()
    assert answer["html_info"].endswith("<p>Ignored: &lt;b&gt;</p>")


def test_one_picture_to_a_size(client: TestClient, service: QueueService) -> None:
    body = {"image": PICTURE, "upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 65}
    with run_worker(service):
        answer = client.post("/sdapi/v1/extra-single-image", json=body | {"upscaling_resize_h": 64}).json()
    assert sizes(answer["image"]) == [(65, 64)], "the worker's result is cut to the size"


def test_several_pictures_are_a_job_each(client: TestClient, service: QueueService) -> None:
    body = {
        "imageList": [{"data": PICTURE, "name": "a"}, {"data": PICTURE, "name": "b"}],
        "upscaler_1": "Nearest",
    }
    with run_worker(service) as begun:
        answer = client.post("/sdapi/v1/extra-batch-images", json=body).json()
    assert (len(begun), sizes(*answer["images"])) == (2, [(64, 32)] * 2)


def test_a_blocked_upscaled_picture_is_withheld(client: TestClient, service: QueueService) -> None:
    with run_worker(service, generate_images(Decision.BLOCK)):
        response = client.post("/sdapi/v1/extra-single-image", json={"image": PICTURE})
    assert (response.status_code, response.json()["error"]) == (403, "blocked")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"upscaler_1": "../../models/x.safetensors"}, 404),
        ({"upscaler_1": "R-ESRGAN 4x+"}, 404),
        ({"gfpgan_visibility": 1}, 422),
        ({"upscaling_resize": 9}, 422),
        ({"image": "!"}, 422),
    ],
)
def test_refused_requests(standing: TestClient, body: dict[str, Any], status: int) -> None:
    response = standing.post("/sdapi/v1/extra-single-image", json={"image": PICTURE, **body})
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "detail", "errors"}
    assert standing.get("/v1/jobs").json()["jobs"] == []


def test_png_info_of_a_picture(standing: TestClient) -> None:
    answer = standing.post("/sdapi/v1/png-info", json={"image": f"data:image/png;base64,{PICTURE}"}).json()
    assert answer["info"] == WORDS
    assert answer["items"] == {"Title": "cats", "parameters": WORDS}
    assert (answer["parameters"]["Seed"], answer["parameters"]["Size-1"]) == ("5", "64")


def test_png_info_of_a_picture_without_infotext(standing: TestClient) -> None:
    plain = base64.b64encode(encode_image(Image.new("RGB", (8, 8)), "png")).decode()
    answer = standing.post("/sdapi/v1/png-info", json={"image": plain}).json()
    assert answer == {"info": "", "items": {}, "parameters": {}}
