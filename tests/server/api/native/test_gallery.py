from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.gallery.conftest import NOON, new_entry

from safelight.gallery import Entry
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision

NOBODYS = "0" * 22


@pytest.fixture
def entries(service: QueueService) -> list[Entry]:
    """Four images of anna's and one of berta's, the oldest first."""
    made: list[dict[str, Any]] = [
        {"prompt": "a red apple"},
        {"prompt": "a lighthouse", "sampler": "DPM++ 2M"},
        {"prompt": "a blue apple", "favourite": True, "tags": ("fruit",)},
        {"prompt": "something", "decision": Decision.BLOCK},
        {"prompt": "an apple of berta's", "owner": "berta"},
    ]
    return [
        service.gallery.add(new_entry(number, created=NOON + timedelta(seconds=number), **changes))
        for number, changes in enumerate(made)
    ]


def search_ids(client: TestClient, **query: Any) -> list[str]:
    return [entry["prompt"] for entry in client.get("/v1/gallery", params=query).json()["entries"]]


def test_search(client: TestClient, entries: list[Entry]) -> None:
    assert len(search_ids(client)) == 5
    assert search_ids(client, query="apple", order="newest") == [
        "an apple of berta's",
        "a blue apple",
        "a red apple",
    ]
    assert search_ids(client, query="appl", favourite="true") == ["a blue apple"]
    assert search_ids(client, tag="fruit") == ["a blue apple"]
    assert search_ids(client, sampler="DPM++ 2M") == ["a lighthouse"]
    assert search_ids(client, decision="block") == ["something"]
    assert search_ids(client, seed=1) == ["a lighthouse"]
    assert search_ids(client, since=(NOON + timedelta(seconds=3)).isoformat()) == [
        "an apple of berta's",
        "something",
    ]
    assert search_ids(client, query='") OR 1=1 --') == []


def test_pages(client: TestClient, entries: list[Entry]) -> None:
    shown, after = [], None
    while True:
        page = client.get("/v1/gallery", params={"limit": 2} | ({"after": after} if after else {})).json()
        shown += [entry["id"] for entry in page["entries"]]
        if (after := page["next"]) is None:
            break
    assert shown == [entry.id for entry in reversed(entries)]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 501},
        {"seed": -1},
        {"decision": "odd"},
        {"odd": 1},
        {"since": "odd"},
        {"after": "odd"},
    ],
)
def test_invalid_filters(client: TestClient, query: dict[str, Any]) -> None:
    assert client.get("/v1/gallery", params=query).status_code == 422


def test_facets(client: TestClient, entries: list[Entry]) -> None:
    assert client.get("/v1/gallery/facets").json() == {
        "checkpoints": {"starter": 5},
        "samplers": {"Euler a": 4, "DPM++ 2M": 1},
        "decisions": {"allow": 4, "block": 1},
        "days": {"2026-11-24": 5},
        "tags": {"fruit": 1},
        "collections": {},
    }


def test_the_record_of_an_entry(client: TestClient, entries: list[Entry]) -> None:
    body = client.get(f"/v1/gallery/{entries[0].id}").json()
    assert body["record"]["prompt"] == body["prompt"] == "a red apple"
    assert (body["seed"], body["created"], body["kind"]) == (0, "2026-11-24T12:00:00Z", "png")
    assert body["size"] == entries[0].size


def test_the_file_of_an_entry(client: TestClient, service: QueueService, entries: list[Entry]) -> None:
    path = f"/v1/gallery/{entries[0].id}/file"
    answer = client.get(path)
    assert answer.content == service.gallery.read(entries[0].id)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["ETag"] == f'"{entries[0].sha256}"'
    assert "immutable" in answer.headers["Cache-Control"]
    assert "private" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Disposition"] == f'inline; filename="{entries[0].id}.png"'
    for held in (answer.headers["ETag"], f'"x", W/{answer.headers["ETag"]}', "*"):
        assert client.get(path, headers={"If-None-Match": held}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_thumbnail(client: TestClient, entries: list[Entry]) -> None:
    path = f"/v1/gallery/{entries[0].id}/thumbnail"
    answer = client.get(path, params={"side": 16})
    picture = Image.open(BytesIO(answer.content))
    assert (picture.format, picture.size) == ("WEBP", (16, 8))
    held = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(path, params={"side": 16}, headers=held).status_code == 304
    assert client.get(path, params={"side": 32}, headers=held).status_code == 200
    for side in (15, 1025, "x"):
        assert client.get(path, params={"side": side}).status_code == 422


def test_favourites_and_tags(client: TestClient, service: QueueService, entries: list[Entry]) -> None:
    path = f"/v1/gallery/{entries[0].id}"
    changed = client.patch(path, json={"favourite": True, "tags": ["b", " a ", "b"]}).json()
    assert (changed["favourite"], changed["tags"]) == (True, ["a", "b"])
    assert client.patch(path, json={"favourite": False}).json()["tags"] == ["a", "b"]
    assert client.patch(path, json={"tags": []}).json()["tags"] == []
    for wrong in (
        {"tags": [""]},
        {"tags": ["x"] * 51},
        {"tags": ["x" * 65]},
        {"prompt": "x"},
        {"favourite": "x"},
    ):
        assert client.patch(path, json=wrong).status_code == 422
    assert client.patch(f"/v1/gallery/{NOBODYS}", json={}).status_code == 404


def test_deletion(client: TestClient, service: QueueService, entries: list[Entry]) -> None:
    path = f"/v1/gallery/{entries[0].id}"
    client.get(f"{path}/thumbnail")
    assert client.delete(path).status_code == 204
    for method, rest in (("GET", ""), ("GET", "/file"), ("GET", "/thumbnail"), ("DELETE", "")):
        assert client.request(method, path + rest).status_code == 404
    assert list((service.settings.home / "gallery").rglob(f"{entries[0].id}*")) == []
    assert '"event": "entry.deleted"' in (service.settings.home / "audit.log").read_text()


def test_a_blocked_picture_and_a_missing_file(
    client: TestClient, service: QueueService, entries: list[Entry]
) -> None:
    blocked = client.get(f"/v1/gallery/{entries[3].id}/file", headers={"If-None-Match": "*"})
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (403, "blocked")
    (file,) = (service.settings.home / "gallery").rglob(f"{entries[0].id}*")
    file.unlink()
    gone = client.get(f"/v1/gallery/{entries[0].id}/file")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "gallery.file_missing")


def test_pictures_of_other_owners_are_not_found(
    people: Callable[[str], TestClient], entries: list[Entry]
) -> None:
    assert search_ids(people("berta")) == ["an apple of berta's"]
    assert len(search_ids(people("chief"))) == 5
    assert people("berta").get("/v1/gallery/facets").json()["days"] == {"2026-11-24": 1}
    path = f"/v1/gallery/{entries[0].id}"
    for method, rest in (("GET", ""), ("GET", "/file"), ("GET", "/thumbnail"), ("DELETE", "")):
        answer = people("berta").request(method, path + rest)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "gallery.missing")
    assert people("berta").patch(path, json={"favourite": True}).status_code == 404
    assert people("anna").get(path).json()["favourite"] is False


@pytest.mark.parametrize(
    "entry_id", [NOBODYS, "x", "%2e%2e%2fx", "..%2f..%2fetc%2fpasswd", "%00" * 22, "u" * 22]
)
def test_forged_ids(client: TestClient, entry_id: str) -> None:
    for rest in ("", "/file", "/thumbnail"):
        assert client.get(f"/v1/gallery/{entry_id}{rest}").status_code in (404, 422)
