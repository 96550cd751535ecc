from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient
from tests.server.conftest import client_of
from tests.server.routes.conftest import Bench

from safelight import __version__
from safelight.jobs.service import Service
from safelight.server.app import create_app


def test_what_runs_here(client: TestClient, bench: Bench) -> None:
    bench.finish()
    bench.queue()
    body = client.get("/v1/system").json()
    assert body["version"] == __version__
    assert body["versions"]["torch"]
    assert body["workers"] == []
    assert body["jobs"] == {"queued": 1, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert (body["classifier"], body["policy"]) == ("open-nsfw", "standard")
    assert body["limits"]["max_frames"] == 16


def test_it_tells_no_secrets(open_service: Callable[..., Service]) -> None:
    service = open_service(
        policy="/secret-folder/rules.toml", key="sl_secret", classifier="/secret-folder/mine"
    )
    with client_of(create_app(service, service.settings)) as client:
        text = client.get("/v1/system").text
    assert "rules.toml" in text
    assert "secret" not in text
