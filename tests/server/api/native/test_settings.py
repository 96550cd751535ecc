from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.api.conftest import GENERATE_REQUEST
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.settings import CHANGEABLE

STARTER = "checkpoint_defaults.starter"
JPEG = {"Content-Type": "image/jpeg"}
REPEATED = {"Idempotency-Key": "k"}
People = Callable[[str], TestClient]
OpenService = Callable[..., QueueService]


def settings_of(client: TestClient) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in client.get("/v1/settings").json()["settings"]}


def change(client: TestClient, **changes: Any) -> tuple[int, str | None, str | None]:
    """The status, and code and field of an error."""
    answer = client.patch("/v1/settings", json=changes)
    error = answer.json().get("error", {})
    return answer.status_code, error.get("code"), error.get("field")


def test_what_can_be_changed_comes_first(client: TestClient) -> None:
    found = settings_of(client)
    names = list(found)
    assert set(names[: len(CHANGEABLE)]) == set(CHANGEABLE)
    assert not {"key", "server", "database"} & set(names)
    assert found["queue_capacity"] == {
        "name": "queue_capacity",
        "group": "limits",
        "description": "How many jobs may wait.",
        "value": 10_000,
        "configured": 10_000,
        "default": 10_000,
        "source": "default",
        "stored": None,
        "changeable": True,
        "rules": {"type": "integer", "minimum": 1},
        "choices": None,
    }
    assert (found["port"]["group"], found["port"]["changeable"]) == (None, False)
    assert found["policy"]["choices"] == ["strict", "standard", "lenient"]
    assert "starter" in found["checkpoint"]["choices"]
    assert found["home"]["source"] == "flag"


def test_a_change_is_effective_at_once_and_after_a_restart(
    client: TestClient, open_service: OpenService, service: QueueService
) -> None:
    assert client.post("/v1/jobs", json=GENERATE_REQUEST).status_code == 202
    assert change(client, queue_capacity=1) == (200, None, None)
    assert client.post("/v1/jobs", json=GENERATE_REQUEST).json()["error"]["code"] == "queue.full"
    shown = settings_of(client)["queue_capacity"]
    assert (shown["value"], shown["configured"], shown["source"], shown["stored"]) == (
        1,
        10_000,
        "runtime",
        "the database",
    )
    assert client.get("/v1/system").json()["limits"]["queue_capacity"] == 1
    again = open_service()
    assert again.settings.queue_capacity == 1
    assert change(client, queue_capacity=None) == (200, None, None)
    assert client.post("/v1/jobs", json=GENERATE_REQUEST).status_code == 202
    lines = [json.loads(line) for line in (service.settings.home / "security.log").read_text().splitlines()]
    assert [
        {name: line[name] for name in ("event", "owner", "setting", "before", "value")} for line in lines
    ] == [
        {
            "event": "settings.changed",
            "owner": "local",
            "setting": "queue_capacity",
            "before": before,
            "value": value,
        }
        for before, value in (("10000", "1"), ("1", "10000"))
    ]


def starter(**defaults: Any) -> dict[str, Any]:
    return {"checkpoint_defaults": {"starter": defaults}}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nosuch": 1}, (422, "request.unknown_field", "nosuch")),
        ({"nosuch": None}, (422, "request.unknown_field", "nosuch")),
        ({"queue_capacity": 0}, (422, "request.below_minimum", "queue_capacity")),
        ({"queue_capacity": "10"}, (422, "request.type", "queue_capacity")),
        ({"queue_capacity": 1.5}, (422, "request.type", "queue_capacity")),
        ({"max_frames": 1001}, (422, "request.above_maximum", "max_frames")),
        ({"job_retention": 0}, (422, "request.below_minimum", "job_retention")),
        ({"policy": "/etc/passwd"}, (422, "request.choice", "policy")),
        ({"checkpoint": "/etc/passwd"}, (404, "checkpoint.missing", "checkpoint")),
        ({"checkpoint": "nosuch"}, (404, "checkpoint.missing", "checkpoint")),
        ({"languages": ["xx"]}, (422, "request.choice", "languages")),
        ({"languages": "de"}, (422, "request.type", "languages")),
        (
            {"checkpoint_defaults": {"starter": {"steps": 0}}},
            (422, "request.below_minimum", "checkpoint_defaults.starter.steps"),
        ),
        (
            {"checkpoint_defaults": {"starter": {"stepz": 1}}},
            (422, "request.unknown_field", "checkpoint_defaults.starter.stepz"),
        ),
        (
            {"checkpoint_defaults": {"starter": {"width": 129}}},
            (422, "request.not_multiple", "checkpoint_defaults.starter.width"),
        ),
        (
            {"checkpoint_defaults": {"starter": {"sampler": "x"}}},
            (404, "sampler.unknown", "checkpoint_defaults.starter.sampler"),
        ),
        ({"port": 80}, (409, "settings.fixed", "port")),
        ({"home": "/tmp"}, (409, "settings.fixed", "home")),
        ({"allow_network": True}, (409, "settings.fixed", "allow_network")),
    ],
)
def test_what_is_refused(
    client: TestClient, changes: dict[str, Any], error: tuple[int, str, str | None]
) -> None:
    assert change(client, waiting_per_owner=3, **changes) == error
    assert settings_of(client)["waiting_per_owner"]["value"] == 1000


def test_no_changes(client: TestClient) -> None:
    assert change(client) == (422, "request.invalid", None)


