"""Jobs that start from a picture of the gallery, which the server reads itself."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.gallery.conftest import new_entry
from tests.server.api.conftest import GENERATE_REQUEST
from tests.server.api.manual_worker import run_worker
from tests.server.conftest import app_client

from safelight.database import blobs
from safelight.gallery import Entry
from safelight.jobs.job import Job
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision
from safelight.server.app import create_app

NOBODYS = "0" * 22


@pytest.fixture
def apple(service: QueueService) -> Entry:
    """A picture of anna's."""
    return service.gallery.add(new_entry(1))


def submit(client: TestClient, **fields: Any) -> Job:
    answer = client.post("/v1/jobs", json=GENERATE_REQUEST | fields)
    assert answer.status_code == 202, answer.text
    return Job.model_validate(answer.json())


def stored_image(service: QueueService, job: Job, name: str) -> bytes:
    reference = job.request[name]
    assert isinstance(reference, dict)
    with service.read_transaction() as connection:
        return blobs.get(connection, str(reference["blob"]))


def test_upscaling_a_picture_of_the_gallery(client: TestClient, service: QueueService, apple: Entry) -> None:
    answer = client.post("/v1/jobs", json={"kind": "upscale", "parent": apple.id, "by": 3})
    job = Job.model_validate(answer.json())
    assert (answer.status_code, job.parent) == (202, apple.id)
    assert job.request.keys() == {"image", "by"}
    assert stored_image(service, job, "image") == service.gallery.read(apple.id)
    assert client.get(f"/v1/jobs/{job.id}").json()["parent"] == apple.id


def test_starting_from_the_parent(client: TestClient, service: QueueService, apple: Entry) -> None:
    """With the fields that need an initial picture, in JSON and in a form."""
    given = {"parent": apple.id, "init_from_parent": True, "strength": 0.5}
    job = submit(client, **given)
    assert stored_image(service, job, "init_image") == service.gallery.read(apple.id)
    assert not {"parent", "init_from_parent"} & job.request.keys()
    buffer = io.BytesIO()
    Image.new("L", (32, 16), 255).save(buffer, "PNG")
    fields = GENERATE_REQUEST | given
    answer = client.post(
        "/v1/jobs",
        files={"mask": buffer.getvalue()},
        data={"request": json.dumps(fields)},
    )
    assert answer.status_code == 202, answer.text
    assert stored_image(service, Job.model_validate(answer.json()), "init_image") == service.gallery.read(
        apple.id
    )


def test_a_picture_may_be_named_in_place_of_its_bytes(
    client: TestClient, service: QueueService, apple: Entry
) -> None:
    job = submit(client, init_image=f"gallery:{apple.id}")
    assert job.parent is None
    assert stored_image(service, job, "init_image") == service.gallery.read(apple.id)
    scan = client.post("/v1/jobs", json={"kind": "scan", "images": [f"gallery:{apple.id}"] * 2})
    assert scan.status_code == 202


def test_the_parent_of_what_is_only_similar(client: TestClient, apple: Entry) -> None:
    job = submit(client, parent=apple.id, variation={"seed": 3, "strength": 0.2})
    assert (job.parent, job.request.get("init_image")) == (apple.id, None)


def test_the_relation_in_result_and_gallery(client: TestClient, service: QueueService, apple: Entry) -> None:
    with run_worker(service):
        job = submit(client, parent=apple.id, seed=4)
        client.get(f"/v1/jobs/{job.id}/events")
    (found,) = client.get("/v1/gallery", params={"parent": apple.id}).json()["entries"]
    assert (found["job_id"], found["parent_id"], found["relation"]) == (job.id, apple.id, "again")
    (shown,) = client.get(f"/v1/jobs/{job.id}/result").json()["pictures"]
    assert (shown["parent_id"], shown["relation"]) == (apple.id, "again")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"kind": "upscale"}, 422, "request.invalid"),
        ({"kind": "upscale", "parent": NOBODYS}, 404, "gallery.missing"),
        ({"kind": "upscale", "parent": "x"}, 422, "request.pattern"),
        ({"kind": "upscale", "parent": 7}, 422, "request.type"),
        ({"kind": "upscale", "image": f"gallery:{NOBODYS}"}, 404, "gallery.missing"),
        ({"kind": "upscale", "image": "gallery:../../etc/passwd"}, 404, "gallery.missing"),
        ({"kind": "scan", "images": ["gallery:"]}, 404, "gallery.missing"),
        ({"kind": "scan", "images": ["x"], "parent": NOBODYS}, 422, "request.unknown_field"),
        (GENERATE_REQUEST | {"parent": NOBODYS}, 404, "gallery.missing"),
        (GENERATE_REQUEST | {"init_from_parent": True}, 422, "request.invalid"),
        (
            GENERATE_REQUEST | {"init_from_parent": True, "parent": NOBODYS, "init_image": "x"},
            422,
            "request.invalid",
        ),
    ],
)
def test_what_is_refused(
    client: TestClient, service: QueueService, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/jobs", json=fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert service.store.find() == []


def test_a_blocked_and_a_lost_picture(client: TestClient, service: QueueService, apple: Entry) -> None:
    """They can be a parent, but nothing can start from them."""
    blocked = service.gallery.add(new_entry(2, decision=Decision.BLOCK))
    (file,) = (service.settings.home / "gallery").rglob(f"{apple.id}*")
    file.unlink()
    for entry, status, code in ((blocked, 403, "blocked"), (apple, 410, "gallery.file_missing")):
        assert submit(client, parent=entry.id).parent == entry.id
        for fields in ({"kind": "upscale"}, GENERATE_REQUEST | {"init_from_parent": True}):
            answer = client.post("/v1/jobs", json=fields | {"parent": entry.id})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_pictures_of_the_gallery_share_the_limit_of_a_body(open_service: Callable[..., QueueService]) -> None:
    service = open_service(max_request_bytes=16384)
    entry = service.gallery.add(new_entry(1))
    assert entry.size * 2 < 16384 < entry.size * 16
    with app_client(create_app(service, service.settings)) as client:
        for count, status in ((2, 202), (16, 413)):
            answer = client.post("/v1/jobs", json={"kind": "scan", "images": [f"gallery:{entry.id}"] * count})
            assert answer.status_code == status, answer.text


def test_pictures_of_other_owners(people: Callable[[str], TestClient], apple: Entry) -> None:
    for fields in (
        GENERATE_REQUEST | {"parent": apple.id},
        {"kind": "upscale", "parent": apple.id},
        {"kind": "upscale", "image": f"gallery:{apple.id}"},
    ):
        answer = people("berta").post("/v1/jobs", json=fields)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "gallery.missing")
        assert people("anna").post("/v1/jobs", json=fields).status_code == 202
