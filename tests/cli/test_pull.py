"""``safelight models pull`` with a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import pty
import subprocess
import sys
from collections.abc import Iterator
from os import close, read, write

import pytest
import torch
from safetensors.torch import save
from tests.models.hub.fake_source import COMMIT, FakeSource, run_fake_source

LORA = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 768)})


@pytest.fixture
def server() -> Iterator[FakeSource]:
    with run_fake_source() as source:
        source.add_repository("owner/parts", {"style.safetensors": LORA})
        yield source


@pytest.fixture
def own(server, tmp_path):
    names = {"HOME": str(tmp_path / "home"), "HUB_URL": server.url, "CIVITAI_URL": server.url}
    return {f"SAFELIGHT_{name}": value for name, value in names.items()}


def test_size_and_licence_come_before_the_download(safelight, server, own, tmp_path):
    shown = safelight("models", "pull", "owner/parts", "--dry-run", **own)
    assert shown.status == 0
    assert "licence: openrail++" in shown.err
    assert "0.0 MB in 1 file" in shown.err
    body = safelight("models", "pull", "owner/parts", "--dry-run", "--json", **own).json_body
    assert (body["size"], body["licence"], body["reference"]) == (
        len(LORA),
        "openrail++",
        f"owner/parts@{COMMIT}",
    )
    assert not (tmp_path / "home").exists()
    asked = safelight("models", "pull", "owner/parts", **own)
    assert asked.status == 2
    assert "There is no terminal to ask on" in asked.err
    assert not any("/cdn/" in each.path for each in server.received)
    del server.documents["/api/models/owner/parts"]["siblings"][0]["size"]
    shown = safelight("models", "pull", "owner/parts", "--dry-run", **own)
    assert "style.safetensors  size not stated" in shown.err
    assert "at least 0.0 MB in 1 file" in shown.err


def test_pulled_files_are_shown_by_name_and_removed(safelight, own, tmp_path):
    done = safelight("models", "pull", "owner/parts", "--json", **own).json_body
    path = tmp_path / "home" / "loras" / "style.safetensors"
    assert (done["path"], done["kind"], done["present"]) == (str(path), "LoRA", False)
    assert done["files"] == {"style.safetensors": hashlib.sha256(LORA).hexdigest()}
    again = safelight("models", "pull", "owner/parts", "--yes", **own)
    assert again.out.startswith("style: LoRA for sd1, is here already, all digests checked")


def test_a_token_on_the_command_line_is_not_taken(safelight, server, own, tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    open_to_all = safelight("models", "pull", "owner/parts", "--token-file", token, "--json", **own)
    assert open_to_all.json_body["error"]["code"] == "settings"
    token.chmod(0o600)
    server.tokens = {"secret"}
    assert safelight("models", "pull", "owner/parts", "--token-file", token, "--json", **own).status == 0
    assert safelight("models", "pull", "owner/parts", "--token", "secret", **own).status == 2


@pytest.mark.parametrize(("answer", "downloaded"), [(b"n\n", False), (b"y\n", True)])
def test_a_terminal_is_asked(environment, server, own, tmp_path, answer, downloaded):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "safelight", "models", "pull", "owner/parts"]
    process = subprocess.Popen(command, env=environment | own, stdin=theirs, stdout=theirs, stderr=theirs)
    close(theirs)
    text = b""
    while b"Download it?" not in text:
        text += read(ours, 1000)
    assert b"licence: openrail++" in text
    write(ours, answer)
    try:
        while read(ours, 1000):
            pass
    except OSError:  # the terminal is closed
        pass
    assert process.wait() == 0
    close(ours)
    assert (tmp_path / "home" / "loras" / "style.safetensors").exists() is downloaded


def test_a_classifier_is_pulled_whole_or_not_at_all(safelight, server, own, tmp_path):
    for option in (("--dry-run",), ("--file", "model.safetensors")):
        refused = safelight("models", "pull", "nsfw-image-detection-384", *option, **own)
        assert (refused.status, "is a classifier" in refused.err) == (2, True)
    assert not (tmp_path / "home").exists()
