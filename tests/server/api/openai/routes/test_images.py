from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.api.manual_worker import generate_images, run_worker
from tests.server.conftest import app_client

from safelight.errors import MemoryBudgetError, NonFiniteError
from safelight.jobs.job import Job, Progress
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision
from safelight.server.app import create_app


def png(*, hole: bool = False) -> bytes:
    image = Image.new("RGBA" if hole else "RGB", (64, 32), "red")
    if hole:
        image.paste((0, 0, 0, 0), (0, 0, 32, 32))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def generate(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/images/generations", json={"prompt": "a cat", **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def error_of(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}, "the shape OpenAI's clients read"
    return error


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of a stream's events, whose types are their names."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_pictures_in_base64(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        found = generate(client, n=2, size="64x32", seed=5, steps=4, quality="high")
    assert begun[0].request == {
        "prompt": "a cat",
        "ignore_unsupported": True,
        "count": 2,
        "width": 64,
        "height": 32,
        "seed": 5,
        "steps": 4,
    }
    assert [Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))).format for each in found["data"]] == [
        "PNG"
    ] * 2
    assert (found["size"], found["quality"], found["output_format"]) == ("64x32", "high", "png")
    assert "blocked" not in found
    assert found["checkpoint"] == "starter"


def test_openai_model_names_mean_the_configured_checkpoint(
    open_service: Callable[..., QueueService],
) -> None:
    for name, models, status in (
        ("dall-e-3", {}, 200),
        ("gpt-image-1.5", {}, 200),
        ("chatgpt-image-latest", {}, 200),
        ("dall-e-", {}, 404),
        ("gpt-4o", {}, 404),
        ("gpt-4o", {"gpt-4o": "starter"}, 200),
        ("gpt-4o", {"*": "starter"}, 200),
        ("dall-e-3", {"dall-e-3": "x"}, 404),
        ("dall-e-3", {"*": "x"}, 404),
    ):
        service = open_service(openai_models=models)
        with app_client(create_app(service, service.settings)) as client, run_worker(service):
            response = client.post("/v1/images/generations", json={"prompt": "a cat", "model": name})
        assert response.status_code == status, (name, models)
        if status == 200:
            assert response.json()["checkpoint"] == "starter"
        elif not models:
            assert "openai_models" in error_of(response)["message"]
            assert error_of(response)["code"] == "model_not_found"


def retry_headers(client: TestClient, number: int, path: str = "generations", **sent: Any) -> Any:
    """Send a request as OpenAI's client does."""
    headers = {"x-stainless-retry-count": str(number)}
    return client.post(f"/v1/images/{path}", headers=headers, **sent)


def test_a_retry_of_the_client_is_the_same_job(client: TestClient, service: QueueService) -> None:
    body = {"prompt": "a cat"}
    with run_worker(service) as begun:
        first, second = (retry_headers(client, 0, json=body).json() for _ in range(2))
        again = retry_headers(client, 1, json=body).json()
        retry_headers(client, 1, json=body | {"seed": 5})
        retry_headers(client, 0, json=body)
    assert first != second
    assert again == second
    assert [job.request.get("seed") for job in begun].count(5) == 1
    assert len(begun) == 4


