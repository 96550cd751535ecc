"""The command line with a real server that generates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client
from PIL import Image

from safelight.cli.app import run
from safelight.client import Client, GenerateJob
from safelight.generation.record import ReproductionRecord
from safelight.images.metadata.file_metadata import read_metadata

SMALL = ("--steps", "4", "--size", "128x128")
DRAWN = {
    "path",
    "seed",
    "width",
    "height",
    "steps",
    "sampler",
    "adapters",
    "control",
    "references",
    "checkpoint",
    "seconds",
    "stopped_at",
    "memory",
    "notes",
}
JUDGED = {
    "decision",
    "scores",
    "unsafe",
    "embedding_dim",
    "classifier",
    "policy",
    "frame",
    "tile",
    "notes",
    "error",
}

Command = Callable[..., tuple[int, list[Any], str]]


@pytest.fixture
def afar(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run a command with --json and SAFELIGHT_SERVER set; returns its status, its JSON lines and its stderr."""
    monkeypatch.setenv("SAFELIGHT_SERVER", server)
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path / "nothing-here"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, list[Any], str]:
        status = run([*map(str, arguments), "--json"])
        out, err = capfd.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return command


def test_pictures_from_a_prompt(afar: Command, tmp_path: Path) -> None:
    status, rows, _ = afar("generate", "a red apple", *SMALL, "--seed", 7, "--count", 2, "--out", "drawn")
    assert status == 0
    assert [Path(row["path"]).name for row in rows] == ["a-red-apple-7.png", "a-red-apple-8.png"]
    for row in rows:
        assert row.keys() == DRAWN | {"verdict"}
        assert row["verdict"].keys() == JUDGED
        record = ReproductionRecord.parse(read_metadata(tmp_path / row["path"]).record or "")
        assert (record.seed, record.steps) == (row["seed"], 4)
        assert row["verdict"]["policy"]["digest"]
        assert row["verdict"]["classifier"]["name"] == "open-nsfw"
        assert row["verdict"]["embedding_dim"] == 1024
        assert (row["seconds"] > 0, row["stopped_at"]) == (True, None)
        assert (row["memory"]["steps"], row["memory"]["planned"]) == ([], {})  # everything certainly fits
        assert "denoise" in row["memory"]["measured"]
    assert not (tmp_path / "nothing-here").exists()


def test_a_preprocessed_picture(afar: Command, tmp_path: Path, photographs: list[Path]) -> None:
    status, rows, _ = afar(
        "preprocess", photographs[1], "--with", "canny", "--resolution", 128, "--out", "edges.png"
    )
    assert status == 0
    (row,) = rows
    assert row["verdict"].keys() == JUDGED
    assert (row["path"], row["width"], row["height"]) == ("edges.png", 192, 128)
    with Image.open(tmp_path / "edges.png") as written:
        assert written.size == (192, 128)
    for name, code in (("canyn", "preprocessor.unknown"), ("depth", "preprocessor.model")):
        status, rows, _ = afar("preprocess", photographs[1], "--with", name)
        assert (status, rows[0]["error"]["code"]) == (2, code)
    status, rows, _ = afar("segment", photographs[1], "--point", "40,40")
    assert (status, rows[0]["error"]["code"]) == (2, "preprocessor.model")


def test_set_takes_precedence_over_an_option_as_without_a_server(afar: Command) -> None:
    options = ("--checkpoint", "nowhere", "--set", "checkpoint=starter")
    status, (row,), _ = afar("generate", "x", *SMALL, *options)
    assert (status, row["checkpoint"]) == (0, "starter")


def test_formats_and_one_file(afar: Command, tmp_path: Path) -> None:
    status, (row,), _ = afar("generate", "x", *SMALL, "--out", "one.webp", "--file-quality", 10)
    assert (status, row["path"]) == (0, "one.webp")
    assert format_and_size(tmp_path / "one.webp") == ("WEBP", (128, 128))
    record = ReproductionRecord.parse(read_metadata(tmp_path / "one.webp").record or "")
    assert record.file is not None
    assert record.file.quality == 10


def test_pictures_from_a_picture(afar: Command, tmp_path: Path, photographs: list[Path]) -> None:
    status, (row,), _ = afar(
        "edit", photographs[1], "a hat", *SMALL, "--strength", 0.5, "--set", "guidance_rescale=0.1"
    )
    assert status == 0
    assert format_and_size(tmp_path / row["path"]) == ("PNG", (128, 128))


def test_upscaling(afar: Command, tmp_path: Path, photographs: list[Path]) -> None:
    status, (row,), _ = afar("upscale", photographs[1], "--by", 1.5, "--format", "jpeg")
    assert (status, row["upscaler"], row["factor"]) == (0, "lanczos", 1.5)
    assert (
        format_and_size(tmp_path / row["path"])
        == ("JPEG", (row["width"], row["height"]))
        == ("JPEG", (676, 450))
    )


