from __future__ import annotations

import pytest
from starlette.testclient import TestClient

SECRET = "x" * 500


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/jobs", 422, {"code": "request.invalid"}),
        ("/v1/images/generations", 400, {"type": "invalid_request_error", "code": "request.invalid"}),
        ("/sdapi/v1/txt2img", 422, "request.invalid"),
    ],
)
@pytest.mark.parametrize("body", ["{", "[]", '"text"', "null", "", "\x00", "\ud83d"])
def test_validation_errors_have_the_shape_of_each_api_family(
    client: TestClient, path: str, status: int, error: object, body: str
) -> None:
    content = body.encode("utf-8", "surrogatepass")
    response = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    found = response.json()["error"]
    assert found == error or error.items() <= found.items()  # type: ignore[attr-defined]


def test_the_field_is_named_and_its_value_is_not_repeated(client: TestClient) -> None:
    response = client.post("/v1/jobs", json={"kind": "generate", "prompt": "a", "steps": SECRET})
    assert "steps" in response.json()["error"]["message"]
    assert SECRET not in response.text
    openai = client.post("/v1/images/generations", json={"prompt": "a", "n": SECRET}).json()["error"]
    assert openai["param"] == "n"
    assert SECRET not in str(openai)


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1/images/nothing", "/sdapi/v1/nothing"])
def test_unknown_paths(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "request.path" in response.text


def test_wrong_methods(client: TestClient) -> None:
    response = client.put("/v1/moderate")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "request.method")
    assert response.headers["Allow"] == "POST"


def test_a_websocket_to_an_unknown_path(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect
    from tests.server.conftest import SOCKET

    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"{SOCKET}/v1/nothing"):
        pass
