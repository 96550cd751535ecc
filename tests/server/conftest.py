"""Shared fixtures of the server tests: a real database with tables, the application on it, and a real server."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.free_port import free_port

from safelight import logs
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.server.app import create_app
from safelight.server.security.keys import SCHEMA
from safelight.settings import Settings

FAST = {"SAFELIGHT_BACKEND": "onnxruntime", "SAFELIGHT_PRECISION": "fp32", "OMP_NUM_THREADS": "1"}
"""Settings without a backend probe and with one thread, so that starting is quick."""
LOCAL, SOCKET = "http://127.0.0.1:7860", "ws://127.0.0.1:7860"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose database has all tables and no rows; tests copy it."""
    home = tmp_path_factory.mktemp("prepared")
    prepare_database(Settings(home=home), SCHEMA)
    return home


@pytest.fixture
def server_home(prepared: Path, tmp_path: Path) -> Path:
    """The test's own data directory, with tables."""
    return Path(shutil.copytree(prepared, tmp_path / "home"))


@pytest.fixture
def open_service(server_home: Path) -> Iterator[Callable[..., QueueService]]:
    """Open the test's database with the settings that a test chooses."""
    opened = []

    def service(**fields: object) -> QueueService:
        chosen = {"home": server_home, "backend": "onnxruntime", "precision": "fp32"} | fields
        opened.append(QueueService.open(Settings.load(**chosen)))
        return opened[-1]

    yield service
    for one in opened:
        one.close()


@pytest.fixture
def service(open_service: Callable[..., QueueService]) -> QueueService:
    return open_service()


@pytest.fixture
def client(service: QueueService) -> Iterator[TestClient]:
    """A client on this machine of the application without workers."""
    with app_client(create_app(service, service.settings)) as client:
        yield client


@contextmanager
def app_client(app: FastAPI, **headers: str) -> Iterator[TestClient]:
    """A client of an application that runs in this process."""
    client = TestClient(app, LOCAL, raise_server_exceptions=False, client=("127.0.0.1", 50000))
    client.headers.update(headers)
    with client:
        yield client


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The server's log so far, as the JSON objects of its lines."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", written)
        logs.configure_logging()
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


@contextmanager
def run_processes(
    home: Path, *commands: list[str], **settings: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of safelight on a data directory; their log is ``safelight.log`` in it."""
    environment = os.environ | FAST | {"SAFELIGHT_HOME": str(home)} | settings
    with (home / "safelight.log").open("ab") as log:
        running = [
            subprocess.Popen([sys.executable, "-m", "safelight", *command], env=environment, stderr=log)
            for command in commands
        ]
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_status(url: str, path: str, *, status: int = 200, seconds: float = 120) -> httpx2.Response:
    """Repeat a GET request until the response has the status."""
    deadline = time.monotonic() + seconds
    with httpx2.Client(timeout=10) as client:  # one for all: each loads the certificates, which takes a while
        while True:
            try:
                response = client.get(url + path)
            except httpx2.TransportError:
                response = None
            if response is not None and response.status_code == status:
                return response
            assert time.monotonic() < deadline, f"{url}{path}: {response and response.text}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def serving_home(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of ``server``, with its log and its worker's."""
    return Path(shutil.copytree(prepared, tmp_path_factory.mktemp("server") / "home"))


@pytest.fixture(scope="session")
def server(serving_home: Path) -> Iterator[str]:
    """The URL of a real server whose worker generates with the starter; shared by all tests, which must not change
    it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with run_processes(serving_home, ["api", "--port", str(port)], ["worker", "--device", "cpu"]):
        wait_for_status(url, "/health/ready")
        yield url


def read_log(home: Path) -> list[dict[str, Any]]:
    """The log lines that ``run_processes`` wrote, without one that is being written."""
    lines = (home / "safelight.log").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge_png(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header claims an enormous image."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(bytes(100_000), 9))
    return b"\x89PNG\r\n\x1a\n" + head + body + _chunk(b"IEND", b"")
