from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from safelight.server.api.a1111.routes.unsupported import UNSUPPORTED


@pytest.mark.parametrize("path", UNSUPPORTED)
def test_unsupported_routes_of_a1111_explain_themselves(standing: TestClient, path: str) -> None:
    response = standing.post(f"/sdapi/v1/{path}", json={"image": "aGk="})
    assert (response.status_code, response.json()["error"]) == (501, "api.absent")
    assert response.json()["detail"] == UNSUPPORTED[path]
    assert response.json()["errors"]


@pytest.mark.parametrize(
    "path",
    [
        *("controlnet/render_openpose_json", "login_check"),
        *("adetailer/v1/version", "tagger/v1/interrogators", "rembg", "sam/heartbeat", "promptgen"),
        *("model_keyword/list", "agent-scheduler/v1/queue", "reactor/models", "deforum_api/batches"),
    ],
)
def test_routes_of_extensions_are_not_found(standing: TestClient, path: str) -> None:
    """Clients probe for extensions in this way: any response but 404 would be taken for the extension."""
    for response in (standing.get(f"/{path}"), standing.post(f"/{path}", json={})):
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["server-kill", "server-restart", "shutdown", "file"])
def test_dangerous_routes_are_not_found(standing: TestClient, path: str) -> None:
    response = standing.post(f"/sdapi/v1/{path}", json={})
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "errors"}
