"""``safelight train lora`` and ``safelight train embedding``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.cli.conftest import RunCommand

from safelight.cli.train import _Progress


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "tomatoes"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (70, 64), (200, 30 * number, 20)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a tomato")
    return folder


@pytest.fixture
def train(safelight: RunCommand, tiny: Callable[[str], Path], pictures: Path) -> RunCommand:
    usual = ("--checkpoint", tiny("sd1"), "--rank", 2, "--batch", 1, "--resolution", 64, "--json")
    return lambda *arguments: safelight("train", "lora", pictures, *usual, *arguments)


def test_a_lora_goes_into_the_data_directory(train: RunCommand, home: Path) -> None:
    ran = train("--steps", 2, "--trigger", "zork")
    assert ran.status == 0
    path = home / "loras" / "tomatoes.safetensors"
    assert ran.json_body["out"] == str(path)
    assert (ran.json_body["steps"], ran.json_body["stopped"], ran.json_body["pictures"]) == (2, False, 2)
    assert ran.json_body["size"] == path.stat().st_size
    assert "step 2 of 2, loss" in ran.err
    assert len(load_file(path)) == 3 * ran.json_body["layers"]
    assert train("--steps", 2).json_body["error"]["code"] == "output.exists"
    path.unlink()


def test_ctrl_c_writes_what_is_trained_and_the_same_command_goes_on(
    train: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.safetensors"
    report = _Progress.report

    def interrupted(self: _Progress, done: int, loss: float) -> None:
        report(self, done, loss)
        if done == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(_Progress, "report", interrupted)
        ran = train("--steps", 3, "--out", out)
    assert (ran.status, ran.json_body["steps"], ran.json_body["stopped"]) == (0, 1, True)
    assert "goes on from here" in ran.err
    stopped = load_file(out)
    ran = train("--steps", 3, "--out", out, "--overwrite")
    assert "Going on after step 1" in ran.err
    assert (ran.json_body["steps"], ran.json_body["stopped"]) == (3, False)
    assert load_file(out).keys() == stopped.keys()
    assert not (tmp_path / "x.training").exists()


def test_what_cannot_be_trained(train: RunCommand, pictures: Path, tmp_path: Path) -> None:
    assert train("--out", "x.pt").json_body["error"]["code"] == "usage"
    assert train("--checkpoint", "nothing").json_body["error"]["code"] == "checkpoint.missing"
    assert "no multiple of 8" in train("--resolution", 100).json_body["error"]["message"]
    (pictures / "1.txt").unlink()
    ran = train()
    assert (ran.status, ran.json_body["error"]["code"]) == (2, "training.data")
    assert "1.png" in ran.json_body["error"]["message"]
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_textual_inversion_goes_into_the_data_directory(
    safelight: RunCommand, tiny: Callable[[str], Path], pictures: Path, home: Path
) -> None:
    usual = ("--checkpoint", tiny("sd1"), "--batch", 1, "--resolution", 64, "--steps", 1, "--json")
    ran = safelight("train", "embedding", pictures, *usual, "--vectors", 2, "--words", "fruit")
    assert ran.status == 0
    path = home / "embeddings" / "tomatoes.safetensors"
    assert (ran.json_body["out"], ran.json_body["vectors"]) == (str(path), 2)
    assert load_file(path)["emb_params"].shape[0] == 2
    assert safelight("train", "embedding", pictures, *usual).json_body["error"]["code"] == "output.exists"
