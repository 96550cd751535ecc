from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Policy
from safelight.server.app import create_app

OWN = """
name = "house rules"
version = "7"
description = "Ours."
abstain = 0.02
safe = ["sfw"]
[unsafe]
nsfw = { review = 0.3, block = 0.6 }
"""


def test_the_presets(client: TestClient) -> None:
    policies = client.get("/v1/policies").json()["policies"]
    assert [(each["name"], each["default"]) for each in policies] == [
        ("strict", False),
        ("standard", True),
        ("lenient", False),
    ]
    for each in policies:
        preset = Policy.load(each["name"])
        assert each["unsafe"] == {label: limits.model_dump() for label, limits in preset.unsafe.items()}
        assert (each["safe"], each["abstain"]) == (sorted(preset.safe), preset.abstain)
        assert each["description"]


def test_the_configured_policy_has_its_name_and_no_path(
    open_service: Callable[..., QueueService], tmp_path: Path
) -> None:
    path = tmp_path / "secret-folder" / "rules.toml"
    path.parent.mkdir()
    path.write_text(OWN)
    service = open_service(policy=str(path))
    with app_client(create_app(service, service.settings)) as client:
        answer = client.get("/v1/policies")
        assert "secret-folder" not in answer.text
        *presets, own = answer.json()["policies"]
        assert not any(each["default"] for each in presets)
        assert own == {
            "name": "house rules",
            "version": "7",
            "description": "Ours.",
            "abstain": 0.02,
            "unsafe": {"nsfw": {"review": 0.3, "block": 0.6}},
            "safe": ["sfw"],
            "default": True,
        }
        for broken in ("name = 1", None):
            path.unlink()
            if broken:
                path.write_text(broken)
            answer = client.get("/v1/policies")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "policy.invalid")
            assert "secret-folder" not in answer.text