def test_a_retry_of_a_form_is_the_same_job(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        for number in (0, 2):
            files = {"image": png(), "mask": png(hole=True)}
            retry_headers(client, number, "edits", data={"prompt": "x"}, files=files)
        retry_headers(client, 2, "edits", data={"prompt": "x"}, files={"image": png()})
    assert len(begun) == 2


def test_a_job_of_another_user_is_not_taken_for_a_retry(people: Any, service: QueueService) -> None:
    with run_worker(service) as begun:
        for name in ("anna", "berta", "anna"):
            assert retry_headers(people(name), 1, json={"prompt": "a cat"}).status_code == 200
    assert [job.owner for job in begun] == ["anna", "berta"]


def test_a_failed_job_is_not_retried(client: TestClient, service: QueueService) -> None:
    def fail(service: QueueService, job: Job) -> None:
        service.store.fail(job, NonFiniteError())

    with run_worker(service, fail) as begun:
        failed = retry_headers(client, 0, json={"prompt": "a cat"})
        retry_headers(client, 1, json={"prompt": "a cat"})
    assert (failed.status_code, failed.headers["x-should-retry"]) == (500, "false")
    assert error_of(failed)["code"] == "generation.numbers"
    assert len(begun) == 1
    refused = retry_headers(client, 0, json={"prompt": "a cat", "n": 11})
    assert "x-should-retry" not in refused.headers


def test_urls_point_to_the_gallery(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        found = generate(client, response_format="url")
    address = found["data"][0]["url"]
    assert address.startswith("http://127.0.0.1:7860/v1/gallery/")
    assert client.get(address).headers["content-type"] == "image/png"


def test_a_blocked_picture_is_an_error(client: TestClient, service: QueueService) -> None:
    with run_worker(service, generate_images(Decision.BLOCK)):
        response = client.post("/v1/images/generations", json={"prompt": "a cat"})
    error = error_of(response)
    assert (response.status_code, error["code"], error["type"]) == (
        400,
        "moderation_blocked",
        "invalid_request_error",
    )


def test_some_blocked_pictures_are_left_out_and_counted(client: TestClient, service: QueueService) -> None:
    with run_worker(service, generate_images(Decision.ALLOW, Decision.BLOCK, Decision.REVIEW)):
        found = generate(client, n=3)
    assert (len(found["data"]), found["blocked"]) == (2, 1)


def test_the_same_idempotency_key_is_the_same_job(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        answers = [
            client.post(
                "/v1/images/generations", json={"prompt": "a cat"}, headers={"Idempotency-Key": "k"}
            ).json()
            for _ in range(2)
        ]
    assert len(begun) == 1
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "gpt-4o"}, 404, "model_not_found", None),
        ({"model": "/etc/passwd"}, 404, "model_not_found", None),
        ({"background": "transparent"}, 400, "request.field", "background"),
        ({"n": 11}, 400, "request.invalid", "n"),
        ({"size": "large"}, 400, "request.invalid", "size"),
        ({"output_format": "gif"}, 400, "request.invalid", "output_format"),
        ({"frame_count": 4}, 400, "request.invalid", "frame_count"),
        ({"prompt": None}, 400, "request.invalid", "prompt"),
        ({"size": "99999x16"}, 400, "request.invalid", None),
    ],
)
def test_refused_requests(
    standing: TestClient, body: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    response = standing.post("/v1/images/generations", json={"prompt": "a cat", **body})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert standing.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_an_edit_with_a_mask(client: TestClient, service: QueueService, name: str) -> None:
    files = {name: ("a.png", png()), "mask": ("m.png", png(hole=True))}
    with run_worker(service) as begun:
        response = client.post(
            "/v1/images/edits", data={"prompt": "a hat", "n": "1", "quality": "low"}, files=files
        )
    assert response.status_code == 200, response.text
    assert len(response.json()["data"]) == 1
    mask = begun.input_image(0, "mask")
    assert [mask.getpixel((x, 5)) for x in (2, 60)] == [255, 0]
    assert begun[0].request["steps"] == 10


def test_an_edit_without_a_mask(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        client.post(
            "/v1/images/edits", data={"prompt": "x", "input_fidelity": "high"}, files={"image": png()}
        )
    assert "mask" not in begun[0].request
    assert begun[0].request["strength"] == 0.5


def test_a_checkpoint_that_looks_at_references_gets_all_pictures(
    client: TestClient, service: QueueService, tiny: Callable[[str], Path]
) -> None:
    (service.settings.home / "checkpoints").mkdir(exist_ok=True)
    for name in ("flux2-klein", "flux-kontext"):
        (service.settings.home / "checkpoints" / name).symlink_to(tiny(name))
    files = [("image[]", png()), ("image[]", png(hole=True))]
    with run_worker(service) as begun:
        several = client.post("/v1/images/edits", data={"prompt": "x", "model": "flux2-klein"}, files=files)
        masked = client.post(
            "/v1/images/edits",
            data={"prompt": "x", "model": "flux-kontext"},
            files=[*files, ("mask", png(hole=True))],
        )
        begin = client.post(
            "/v1/images/edits",
            data={"prompt": "x", "model": "flux2-klein", "strength": "0.5"},
            files=files[:1],
        )
    assert [each.status_code for each in (several, masked, begin)] == [200, 200, 200], several.text
    requests = [job.request for job in begun]
    assert [len(each.get("references", ())) for each in requests] == [2, 1, 0]
    assert [("init_image" in each, "mask" in each) for each in requests] == [
        (False, False),
        (True, True),
        (True, False),
    ]
    assert "strength" not in requests[0]
    too_many = client.post("/v1/images/edits", data={"prompt": "x", "model": "flux-kontext"}, files=files)
    assert (too_many.status_code, error_of(too_many)["param"]) == (400, "image")
    assert "at most 1 reference" in error_of(too_many)["message"]


def test_a_variation(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        response = client.post(
            "/v1/images/variations", data={"n": "2", "size": "64x64"}, files={"image": png()}
        )
    assert len(response.json()["data"]) == 2
    assert "quality" not in response.json()
    assert (begun[0].request["strength"], begun[0].request["count"], begun[0].request["width"]) == (
        0.6,
        2,
        64,
    )


@pytest.mark.parametrize(
    ("path", "data", "files", "status", "param"),
    [
        ("edits", {"prompt": "x"}, [], 400, "image"),
        ("edits", {"prompt": "x"}, [("other", png())], 400, "other"),
        ("edits", {"prompt": "x"}, [("image[]", png()), ("image[]", png())], 400, "image"),
        ("edits", {"prompt": "x"}, [("image", b"no picture")], 415, None),
        ("edits", {"prompt": "x"}, [("image", png()), ("mask", png())], 400, None),
        ("edits", {"prompt": "x", "svg[model]": "y"}, [("image", png())], 400, "svg[model]"),
        ("edits", {}, [("image", png())], 400, "prompt"),
        ("variations", {"prompt": "x"}, [("image", png())], 400, "prompt"),
        ("variations", {"n": "1"}, [], 400, "image"),
        ("variations", {"model": "gpt-4o"}, [("image", png())], 404, None),
    ],
)
def test_refused_forms(
    standing: TestClient, path: str, data: dict[str, str], files: list[Any], status: int, param: str | None
) -> None:
    fields = [(name, (None, value)) for name, value in data.items()]  # a form also where it has no file
    response = standing.post(f"/v1/images/{path}", files=[*fields, *files])
    assert response.status_code == status, response.text
    assert error_of(response)["param"] == param
    assert standing.get("/v1/jobs").json()["jobs"] == []


def generate_with_previews(service: QueueService, job: Job) -> None:
    """A job handler that stores four previews."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "blue").save(out, "WEBP")
    for step in range(1, 5):
        share = Progress(stage="first pass", step=step, steps=5, fraction=step / 5)
        service.store.report(job, share, out.getvalue())
    time.sleep(0.7)
    generate_images()(service, job)


def test_a_stream_has_previews_and_pictures(client: TestClient, service: QueueService) -> None:
    body = {"prompt": "a cat", "stream": True, "partial_images": 1, "output_format": "jpeg", "n": 2}
    with run_worker(service, generate_with_previews):
        response = client.post("/v1/images/generations", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [each["type"] for each in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
        "image_generation.completed",
    ]
    assert events[0]["partial_image_index"] == 0
    for event in events:
        assert Image.open(io.BytesIO(base64.b64decode(event["b64_json"]))).format == "JPEG"
    assert events[1]["usage"]["total_tokens"] == 0
    assert events[1]["checkpoint"] == "starter"


def test_the_stream_of_an_edit_without_previews(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        response = client.post(
            "/v1/images/edits", data={"prompt": "x", "stream": "true"}, files={"image": png()}
        )
    assert [each["type"] for each in events_of(response.text)] == ["image_edit.completed"]


def test_a_stream_sends_failures_as_events(client: TestClient, service: QueueService) -> None:
    def fail(service: QueueService, job: Job) -> None:
        service.store.fail(job, MemoryBudgetError("It would be too large."))

    body = {"prompt": "a cat", "stream": True}
    with run_worker(service, fail):
        (failed,) = events_of(client.post("/v1/images/generations", json=body).text)
    with run_worker(service, generate_images(Decision.BLOCK)):
        (blocked,) = events_of(client.post("/v1/images/generations", json=body).text)
    assert (failed["type"], failed["error"]["code"]) == ("error", "memory.budget")
    assert blocked["error"]["code"] == "moderation_blocked"


def test_invalid_stream_requests_are_refused_before_the_stream(standing: TestClient) -> None:
    body = {"prompt": "a cat", "stream": True, "model": "gpt-4o"}
    assert standing.post("/v1/images/generations", json=body).status_code == 404
