from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from safelight.server.api.a1111.routes.unsupported import UNSUPPORTED


@pytest.mark.parametrize("path", UNSUPPORTED)
def test_what_a1111_has_and_is_not_offered_says_why(standing: TestClient, path: str) -> None:
    response = standing.post(f"/sdapi/v1/{path}", json={"image": "aGk="})
    assert (response.status_code, response.json()["error"]) == (501, "api.absent")
    assert response.json()["detail"] == UNSUPPORTED[path]
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "path",
    [
        *("controlnet/version", "controlnet/model_list", "controlnet/detect", "login_check"),
        *("adetailer/v1/version", "tagger/v1/interrogators", "rembg", "sam/heartbeat", "promptgen"),
        *("model_keyword/list", "agent-scheduler/v1/queue", "reactor/models", "deforum_api/batches"),
    ],
)
def test_what_a1111_has_by_extensions_only_is_not_there(standing: TestClient, path: str) -> None:
    """So clients find out what a server has: a route that answers anything but 404 would be taken for the extension."""
    for response in (standing.get(f"/{path}"), standing.post(f"/{path}", json={})):
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["server-kill", "server-restart", "shutdown", "file"])
def test_what_nobody_should_do_from_outside_is_not_even_there(standing: TestClient, path: str) -> None:
    response = standing.post(f"/sdapi/v1/{path}", json={})
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "errors"}
