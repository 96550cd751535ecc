"""``safelight plan``: for checkpoints and for families, on this machine and on others."""

from __future__ import annotations

import json

import pytest
import typer

from safelight.cli.plan import plan
from safelight.errors import UsageError
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
