"""Several pictures at once, collections, and what other windows hear of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.gallery.conftest import new_entry
from tests.hypothesis_profiles import example_count
from tests.server.conftest import SOCKET

from safelight.database.engine import open_database
from safelight.gallery import Entry, Gallery
from safelight.gallery.archive import LEFT_OUT_NAME
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision

NOBODYS = "0" * 22
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def entries(service: QueueService) -> list[Entry]:
    """Two pictures of anna's, a blocked one of hers, and one of berta's."""
    changes: list[dict[str, Any]] = [{}, {}, {"decision": Decision.BLOCK}, {"owner": "berta"}]
    return [service.gallery.add(new_entry(number, **each)) for number, each in enumerate(changes)]


def errors_in(answer: Any) -> dict[str, str | None]:
    """The error's code of each picture in an answer."""
    assert answer.status_code == 200, answer.text
    return {each["id"]: each["error"] and each["error"]["code"] for each in answer.json()["results"]}


def test_marking(people: Callable[[str], TestClient], entries: list[Entry]) -> None:
    ids = [entry.id for entry in entries]
    body = {"ids": [*ids, NOBODYS, "../x"], "favourite": True, "add_tags": ["sea"]}
    answer = people("anna").patch("/v1/gallery", json=body)
    refused = dict.fromkeys((ids[3], NOBODYS, "../x"), "gallery.missing")
    assert errors_in(answer) == dict.fromkeys(ids[:3]) | refused
    first = answer.json()["results"][0]
    assert (first["favourite"], first["tags"], first["collections"]) == (True, ["sea"], [])
    changed = people("chief").get("/v1/gallery", params={"tag": "sea"}).json()["entries"]
    assert {entry["id"] for entry in changed} == {*ids[:3]}


def test_deleting(people: Callable[[str], TestClient], entries: list[Entry], service: QueueService) -> None:
    ids = [entry.id for entry in entries]
    answer = people("anna").post("/v1/gallery/delete", json={"ids": [*ids, NOBODYS]})
    assert errors_in(answer) == dict.fromkeys(ids[:3]) | dict.fromkeys((ids[3], NOBODYS), "gallery.missing")
    assert [path.stem for path in (service.settings.home / "gallery").rglob("*.png")] == [ids[3]]
    for entry_id, status in zip(ids, (404, 404, 404, 200), strict=True):
        assert people("chief").get(f"/v1/gallery/{entry_id}").status_code == status
    (line,) = [
        line for line in (service.settings.home / "audit.log").read_text().splitlines() if "deleted" in line
    ]
    assert f'"entry_ids": "{" ".join(ids[:3])}"' in line


@pytest.mark.parametrize("as_form", [False, True])
def test_downloading(
    people: Callable[[str], TestClient], entries: list[Entry], service: QueueService, as_form: bool
) -> None:
    ids = [entry.id for entry in entries]
    body: dict[str, Any] = {"data": {"ids": ids}} if as_form else {"json": {"ids": ids}}
    answer = people("anna").post("/v1/gallery/download", **body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="safelight-pictures.zip"'
    assert "Content-Length" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"{ids[0]}.png", f"{ids[1]}.png", LEFT_OUT_NAME]
        assert archive.read(f"{ids[1]}.png") == service.gallery.read(ids[1])
        assert archive.read(LEFT_OUT_NAME).decode().count("\n") == 2


def test_nothing_to_download(people: Callable[[str], TestClient], entries: list[Entry]) -> None:
    for entry, status, code in ((entries[3], 404, "gallery.missing"), (entries[2], 403, "blocked")):
        answer = people("anna").post("/v1/gallery/download", json={"ids": [entry.id]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("POST", "/delete"), ("POST", "/download")])
@pytest.mark.parametrize(
    "body",
    [{}, {"ids": []}, {"ids": [NOBODYS] * 1001}, {"ids": "x"}, {"ids": [1]}, {"ids": [NOBODYS], "x": 1}],
)
def test_bodies_that_are_refused(client: TestClient, method: str, path: str, body: dict[str, Any]) -> None:
    answer = client.request(method, f"/v1/gallery{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"].startswith("request.")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ("", FORM, 422),
        ("ids=", FORM, 404),
        ("other=x&ids=y", FORM, 422),
        (f"ids={NOBODYS}&ids=%FF", FORM, 404),
        ("[]", {"Content-Type": "application/json"}, 422),
        ("{", {"Content-Type": "application/json"}, 422),
        ("ids=x", {"Content-Type": "text/plain"}, 415),
        ("ids=x", {}, 415),
    ],
)
def test_forms_that_are_refused(
    client: TestClient, content: str, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/v1/gallery/download", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"add_tags": [""]}, {"add_tags": ["x" * 65]}, {"add_tags": ["x"] * 51}, {"favourite": "x"}, {"add_to": "x"},
        {"tags": ["x"]}, {"remove_tags": "x"},
    ],
)  # fmt: skip
def test_marks_that_are_refused(client: TestClient, entries: list[Entry], wrong: dict[str, Any]) -> None:
    answer = client.patch("/v1/gallery", json={"ids": [entries[0].id]} | wrong)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"].startswith("request.")


