"""``safelight plan``: for checkpoints and for families, on this machine and on others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from tests.generation.lora_files import write_lora
from tests.tiny import controls

from safelight.cli.plan import plan
from safelight.errors import AdapterMissingError, ControlMissingError, UsageError
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.controls.discovery import find_control_by_name
from safelight.runtime.compilation.speed import Speeds


def test_the_starter_fits_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    plan(size="64x64", json=True)
    body = json.loads(capsys.readouterr().out)
    assert body["fits"] is True
    assert body["steps_taken"] == []
    assert [stage["name"] for stage in body["stages"]] == ["text_encoder", "denoise", "decode"]
    assert 0 < body["peak_bytes"] < body["usable_bytes"]


def test_a_family_without_a_checkpoint_on_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    plan(family="sd1", size="512x512", device="cuda", memory="2GB", host_memory="16GB")
    out = capsys.readouterr().out
    assert "fits: at most" in out
    assert "of 1.80 GB" in out
    assert "unet block by block from the host's memory" in out
    with pytest.raises(typer.Exit) as caught:
        plan(family="sd1", size="512x512", device="cuda", memory="100MB", json=True)
    assert caught.value.exit_code == 1
    assert json.loads(capsys.readouterr().out)["fits"] is False


def test_adapters_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    networks = empty_networks(find_checkpoint("starter", tmp_path))
    lora = write_lora(tmp_path / "loras" / "ink.safetensors", {"unet": networks["unet"]})
    plan(size="64x64", lora=["ink"], json=True)
    found = json.loads(capsys.readouterr().out)["adapters"]
    layers = [networks["unet"].get_submodule(name).weight for name in lora.layers["unet"]]
    assert found["changed_bytes"] == 4 * sum(weight.numel() for weight in layers)
    assert found["bytes"] > sum(each.down.nbytes + each.up.nbytes for each in lora.layers["unet"].values())
    plan(size="64x64", lora=["ink"])
    assert "adapters: 0.00" in capsys.readouterr().out
    with pytest.raises(AdapterMissingError):
        plan(size="64x64", lora=["oil"])


def test_controls_are_counted(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny: Callable[[str], Path],
) -> None:
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    controls.controlnet(tiny("sd1"), tmp_path / "controlnet" / "tiny_canny")
    found = find_control_by_name("tiny_canny", [tmp_path / "controlnet"])
    bodies = []
    for names in (["tiny_canny", "tiny_canny", "reference"], None):
        plan(size="64x64", device="cuda", memory="2GB", control=names, json=True)
        bodies.append(json.loads(capsys.readouterr().out))
    itemsize = 4 if bodies[0]["precision"] == "fp32" else 2
    assert bodies[0]["controls"] == {"bytes": itemsize * found.weights()}
    assert bodies[1]["usable_bytes"] - bodies[0]["usable_bytes"] == bodies[0]["controls"]["bytes"]
    assert "controls" not in bodies[1]
    plan(size="64x64", control=["tiny_canny"])
    assert "controls: 0.0" in capsys.readouterr().out
    with pytest.raises(ControlMissingError):
        plan(size="64x64", control=["nope"])


def test_later_stages_take_turns_with_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    plan(size="64x64", refiner="starter", hires=1.5, json=True)
    body = json.loads(capsys.readouterr().out)
    refiner, second = (body["following"][name] for name in ("refiner", "second pass"))
    assert refiner["peak_bytes"] == body["peak_bytes"]
    assert second["peak_bytes"] > body["peak_bytes"]
    plan(size="64x64", hires_checkpoint="starter")
    assert "second pass, when the one before it has made room" in capsys.readouterr().out


def test_what_cannot_be_given_together_is_refused() -> None:
    with pytest.raises(UsageError):
        plan("starter", family="sd1")
    with pytest.raises(UsageError):
        plan(device="cuda")


@pytest.mark.parametrize(("quality", "precision"), [(None, "bf16"), ("exact", "fp32")])
def test_a_plan_is_in_the_precision_in_which_a_picture_would_be_computed(
    quality: str | None,
    precision: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Speeds({"eager fp32": 200.0, "eager bf16": 500.0}, 20.0, 2)
    monkeypatch.setattr("safelight.runtime.compilation.speed.known_speeds", lambda _: measured)
    plan(size="64x64", quality=quality, json=True)
    assert json.loads(capsys.readouterr().out)["precision"] == precision
