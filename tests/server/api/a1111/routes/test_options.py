from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.server.api.a1111.options import OPTIONS


@pytest.fixture
def mine(server_home: Path) -> str:
    """A checkpoint of the test's own."""
    (server_home / "checkpoints").mkdir()
    (server_home / "checkpoints" / "mine").symlink_to(STARTER_PATH)
    return "mine"


def test_all_options_are_shown_in_both_versions(standing: TestClient) -> None:
    found = standing.get("/sdapi/v1/options").json()
    assert set(found) == {"sd_model_checkpoint", "sd_checkpoint_hash", *OPTIONS}
    assert found["sd_model_checkpoint"] == "starter"
    assert standing.get("/sdapi/v2/options").json() == found


def test_changed_options_are_returned(client: TestClient) -> None:
    answer = client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "jpeg_quality": 95})
    assert answer.json() == {
        "updated": [{"CLIP_stop_at_last_layers": True}, {"jpeg_quality": False}],
        "unknown": [],
    }
    everything = client.get("/sdapi/v1/options").json()
    assert everything["CLIP_stop_at_last_layers"] == 2
    assert client.post("/sdapi/v2/options", json=everything).status_code == 200
    assert client.get("/sdapi/v1/options").json() == everything


def test_the_checkpoint_is_set_for_each_client(client: TestClient, mine: str) -> None:
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": mine}).status_code == 200
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == mine
    assert client.get("/sdapi/v1/checkpoint").json()["name"] == mine
    assert client.post("/sdapi/v1/checkpoint?sd_model_checkpoint=starter").json() == {"ok": True}
    body = client.get("/sdapi/v1/checkpoint").json()
    assert (body["name"], body["type"], body["hash"]) == ("starter", "Safelight's starter", None)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"jpeg_quality": 0}, 422, "request.field"),
        ({"sd_model_checkpoint": "/etc/passwd"}, 404, "checkpoint.missing"),
        ({"sd_model_checkpoint": {"a": 1}}, 404, "checkpoint.missing"),
        ([1], 422, "request.invalid"),
    ],
)
def test_values_that_cannot_be_set(standing: TestClient, given: object, status: int, code: str) -> None:
    response = standing.post("/sdapi/v1/options", json=given)
    assert (response.status_code, response.json()["error"]) == (status, code)


def test_a_refused_option_changes_nothing(standing: TestClient) -> None:
    before = standing.get("/sdapi/v1/options").json()
    assert (
        standing.post("/sdapi/v1/options", json={"webp_lossless": True, "jpeg_quality": 0}).status_code == 422
    )
    assert standing.get("/sdapi/v1/options").json() == before
    assert standing.post("/sdapi/v1/checkpoint?sd_model_checkpoint=../x").status_code == 404


def test_unknown_options_are_named_and_do_not_keep_others_from_changing(client: TestClient) -> None:
    given = {
        "jpeg_quality": 50,
        "live_previews_enable": True,
        "face_restoration_model": None,
        "webp_lossless": False,
    }
    answer = client.post("/sdapi/v1/options", json=given)
    assert answer.status_code == 200
    assert answer.json()["unknown"] == ["live_previews_enable", "face_restoration_model"]
    assert answer.json()["updated"] == [{name: name == "jpeg_quality"} for name in given]
    assert client.get("/sdapi/v1/options").json()["jpeg_quality"] == 50
    assert "live_previews_enable" not in client.get("/sdapi/v1/options").json()


def test_a_name_that_is_no_string_is_refused(standing: TestClient) -> None:
    header = {"Content-Type": "application/json"}
    assert standing.post("/sdapi/v1/options", content=b'{"a\\ud800": 1}', headers=header).status_code == 422


def test_options_of_other_clients_are_hidden(people: Callable[[str], TestClient]) -> None:
    assert people("anna").post("/sdapi/v1/options", json={"jpeg_quality": 50}).status_code == 200
    assert people("berta").get("/sdapi/v1/options").json()["jpeg_quality"] == 95
    assert people("chief").get("/sdapi/v1/options").json()["jpeg_quality"] == 95
    assert people("anna").get("/sdapi/v1/options").json()["jpeg_quality"] == 50