def test_collections(people: Callable[[str], TestClient], entries: list[Entry]) -> None:
    anna = people("anna")
    made = anna.post("/v1/collections", json={"name": " sea "})
    sea = made.json()
    assert (made.status_code, sea["name"], sea["owner"], sea["pictures"]) == (201, "sea", "anna", 0)
    again = anna.post("/v1/collections", json={"name": "sea"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "gallery.collection_exists")
    ids = [entry.id for entry in entries]
    marked = anna.patch("/v1/gallery", json={"ids": ids[:3], "add_to": [sea["id"]]})
    assert marked.json()["results"][0]["collections"] == [sea["id"]]
    (listed,) = anna.get("/v1/collections").json()["collections"]
    assert (listed["pictures"], listed["cover"]) == (3, ids[1])
    assert len(anna.get("/v1/gallery", params={"collection": sea["id"]}).json()["entries"]) == 3
    assert anna.get("/v1/gallery/facets").json()["collections"] == {sea["id"]: 3}
    path = f"/v1/collections/{sea['id']}"
    assert anna.patch(path, json={"name": "lake"}).json()["name"] == "lake"
    assert anna.delete(path).status_code == 204
    assert anna.get("/v1/collections").json() == {"collections": []}
    assert anna.get(f"/v1/gallery/{ids[0]}").json()["collections"] == []
    for body in ({"name": ""}, {"name": "x" * 101}, {}, {"name": "x", "odd": 1}):
        assert anna.post("/v1/collections", json=body).status_code == 422


def test_collections_of_other_owners(people: Callable[[str], TestClient], entries: list[Entry]) -> None:
    sea = people("anna").post("/v1/collections", json={"name": "sea"}).json()
    path, berta = f"/v1/collections/{sea['id']}", people("berta")
    assert berta.get("/v1/collections").json() == {"collections": []}
    mark = {"ids": [entries[3].id], "add_to": [sea["id"]]}
    for answer in (
        berta.patch(path, json={"name": "x"}),
        berta.delete(path),
        berta.patch("/v1/gallery", json=mark),
        berta.patch("/v1/collections/0000000000000000", json={"name": "x"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "gallery.collection_missing")
    assert berta.delete("/v1/collections/odd").status_code == 422
    assert people("chief").get("/v1/collections").json()["collections"] == [sea]
    assert people("chief").patch(path, json={"name": "lake"}).status_code == 200


def test_other_windows_hear_of_changes(client: TestClient, entries: list[Entry]) -> None:
    """Single and bulk changes alike."""
    first, second = entries[0].id, entries[1].id

    def heard(**changes: Any) -> None:
        while (message := socket.receive_json())["type"] != "gallery":
            pass
        assert message == {"type": "gallery", "changed": [], "deleted": [], "collections": False} | changes

    with client.websocket_connect(f"{SOCKET}/v1/live") as socket:
        assert socket.receive_json()["type"] == "hello"
        client.patch(f"/v1/gallery/{first}", json={"favourite": True})
        heard(changed=[first])
        client.patch("/v1/gallery", json={"ids": [first, NOBODYS], "favourite": False})
        heard(changed=[first])
        collection = client.post("/v1/collections", json={"name": "sea"}).json()["id"]
        heard(collections=True)
        client.patch("/v1/gallery", json={"ids": [second], "add_to": [collection]})
        heard(changed=[second])
        heard(collections=True)
        client.patch(f"/v1/collections/{collection}", json={"name": "lake"})
        heard(collections=True)
        client.delete(f"/v1/collections/{collection}")
        heard(collections=True)
        client.delete(f"/v1/gallery/{first}")
        heard(deleted=[first])
        client.post("/v1/gallery/delete", json={"ids": [first, second, NOBODYS]})
        heard(deleted=[second])


def test_windows_hear_of_changes_by_other_processes(
    client: TestClient, service: QueueService, entries: list[Entry]
) -> None:
    engine = open_database(service.settings)  # as another server or the command line has it
    with client.websocket_connect(f"{SOCKET}/v1/live") as socket:
        assert socket.receive_json()["type"] == "hello"
        Gallery(engine, service.settings.home).delete(entries[0].id)
        while (message := socket.receive_json())["type"] != "gallery":
            pass
        assert message["deleted"] == [entries[0].id]
    engine.dispose()


def test_only_who_may_see_a_picture_hears_of_it(
    people: Callable[[str], TestClient], entries: list[Entry]
) -> None:
    client = people("berta")
    with client.websocket_connect(f"{SOCKET}/v1/live") as socket:
        assert socket.receive_json()["type"] == "hello"
        people("chief").post("/v1/gallery/delete", json={"ids": [entry.id for entry in entries]})
        while (message := socket.receive_json())["type"] != "gallery":
            pass
        assert message["deleted"] == [entries[3].id]


@hypothesis_settings(
    max_examples=example_count(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(st.text(max_size=60), st.text(st.sampled_from('ab -"OR*():&|!<>\\\'"'), max_size=60)),
    st.sampled_from(("newest", "oldest", "largest", "smallest")),
)
@example('"', "newest")
@example("-", "newest")
@example("a OR -b NEAR(", "largest")
def test_any_text_is_a_query(standing: TestClient, query: str, sort: str) -> None:
    answer = standing.get(
        "/v1/gallery", params={"query": query.encode(errors="replace").decode(), "sort": sort}
    )
    assert answer.status_code == 200, answer.text
