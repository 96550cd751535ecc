"""An API family of a plug-in answers under its prefix, behind the server's keys, with errors in its own format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from pydantic import BaseModel
from tests.server.conftest import app_client

from safelight.errors import DuplicateNameError, RequestError, SafelightError
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.server.app import create_app
from safelight.server.core.api_families import API_FAMILIES, ApiFamily
from safelight.server.security.keys import SCHEMA, KeyStore
from safelight.settings import Settings

router = APIRouter()


class ToyErrorBody(BaseModel):
    """How the toy's errors look."""

    failure: str
    where: str | None


def toy_error_body(error: SafelightError, field: str | None = None) -> dict[str, object]:
    return {"failure": error.message, "where": field}


@router.get("/toy/greeting")
async def greeting(times: int = 1) -> dict[str, str]:
    if times > 3:
        raise RequestError("Three greetings are enough.")
    return {"greeting": "hello " * times}


class Toy:
    """A plug-in with one API family."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name

    @hookimpl
    def register_api_families(self, registry: Registry[ApiFamily]) -> None:
        family = ApiFamily(self.name, ("/toy/",), (router,), ToyErrorBody, toy_error_body, lambda _: 418)
        registry.register(self.name, family)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[QueueService]:
    settings = Settings(home=tmp_path, web_ui=False)
    prepare_database(settings, SCHEMA)
    service = QueueService.open(settings)
    yield service
    service.close()


@pytest.fixture
def client(service: QueueService) -> Iterator[TestClient]:
    with (
        PLUGINS.registered(Toy(), "toy"),
        app_client(create_app(service, service.settings)) as client,
    ):
        yield client


def test_it_answers_under_its_prefix(client: TestClient) -> None:
    assert client.get("/toy/greeting", params={"times": 2}).json() == {"greeting": "hello hello "}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/toy/greeting?times=4", {"failure": "Three greetings are enough.", "where": None}),
        ("/toy/nothing", {"failure": "There is nothing under /toy/nothing.", "where": None}),
    ],
)
def test_its_errors_have_its_format(client: TestClient, path: str, body: dict[str, object]) -> None:
    assert client.get(path).json() == body


def test_its_status_counts(client: TestClient) -> None:
    assert client.get("/toy/greeting?times=4").status_code == 418
    wrong = client.get("/toy/greeting?times=many")
    assert (wrong.status_code, wrong.json()["where"]) == (418, "times")


def test_it_is_in_the_openapi_document(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    default = document["paths"]["/toy/greeting"]["get"]["responses"]["default"]
    assert default["content"]["application/json"]["schema"]["$ref"].endswith("ToyErrorBody")


def test_others_keep_their_format(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["code"] == "request.path"
    assert client.get("/sdapi/v1/nothing").json()["error"] == "request.path"


def test_it_asks_for_a_key_as_others_do(service: QueueService, client: TestClient) -> None:
    key = KeyStore(service.engine).add("anna")
    refused = client.get("/toy/greeting")
    assert refused.status_code == 418
    assert refused.json()["failure"] == "This server requires a key."
    assert client.get("/toy/greeting", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_built_in_name_is_taken() -> None:
    with (
        PLUGINS.registered(Toy("openai"), "toy"),
        pytest.raises(DuplicateNameError, match="'openai' of toy"),
    ):
        len(API_FAMILIES)
