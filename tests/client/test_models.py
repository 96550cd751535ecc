from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from safelight.client.models import GenerateJob, Job

REPOSITORY = Path(__file__).parents[2]


def test_the_models_match_the_servers_document() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/render_client.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_fields_of_a_newer_server_are_read() -> None:
    body = {"id": "j", "owner": "o", "kind": "scan", "state": "queued", "request": {}}
    body["created"] = "2026-11-24T00:00:00Z"
    assert Job.model_validate(body | {"later": 1}).id == "j"


def test_a_misspelt_field_is_not_sent() -> None:
    with pytest.raises(ValidationError):
        GenerateJob.model_validate({"prompt": "x", "stepz": 3})


def test_the_client_needs_neither_server_nor_torch() -> None:
    heavy = [
        "torch",
        "fastapi",
        "sqlalchemy",
        "safelight.server",
        "safelight.jobs",
        "safelight.moderation",
        "numpy",
    ]
    code = f"import sys, safelight.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
