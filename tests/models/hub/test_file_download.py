"""Downloads from a server on this machine that cuts off, stalls, lies and redirects."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.filesystems import full_disk, small_disk
from tests.models.hub.fake_source import FakeSource, names, run_fake_source

from safelight.errors import (
    DigestMismatchError,
    DownloadDeniedError,
    DownloadError,
    DownloadMissingError,
    DownloadStoppedError,
    OutputError,
)
from safelight.models.hub.file_download import RemoteFile, download_file
from safelight.models.hub.http_source import HttpSource

DATA = os.urandom(3 * 1024 * 1024 + 17)
HALF = len(DATA) // 2
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[FakeSource]:
    with run_fake_source() as source:
        source.files["/file"] = DATA
        yield source


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def source(server: FakeSource, waits: list[float]) -> HttpSource:
    return HttpSource(server.url, "secret", timeout=0.3, sleep=waits.append)


@pytest.fixture
def file(server: FakeSource) -> RemoteFile:
    return RemoteFile("file", f"{server.url}/file", len(DATA), sha256=SHA256)


def test_a_file_arrives_with_progress(source: HttpSource, file: RemoteFile, tmp_path: Path) -> None:
    progress: list[int] = []
    assert download_file(source, file, tmp_path / "new" / "part", on_progress=progress.append) == SHA256
    assert (tmp_path / "new" / "part").read_bytes() == DATA
    assert progress[-1] == len(DATA)
    assert names(tmp_path / "new") == ["part"]


@pytest.mark.parametrize("fault", ["cut", "stall", 503, 500])
def test_a_failure_on_the_way_is_continued(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path, fault: str | int
) -> None:
    server.faults["/file"] = [fault]
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert server.ranges("/file") == [None, None if isinstance(fault, int) else f"bytes={HALF}-"]


def test_a_connection_that_always_fails_is_an_error_and_keeps_what_arrived(
    server: FakeSource, source: HttpSource, file: RemoteFile, waits: list[float], tmp_path: Path
) -> None:
    server.faults["/file"] = ["cut", *([502] * 9)]
    with pytest.raises(
        DownloadError, match=r"127\.0\.0\.1 answers with the status 502\. It was tried 5 times"
    ):
        download_file(source, file, tmp_path / "part")
    assert waits == [1, 2, 4, 8]
    server.faults.clear()
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert server.ranges("/file")[-1] == f"bytes={HALF}-"


def test_a_server_that_ignores_ranges_sends_everything_again(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.faults["/file"] = ["cut", "no range"]
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert (tmp_path / "part").read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_fetched_anew(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.faults["/file"] = ["cut"]

    def change() -> None:
        server.files["/file"] = bytes(len(DATA))

    server.on_half = change
    new = replace(file, sha256=hashlib.sha256(bytes(len(DATA))).hexdigest())
    download_file(source, new, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == bytes(len(DATA))
    with pytest.raises(DigestMismatchError):
        download_file(source, file, tmp_path / "part")
    assert names(tmp_path) == []


def test_bytes_of_another_version_without_etags_are_dropped(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.etags = False
    server.files["/file"] = bytes(len(DATA))
    server.faults["/file"] = ["cut"]
    server.on_half = lambda: server.files.update({"/file": DATA})
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert server.ranges("/file") == [None, f"bytes={HALF}-", None]
    assert (tmp_path / "part").read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_wrong_size_is_an_error(source: HttpSource, file: RemoteFile, size: int, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError, match=f"file has {len(DATA)} bytes, not {size}"):
        download_file(source, replace(file, size=size), tmp_path / "part")
    assert names(tmp_path) == []


def test_more_than_the_stated_size_is_not_written(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.faults["/file"] = ["unlimited"]
    with pytest.raises(DigestMismatchError, match="has more than"):
        download_file(source, file, tmp_path / "part")
    assert names(tmp_path) == []


def test_a_wrong_digest_is_an_error(source: HttpSource, file: RemoteFile, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError, match=f"file has SHA-256 {SHA256}, not {'0' * 64}"):
        download_file(source, replace(file, sha256="0" * 64), tmp_path / "part")
    small = replace(file, sha256=None, git_oid="0" * 40)
    with pytest.raises(DigestMismatchError, match="is not the file that"):
        download_file(source, small, tmp_path / "part")
    assert names(tmp_path) == []


def test_a_redirect_to_another_host_gets_no_token(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.redirects |= {"/start": "/next", "/next": f"{server.other_host}/file"}
    download_file(source, replace(file, url=f"{server.url}/start"), tmp_path / "part")
    sent = [(each.host, each.path, each.headers.get("Authorization")) for each in server.received]
    assert sent == [
        ("127.0.0.1", "/start", "Bearer secret"),
        ("127.0.0.1", "/next", "Bearer secret"),
        ("localhost", "/file", None),
    ]
    assert "secret" not in repr(source)


def test_redirects_without_end_or_to_what_is_not_fetched_from(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.redirects["/circle"] = "/circle"
    with pytest.raises(DownloadError, match="redirects too often"):
        download_file(source, replace(file, url=f"{server.url}/circle"), tmp_path / "part")
    for address in ("file:///etc/passwd", f"http://user:word@127.0.0.1:{server.port}/file"):
        server.redirects["/away"] = address
        with pytest.raises(DownloadError, match="an address that is not fetched from"):
            download_file(source, replace(file, url=f"{server.url}/away"), tmp_path / "part")
    encrypted = HttpSource("https://127.0.0.1", sleep=lambda _: None)
    with pytest.raises(DownloadError, match="redirects to plain http"):
        download_file(encrypted, file, tmp_path / "part")
    assert "part" not in names(tmp_path)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, DownloadDeniedError, r"status 401"),
        (403, DownloadDeniedError, r"status 403"),
        (404, DownloadMissingError, r"no such model, revision or file \(status 404\)"),
        (418, DownloadError, r"status 418"),
    ],
)
def test_a_refusal_is_not_tried_again(
    server: FakeSource,
    source: HttpSource,
    file: RemoteFile,
    status: int,
    error: type[DownloadError],
    message: str,
    tmp_path: Path,
) -> None:
    server.faults["/file"] = [status]
    with pytest.raises(error, match=message):
        download_file(source, file, tmp_path / "part")
    assert len(server.received) == 1


def test_a_wrong_token_is_an_error_with_the_sources_words(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.tokens = {"other"}
    with pytest.raises(DownloadDeniedError, match="It says: The creator wants you to be logged in") as caught:
        download_file(source, file, tmp_path / "part")
    assert "--token-file" in caught.value.hint
    assert "secret" not in caught.value.message


def test_the_time_that_a_source_asks_to_wait(
    server: FakeSource, source: HttpSource, file: RemoteFile, waits: list[float], tmp_path: Path
) -> None:
    server.faults["/file"], server.retry_after = [429, 429], "7"
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert waits == [7, 7]
    server.faults["/file"], server.retry_after = [429], "Fri, 31 Dec 9999 23:59:59 GMT"
    with pytest.raises(DownloadError, match=r"status 429\. It asks to wait \d+ seconds"):
        download_file(source, file, tmp_path / "other")


def test_a_web_page_is_no_file(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.faults["/file"] = ["html"]
    with pytest.raises(DownloadError, match="sends a web page instead of file") as caught:
        download_file(source, file, tmp_path / "part")
    assert "login" in caught.value.hint
    assert "part" not in names(tmp_path)


def test_a_stop_keeps_what_has_arrived(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    with pytest.raises(DownloadStoppedError):
        download_file(source, file, tmp_path / "part", should_stop=lambda: True)
    kept = (tmp_path / "part").stat().st_size
    assert 0 < kept < len(DATA)
    assert download_file(source, file, tmp_path / "part") == SHA256
    assert server.ranges("/file")[-1] == f"bytes={kept}-"


def test_one_process_downloads_at_a_time(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    messages = []

    def again(_: int) -> None:
        with pytest.raises(DownloadError, match="is being downloaded already") as caught:
            download_file(source, file, tmp_path / "part")
        messages.append(caught.value.message)

    download_file(source, file, tmp_path / "part", on_progress=again)
    assert messages
    assert len(server.received) == 1


SCRIPT = """
import sys
from pathlib import Path
from safelight.models.hub.file_download import RemoteFile, download_file
from safelight.models.hub.http_source import HttpSource
url, size, digest, path = sys.argv[1:]
download_file(HttpSource(url), RemoteFile("file", url + "/file", int(size), sha256=digest), Path(path))
"""


def test_a_killed_process_is_continued_by_another(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    server.faults["/file"] = ["stall"]
    command = [sys.executable, "-c", SCRIPT, server.url, str(len(DATA)), SHA256, str(tmp_path / "part")]
    process = subprocess.Popen(command)
    part = tmp_path / "part"
    while process.poll() is None and not (part.exists() and part.stat().st_size >= HALF):
        pass
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert download_file(source, file, part) == SHA256
    assert server.ranges("/file") == [None, f"bytes={HALF}-"]
    assert part.read_bytes() == DATA


def test_a_disk_without_room_is_found_out_before(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path, 66) as disk,
        pytest.raises(OutputError, match="too little space for file: 1 MB more"),
    ):
        download_file(source, file, disk / "part")


def test_a_disk_that_fills_up_on_the_way_keeps_what_fits(
    server: FakeSource, source: HttpSource, file: RemoteFile, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 72) as disk:

        def fill(_: int) -> None:
            if not (disk / "ballast").exists():
                stack.enter_context(full_disk(disk))

        from contextlib import ExitStack

        with ExitStack() as stack, pytest.raises(OutputError, match="No space left"):
            download_file(source, file, disk / "part", on_progress=fill)
        kept = (disk / "part").stat().st_size
        assert 0 < kept < len(DATA)
        assert download_file(source, file, disk / "part") == SHA256
        assert server.ranges("/file")[-1] == f"bytes={kept}-"
