"""What the server still does when its disk is full: everything that stores nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient
from tests.filesystems import full_disk, small_disk
from tests.server.conftest import app_client

from safelight.database import read_transaction
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore, usage
from safelight.settings import Settings


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A data directory with tables, on a small disk."""
    with small_disk(tmp_path, 60):
        yield Path(shutil.copytree(prepared, tmp_path / "home"))


@pytest.fixture
def service(home: Path) -> Iterator[QueueService]:
    service = QueueService.open(Settings(home=home, backend="onnxruntime", precision="fp32"))
    yield service
    service.close()


@pytest.fixture
def client(service: QueueService) -> Iterator[TestClient]:
    with app_client(create_app(service, service.settings)) as client:
        yield client


def test_reads_and_verdicts_still_work(
    client: TestClient, service: QueueService, home: Path, photographs: list[Path]
) -> None:
    keys = KeyStore(service.engine)
    quotas = {"anna": {}, "bert": {"pictures_per_day": 2}, "cleo": {}}
    headers = {name: {"X-API-Key": keys.add(name, **quota)} for name, quota in quotas.items()}
    photograph = photographs[0].read_bytes()

    def judge(name: str) -> int:
        kind = {"Content-Type": "image/jpeg"}
        return client.post("/v1/moderate", content=photograph, headers=headers[name] | kind).status_code

    assert judge("cleo") == 200  # the classifier is loaded, and lies in the cache
    with full_disk(home.parent):
        for name in ("anna", "bert"):
            for path in ("/v1/jobs", "/v1/gallery", "/v1/models", "/v1/system", "/v1/session"):
                assert client.get(path, headers=headers[name]).status_code == 200, path
        assert [judge("anna"), judge("bert"), judge("bert"), judge("bert")] == [200, 200, 200, 429]
        body = {"kind": "generate", "prompt": "a red apple"}
        refused = client.post("/v1/jobs", json=body, headers=headers["anna"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage.full")
    assert judge("anna") == 200
    assert judge("bert") == 429
    assert client.post("/v1/jobs", json=body, headers=headers["anna"]).status_code == 202
    client.app.state.safelight.keys.flush()  # type: ignore[attr-defined]
    with read_transaction(service.engine) as connection:
        counted = {row["key_id"]: row["pictures"] for row in connection.execute(select(usage)).mappings()}
    assert sorted(counted.values()) == [1, 2, 3]  # cleo's, bert's, and anna's: two verdicts and a generation
    assert None not in [key.used for key in keys.all()]
    noted = (home / "audit.log").read_text()
    assert noted.count('"event": "limited"') == 2  # the first of them when there was space again
