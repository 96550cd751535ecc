"""A server on this machine that answers as the hub and CivitAI do, by their published references, and fails on request.

``127.0.0.1`` is the source, ``localhost`` its content delivery network: another host, where a token must not arrive.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Received:
    """A request that arrived."""

    host: str
    path: str
    headers: Mapping[str, str]


@dataclass
class FakeSource:
    """The server.

    Args:
        port: Its port.
        files: Bodies by path.
        documents: JSON by path.
        redirects: Locations by path; the status is 302.
        faults: By path, what is wrong with the next answers, one each: a number is a status; "cut" and "stall" send
            half; "no range" answers a Range request with everything; "html" is a web page; "changed" sends another
            ETag; "unlimited" sends no length, and more than there is.
        retry_after: The header of answers 429 and 503.
        tokens: Tokens of which one must arrive at the source; none are needed if empty.
        received: The requests.
        release: Ends a stalled answer.
        on_half: Called when half of a body was sent.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    faults: defaultdict[str, list[str | int]] = field(default_factory=lambda: defaultdict(list))
    retry_after: str = ""
    tokens: set[str] = field(default_factory=set)
    received: list[Received] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    on_half: Callable[[], None] = lambda: None
    etags: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_host(self) -> str:
        return f"http://localhost:{self.port}"

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers that arrived for a path."""
        return [each.headers.get("Range") for each in self.received if each.path == path]

    def add_hub_file(self, repository: str, name: str, data: bytes) -> None:
        """A file of a repository, on the content delivery network."""
        blob = f"/cdn/{hashlib.sha256(data).hexdigest()}"
        self.files[blob] = data
        self.redirects[f"/{repository}/resolve/{COMMIT}/{name}"] = f"{self.other_host}{blob}"

    def add_repository(self, repository: str, files: Mapping[str, bytes], **more: Any) -> None:
        """A repository; files of weights are in LFS, others in git."""
        siblings = []
        for name, data in files.items():
            oid = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": oid}
            if name.endswith((".safetensors", ".gguf", ".bin", ".ckpt")):
                sibling["lfs"] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
                self.add_hub_file(repository, name, data)
            else:
                self.files[f"/{repository}/resolve/{COMMIT}/{name}"] = data
            siblings.append(sibling)
        card = {"cardData": {"license": "openrail++"}, "tags": ["license:openrail++"], "gated": False}
        body = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, **card, **more}
        for path in ("", f"/revision/{COMMIT}", "/revision/main", "/revision/v1.0"):
            self.documents[f"/api/models/{repository}{path}"] = body

    def add_civitai(self, name: str, data: bytes, kind: str = "LORA", **more: Any) -> None:
        """Model 7 with version 21, whose file is on the content delivery network."""
        digest = hashlib.sha256(data).hexdigest().upper()
        file = {
            "id": 3,
            "name": name,
            "type": "Model",
            "sizeKB": len(data) / 1024,
            "metadata": {"format": "SafeTensor", "size": "pruned", "fp": "fp16"},
            "pickleScanResult": "Success",
            "virusScanResult": "Success",
            "hashes": {"AutoV2": digest[:10], "SHA256": digest, "CRC32": "DAEE95B7", "BLAKE3": "1A411D9B"},
            "downloadUrl": "https://civitai.com/api/download/models/21",
            "primary": True,
        } | more
        version = {
            "id": 21,
            "name": "v2",
            "baseModel": "SDXL 1.0",
            "trainedWords": ["ink wash", "ink wash,"],
            "files": [file],
            "images": [{"url": "x", "meta": None}, {"url": "y", "meta": {"prompt": "a boat, ink wash"}}],
            "downloadUrl": "https://civitai.com/api/download/models/21",
        }
        self.documents["/api/v1/models/7"] = {
            "id": 7,
            "name": "Ink",
            "type": kind,
            "nsfw": False,
            "allowNoCredit": False,
            "allowCommercialUse": ["Image"],
            "allowDerivatives": True,
            "allowDifferentLicense": False,
            "modelVersions": [version, version | {"id": 20, "name": "v1"}],
        }
        self.documents["/api/v1/model-versions/21"] = version | {
            "modelId": 7,
            "model": {"name": "Ink", "type": kind},
        }
        self.files["/cdn/ink"] = data
        self.redirects["/api/download/models/21"] = f"{self.other_host}/cdn/ink?signature=secret"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        host = handler.headers["Host"].partition(":")[0]
        self.received.append(Received(host, path, dict(handler.headers.items())))
        fault = self.faults[path].pop(0) if self.faults[path] else None
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if host == "127.0.0.1" and self.tokens and token not in self.tokens:
            body = {"error": "Unauthorized", "message": "The creator wants you to be logged in"}
            self._send(handler, 401, json.dumps(body).encode())
        elif isinstance(fault, int):
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            self._send(handler, fault, b"{}", **headers)
        elif fault == "html":
            self._send(
                handler, 200, b"<!doctype html><p>Log in", **{"Content-Type": "text/html; charset=utf-8"}
            )
        elif path in self.redirects:
            self._send(handler, 302, b"", Location=self.redirects[path])
        elif path in self.documents:
            self._send(
                handler,
                200,
                json.dumps(self.documents[path]).encode(),
                **{"Content-Type": "application/json"},
            )
        elif path in self.files:
            self._send_file(handler, self.files[path], fault)
        else:
            self._send(handler, 404, b"{}", **{"X-Error-Code": "RepoNotFound"} if "/api/" in path else {})

    def _send_file(self, handler: BaseHTTPRequestHandler, data: bytes, fault: str | None) -> None:
        etag = f'"{hashlib.md5(data + (b"x" if fault == "changed" else b"")).hexdigest()}"'
        headers = {"ETag": etag} if self.etags else {}
        headers["Content-Type"] = "application/octet-stream"
        if fault == "unlimited":
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data + bytes(4096))
            handler.close_connection = True
            return
        asked = handler.headers.get("Range")
        current = handler.headers.get("If-Range", etag) == etag
        start = (
            int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "no range" and current else 0
        )
        if start >= len(data) > 0:
            self._send(handler, 416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            return
        partial = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        body = data[start:]
        self._send(
            handler,
            206 if start else 200,
            body,
            fault if fault in ("cut", "stall") else None,
            **headers,
            **partial,
        )

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        fault: str | None = None,
        **headers: str,
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if fault else body)
        handler.wfile.flush()
        if fault:
            self.on_half()
            if fault == "stall":
                self.release.wait(20)
            handler.close_connection = True


def names(folder: Path) -> list[str]:
    """The names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def run_fake_source() -> Iterator[FakeSource]:
    """Run the server while the block lasts."""
    source = FakeSource()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            source.answer(self)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # clients that stop in the middle

    with Server(("", 0), Handler) as server:
        source.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield source
        source.release.set()
        server.shutdown()
        thread.join()
