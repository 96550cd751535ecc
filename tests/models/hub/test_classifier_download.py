"""Downloading from a small server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from safelight.errors import DigestMismatchError
from safelight.moderation.classifiers.timm_config import read_timm_config

COMMIT = "0123456789abcdef" * 2 + "01234567"
CONFIG = b'{"architecture": "test_vit"}'
WEIGHTS = bytes(range(256)) * 64


@dataclass
class Hub:
    """The two endpoints that huggingface_hub calls: a model's description, and a file at a commit."""

    port: int = 0
    files: dict[str, bytes] = field(
        default_factory=lambda: {"config.json": CONFIG, "model.safetensors": WEIGHTS}
    )
    cut: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{handler.command} {handler.path}")
        file = handler.path.rpartition("/")[2]
        if handler.path.startswith("/api/models/owner/name"):
            self._send(handler, 200, json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": []}).encode())
        elif handler.path.startswith(f"/owner/name/resolve/{COMMIT}/") and file in self.files:
            self._send(handler, 200, self.files[file], cut=self.cut and file == "model.safetensors")
        else:
            self._send(handler, 404, b"{}", **{"X-Error-Code": "EntryNotFound"})

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, *, cut: bool = False, **headers: str
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[: len(body) // 2] if cut else body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def do_HEAD(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


SCRIPT = """
import json, sys
from pathlib import Path
from safelight.errors import SafelightError
from safelight.models.classifiers.classifier_store import ClassifierStore
from safelight.models.hub.classifier_download import download_classifier
try:
    print(json.dumps(ClassifierStore(Path(sys.argv[1])).pull(sys.argv[2], download_classifier).to_dict()))
except SafelightError as error:
    print(json.dumps(error.to_dict()))
"""


def pull(endpoint: str, root: Path, name: str = "owner/name", **more: str) -> dict[str, object]:
    """Pull in a child process, since huggingface_hub reads its endpoint once, on import."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), name],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(root.parent / "hf")} | more,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_pull_downloads_both_files_at_the_latest_commit(
    hub: Hub, tmp_path: Path, network_log: Path
) -> None:
    before = network_log.read_text()
    record = pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models")
    assert record["revision"] == COMMIT
    assert record["files"] == {
        "config.json": hashlib.sha256(CONFIG).hexdigest(),
        "model.safetensors": hashlib.sha256(WEIGHTS).hexdigest(),
    }
    assert record["size"] == len(CONFIG) + len(WEIGHTS)
    assert (tmp_path / "models" / "owner--name" / "model.safetensors").read_bytes() == WEIGHTS
    assert f"GET /owner/name/resolve/{COMMIT}/model.safetensors" in hub.asked
    assert network_log.read_text() == before


def test_changed_files_of_a_pulled_model_are_refused(hub: Hub, tmp_path: Path) -> None:
    pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models")
    folder = tmp_path / "models" / "owner--name"
    (folder / "config.json").write_bytes(CONFIG + b" ")
    with pytest.raises(
        DigestMismatchError, match=r"config\.json has SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}, "
    ):
        read_timm_config(folder)


def test_a_repository_without_the_files(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    error = pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models")
    assert error["code"] == "model.download"
    assert str(error["message"]).startswith("owner/name could not be fetched: 404 Client Error")
    assert list((tmp_path / "models").iterdir()) == []


def test_no_such_repository(hub: Hub, tmp_path: Path) -> None:
    error = pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models", "owner/other")
    assert error["code"] == "model.download"
    assert list((tmp_path / "models").iterdir()) == []


def test_a_refused_connection(tmp_path: Path) -> None:
    error = pull("http://127.0.0.1:1", tmp_path / "models")
    assert error["code"] == "model.download"
    assert str(error["message"]).startswith("owner/name could not be fetched: ")
    assert "refused" in str(error["message"])
    assert list((tmp_path / "models").iterdir()) == []


def test_offline_mode_is_respected(hub: Hub, tmp_path: Path) -> None:
    error = pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models", HF_HUB_OFFLINE="1")
    assert error["code"] == "model.download"
    assert hub.asked == []


@pytest.mark.slow
def test_a_connection_that_breaks_in_the_middle(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub tries five times, a second apart."""
    hub.cut = True
    error = pull(f"http://127.0.0.1:{hub.port}", tmp_path / "models")
    assert error["code"] == "model.download"
    assert "peer closed connection" in str(error["message"])
    assert list((tmp_path / "models").iterdir()) == []