def test_verdicts(afar: Command, photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"hello")
    status, rows, _ = afar("moderate", photographs[0].parent, "broken.png", "nothing.png")
    assert status == 2
    assert [row["decision"] for row in rows] == ["allow"] * 5 + ["error"] * 2
    assert all(row.keys() == JUDGED | {"path"} for row in rows)
    assert [row["error"] and row["error"]["code"] for row in rows[5:]] == [
        "image.not_recognised",
        "file.missing",
    ]
    status, (row,), _ = afar("moderate", photographs[1], "--embeddings", "--policy", "strict")
    assert (status, len(row["embedding"]), row["policy"]["name"]) == (0, 1024, "strict")


def test_models(afar: Command) -> None:
    _, (body,), _ = afar("models", "list")
    assert [checkpoint["name"] for checkpoint in body["checkpoints"]] == ["starter"]
    assert [model["name"] for model in body["models"]] == ["open-nsfw"]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("generate", "x", "--policy", "strict"), 2, "usage"),
        (("generate", "x", "--explain-prompt"), 2, "usage"),
        (("generate", "x", "--checkpoint", "/etc/passwd"), 2, "checkpoint.missing"),
        (("generate", "x", "--steps", "0"), 2, "request.below_minimum"),
        (("edit", "nothing.png", "x"), 2, "file.missing"),
        (("upscale", "nothing.png"), 2, "file.missing"),
        (("moderate", "x", "--exact"), 2, "usage"),
        (("moderate", "x", "--explain", "heat"), 2, "usage"),
        (("moderate", __file__, "--policy", "/etc/passwd"), 2, "request.choice"),
        (("moderate", __file__, "--classifier", "/etc"), 2, "model.unknown"),
        (("jobs", "show", "0" * 27), 2, "job.missing"),
        (("jobs", "list", "--state", "odd"), 2, "usage"),
        (("generate", "x", "--server", "http://127.0.0.1:1"), 3, "client.server"),
        (("generate", "x", "--server", "odd"), 2, "settings"),
    ],
)
def test_refused_requests(
    afar: Command, tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    found, (body,), said = afar(*arguments)
    assert (found, body["error"]["code"]) == (status, code)
    assert f"error [{code}]" in said
    assert list(tmp_path.glob("**/*.png")) == []


def test_jobs(afar: Command, server: str) -> None:
    with Client(server) as client:
        long = client.submit(GenerateJob(prompt="long", steps=1000, count=1000, sampler="Euler a"))
        waiting = client.submit(GenerateJob(prompt="waiting", steps=4))
        try:
            _, (body,), _ = afar("jobs", "list", "--limit", 2)
            assert [job["id"] for job in body["jobs"]] == [waiting.id, long.id]
            _, (body,), _ = afar("jobs", "list", "--state", "succeeded", "--limit", 1)
            assert {job["state"] for job in body["jobs"]} <= {"succeeded"}
            _, (job,), _ = afar("jobs", "show", waiting.id)
            assert job["request"]["prompt"] == "waiting"
        finally:
            afar("jobs", "cancel", long.id)
        status, events, _ = afar("jobs", "watch", long.id)
        assert (status, events[-1]["data"]) == (0, {"state": "cancelled"})
        status, events, _ = afar("jobs", "watch", waiting.id)
        assert (status, events[-1]["data"]) == (0, {"state": "succeeded"})


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("partial", [False, True])
def test_ctrl_c_stops_the_job(server: str, tmp_path: Path, partial: bool) -> None:
    arguments = ["generate", "stopped", "--steps", "1000", "--sampler", "Euler a", "--server", server]
    command = [sys.executable, "-m", "safelight", *arguments, *(["--keep-partial"] if partial else [])]
    with Client(server) as client:
        before = {job.id for job in client.jobs().jobs}
        process = subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        job = _until(lambda: next((each for each in client.jobs().jobs if each.id not in before), None))
        _until(lambda: client.job(job.id).progress)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert client.job(job.id).state == ("succeeded" if partial else "cancelled")
    assert len(list(tmp_path.glob("**/*.png"))) == (1 if partial else 0)


def test_events_and_previews_over_a_socket(server: str) -> None:
    with Client(server) as client:
        job = client.submit(GenerateJob(prompt="x", steps=60))
        address = f"{server.replace('http', 'ws')}/v1/jobs/{job.id}/ws"
        with websockets.sync.client.connect(address) as socket:
            heard = list(socket)
        events = [json.loads(message) for message in heard if isinstance(message, str)]
        pictures = [message for message in heard if isinstance(message, bytes)]
        assert events[0]["data"] == {"state": "queued"}
        assert events[-1]["data"] == {"state": "succeeded"}
        assert [event["kind"] for event in events].count("preview") == len(pictures) > 0
        assert all(picture[:4] == b"RIFF" for picture in pictures)


def format_and_size(path: Path) -> tuple[str | None, tuple[int, int]]:
    """A file's format and size."""
    with Image.open(path) as picture:
        return picture.format, picture.size


def _until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value
