"""The report on an accelerator: made on the CPU and on one that is not there, refused without one."""

from __future__ import annotations

from typing import Any

import pytest
from bench.gpu import ChangedError, Report, main
from tests.fake_cuda import FakeCuda

from bench import gpu
from safelight.errors import BackendError, RunStoppedError


def test_without_an_accelerator_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda **_: None)
    assert main([]) == 2
    assert "--device cpu" in capsys.readouterr().err
    with pytest.raises(BackendError, match="no accelerator"):
        gpu.find_accelerator("auto")


def test_a_family_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--only", "families", "--families", "sd1"]) == 0
    written = capsys.readouterr().out
    assert "| sd1 | 99.0 | 99.0 | fp32 |" in written
    assert "Everything that was run passed." in written


def test_a_family_on_an_accelerator(cuda: FakeCuda, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "families", "--families", "sd1"]) == 0
    written = capsys.readouterr().out
    assert "on NVIDIA" in written
    assert "| fp16 |" in written
    assert cuda.syncs


def test_what_fails_and_what_there_is_no_time_for(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> Any:
        raise error

    report = Report(minutes=1)
    rows: gpu.Rows = [
        ("far", lambda: fail(ChangedError("PSNR 3 dB"))),
        ("slow", lambda: fail(RunStoppedError())),
        ("good", lambda: ["a|b"]),
    ]
    report.table("Things", "result", rows)
    report.minutes = 0
    report.table("Others", "result", rows[2:])
    assert report.failed == ["Things: far: PSNR 3 dB"]
    assert report.left_out == ["Things: slow", "Others: good"]
    gpu.print_summary(report)
    written = capsys.readouterr().out
    assert "| far | **failed**: PSNR 3 dB |" in written
    assert "| good | a/b |" in written
    assert "- Others: good" in written
    assert "passed" not in written
