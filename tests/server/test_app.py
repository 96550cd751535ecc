from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import huge_png

from safelight.gallery import Entry, NewEntry
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore

OUTSIDE = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..\\..\\etc\\passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:\\Windows\\win.ini",
    "....//....//etc/passwd",
    "%00",
    "a%00.png",
    "~root",
    "file:///etc/passwd",
]


def string_parameters(client: TestClient) -> list[tuple[str, str]]:
    document = client.get("/openapi.json").json()
    return [(method, path) for path, methods in document["paths"].items() for method in methods]


def test_no_path_leads_outside(client: TestClient, server_home: Path) -> None:
    """A path given as a parameter of any route is answered like an unknown name."""
    secret = "root:x:0:0"
    with_parameters = [(method, path) for method, path in string_parameters(client) if "{" in path]
    assert len(with_parameters) >= 10
    for method, path in with_parameters:
        head, _, rest = path.partition("{")
        tail = rest.partition("}")[2].partition("{")[0]
        for outside in OUTSIDE:
            for text in (outside, quote(outside, safe="")):
                response = client.request(method.upper(), head + text + tail, json={})
                assert 400 <= response.status_code < 500, (method, head + text + tail, response.status_code)
                assert secret not in response.text


@pytest.mark.parametrize(
    "name", ["../../starter", "/etc", "~", "owner/name", "starter/../starter", "a\x00b", ""]
)
@pytest.mark.parametrize("field", ["checkpoint", "upscaler"])
def test_names_from_clients_are_no_paths(client: TestClient, field: str, name: str) -> None:
    body = {"kind": "generate", "prompt": "x", "checkpoint": name}
    if field == "upscaler":
        body = {"kind": "generate", "prompt": "x", "hires": {"upscaler": name}}
    response = client.post("/v1/jobs", json=body)
    assert response.status_code in (403, 404, 422), response.text


@pytest.mark.parametrize("job_id", ["0" * 27, "f" * 27, "0", "x" * 27, "1' OR '1'='1", "0" * 5000])
def test_forged_job_ids_are_not_found(client: TestClient, job_id: str) -> None:
    for method, path in string_parameters(client):
        if "{job_id}" in path:
            response = client.request(method.upper(), path.replace("{job_id}", quote(job_id, safe="")))
            assert response.status_code in (404, 422), (method, path, response.status_code)


@pytest.mark.parametrize(
    ("path", "field", "others"),
    [
        ("/v1/moderate", "image", {}),
        ("/v1/jobs", "init_image", {"kind": "generate", "prompt": "x"}),
        ("/v1/jobs", "image", {"kind": "upscale"}),
        ("/sdapi/v1/img2img", "init_images", {"prompt": "x"}),
        ("/sdapi/v1/extra-single-image", "image", {"upscaling_resize": 2}),
    ],
)
def test_decompression_bombs_are_refused_by_their_header(
    client: TestClient, path: str, field: str, others: dict[str, object]
) -> None:
    bomb = base64.b64encode(huge_png(60_000)).decode()
    response = client.post(path, json=others | {field: [bomb] if field.endswith("s") else bomb})
    assert (response.status_code, "image.too_many_pixels" in response.text) == (413, True), response.text


@pytest.fixture
def picture(service: QueueService, photographs: list[Path]) -> Entry:
    """An image that anna owns."""
    return service.gallery.add(
        NewEntry(
            job_id="0" * 27,
            owner="anna",
            created=datetime.now(UTC),
            data=b"\x89PNG\r\n\x1a\n" + bytes(64),
            width=8,
            height=8,
            decision=Decision.ALLOW,
            unsafe=0.0,
            scores={"nsfw": 0.0, "sfw": 1.0},
            policy="standard",
        )
    )


def test_pictures_of_other_owners_are_not_found(
    client: TestClient, service: QueueService, picture: Entry
) -> None:
    operations = [pair for pair in string_parameters(client) if "{entry_id}" in pair[1]]
    assert len(operations) >= 4
    keys = KeyStore(service.engine)
    anna = {"Authorization": f"Bearer {keys.add('anna')}"}
    berta = {"Authorization": f"Bearer {keys.add('berta')}"}
    for method, path in operations:
        response = client.request(
            method.upper(), path.replace("{entry_id}", picture.id), headers=berta, json={}
        )
        assert response.status_code == 404, (method, path, response.text)
    assert client.get("/v1/gallery", headers=berta).json()["entries"] == []
    assert client.get(f"/v1/gallery/{picture.id}", headers=anna).status_code == 200
    assert service.gallery.get(picture.id).id == picture.id


def test_the_app_opens_nothing_before_its_lifespan(service: QueueService) -> None:
    app = create_app(service, service.settings)
    client = TestClient(app, "http://127.0.0.1:7860")
    response = client.get("/v1/system")  # without its lifespan
    assert (response.status_code, response.json()["error"]["code"]) == (503, "server.starting")
    assert client.get("/health/live").status_code == 200
