from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from safelight.server.routes.sdapi_absent import EXTENSIONS


def test_what_is_not_offered_says_why(standing: TestClient) -> None:
    response = standing.post("/sdapi/v1/interrogate", json={"image": "aGk="})
    assert (response.status_code, response.json()["error"]) == (501, "api.absent")
    assert response.json()["detail"]
    assert response.json()["errors"]


@pytest.mark.parametrize("name", EXTENSIONS)
def test_extensions_are_not_there(standing: TestClient, name: str) -> None:
    for response in (standing.get(f"/{name}/version"), standing.post(f"/{name}/a/b", json={})):
        assert response.status_code == 501
        assert EXTENSIONS[name] in response.text


@pytest.mark.parametrize(
    "path", ["server-kill", "create/embedding", "train/hypernetwork", "shutdown", "file"]
)
def test_what_nobody_should_do_from_outside_is_not_even_there(standing: TestClient, path: str) -> None:
    response = standing.post(f"/sdapi/v1/{path}", json={})
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "errors"}