def test_the_environment_wins(open_service: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_QUEUE_CAPACITY", "77")
    service = open_service(policy="strict")
    with app_client(create_app(service, service.settings)) as client:
        shown = settings_of(client)
        assert (shown["queue_capacity"]["value"], shown["queue_capacity"]["source"]) == (77, "environment")
        assert shown["queue_capacity"]["stored"] == "SAFELIGHT_QUEUE_CAPACITY"
        assert not shown["queue_capacity"]["changeable"]
        answer = client.patch("/v1/settings", json={"queue_capacity": 5})
        assert answer.status_code == 409
        assert answer.json()["error"]["context"] == {"source": "environment"}
        assert change(client, policy="lenient") == (409, "settings.fixed", "policy")
    assert service.settings.queue_capacity == 77


def test_only_administrators(people: People) -> None:
    for answer in (
        people("anna").get("/v1/settings"),
        people("anna").patch("/v1/settings", json={"policy": "strict"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "denied.role")
    assert people("chief").patch("/v1/settings", json={"requests_per_minute": 5}).status_code == 200
    answers = [people("berta").get("/v1/queue").status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]
    assert people("chief").patch("/v1/settings", json={"requests_per_minute": 1200}).status_code == 200
    assert people("berta").get("/v1/queue").status_code == 200


def test_the_policy_of_verdicts_changes(client: TestClient, photographs: list[Path]) -> None:
    def policy() -> str:
        answer = client.post("/v1/moderate", content=photographs[0].read_bytes(), headers=JPEG)
        return str(answer.json()["verdicts"][0]["policy"]["name"])

    assert policy() == "standard"
    change(client, policy="strict")
    assert policy() == "strict"
    assert (
        next(each["name"] for each in client.get("/v1/policies").json()["policies"] if each["default"])
        == "strict"
    )
    change(client, policy=None)
    assert policy() == "standard"


def test_limits_on_pictures_change(client: TestClient, photographs: list[Path]) -> None:
    def status() -> int:
        return client.post("/v1/moderate", content=photographs[0].read_bytes(), headers=JPEG).status_code

    assert status() == 200
    change(client, max_pixels=100)
    assert status() == 413
    change(client, max_pixels=None)
    assert status() == 200


def test_defaults_of_a_checkpoint(client: TestClient, service: QueueService) -> None:
    def draws() -> dict[str, Any]:
        (model,) = (
            each for each in client.get("/v1/models?kind=checkpoint").json()["data"] if each["default"]
        )
        return dict(model["draws"])

    before = draws()
    chosen = {"width": 192, "steps": 7, "guidance_scale": 3.5, "sampler": "Euler", "schedule": "karras"}
    change(client, checkpoint_defaults={"starter": chosen})
    assert draws() == before | chosen
    first = client.post("/v1/jobs", json={"kind": "generate", "prompt": "x", "seed": 1}, headers=REPEATED)
    assert service.store.get(first.json()["id"]).request == {"prompt": "x", "seed": 1} | chosen
    change(client, checkpoint_defaults={"other": {"steps": 9}})
    assert draws()["steps"] == 7
    change(client, checkpoint_defaults={"starter": {"steps": 8}})
    assert draws() == before | {"steps": 8}
    again = client.post("/v1/jobs", json={"kind": "generate", "prompt": "x", "seed": 1}, headers=REPEATED)
    assert again.json()["id"] == first.json()["id"]
    other = client.post("/v1/jobs", json={"kind": "generate", "prompt": "y", "seed": 1}, headers=REPEATED)
    assert other.status_code == 409
    given = client.post("/v1/jobs", json=GENERATE_REQUEST | {"steps": 2, "seed": 1}).json()
    assert (given["request"]["steps"], given["request"]["width"]) == (2, 64)
    change(client, checkpoint_defaults={"starter": None})
    assert draws() == before
    assert settings_of(client)["checkpoint_defaults"]["value"] == {"other": {"steps": 9}}


def test_preferences(people: People) -> None:
    empty = people("anna").get("/v1/preferences").json()
    assert empty == {
        "language": None,
        "look": None,
        "tile_size": None,
        "notify_when_done": None,
        "default_checkpoint": None,
        "languages": ["en", "de", "fr"],
    }
    given = {"language": "de", "look": "dark", "tile_size": 200, "default_checkpoint": "starter"}
    assert people("anna").patch("/v1/preferences", json=given).json() == empty | given
    changed = people("anna").patch("/v1/preferences", json={"look": None, "notify_when_done": True}).json()
    assert changed == empty | given | {"look": None, "notify_when_done": True}
    assert people("anna").get("/v1/preferences").json() == changed
    assert people("berta").get("/v1/preferences").json() == empty


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"tile_size": 5}, "request.below_minimum", "tile_size"),
        ({"look": "blue"}, "request.choice", "look"),
        ({"language": "xx"}, "request.choice", "language"),
        ({"colour": "red"}, "request.unknown_field", "colour"),
        ({"default_checkpoint": "nosuch"}, "checkpoint.missing", "default_checkpoint"),
    ],
)
def test_refused_preferences(client: TestClient, body: dict[str, Any], code: str, field: str) -> None:
    error = client.patch("/v1/preferences", json=body).json()["error"]
    assert (error["code"], error["field"]) == (code, field)


def test_only_offered_languages_can_be_chosen(client: TestClient) -> None:
    change(client, languages=["de", "en"])
    assert client.get("/v1/preferences").json()["languages"] == ["en", "de"]
    assert client.patch("/v1/preferences", json={"language": "fr"}).status_code == 422
    assert client.patch("/v1/preferences", json={"language": "de"}).status_code == 200
