"""What was measured of this machine's arithmetic: kept, and measured again for another machine or engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openvino
import pytest

from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime.backends import BACKENDS, Backend
from safelight.runtime.backends.openvino import has_bf16_units
from safelight.runtime.compilation import speed
from safelight.runtime.compilation.speed import Speeds, find_speeds, known_speeds, measure_speeds


class WithBackend:
    """A plug-in with a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @hookimpl
    def register_backends(self, registry: Registry[Backend]) -> None:
        registry.register(self.backend.name, self.backend)


def test_backends_are_measured_in_the_precisions_that_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_ROUNDS", 1)
    missing = replace(BACKENDS["inductor"], name="missing", forms="safelight.no_such_module:Forms")
    with PLUGINS.registered(WithBackend(missing), "missing"):
        measured = measure_speeds([BACKENDS["openvino"], BACKENDS["tensorrt"], missing])
    own = {"openvino fp32", "openvino bf16"} if has_bf16_units(openvino.Core()) else {"openvino fp32"}
    assert measured.gflops.keys() == {"eager fp32", "eager bf16"} | own
    assert measured.problems == {
        "missing": "missing cannot be imported: No module named 'safelight.no_such_module'."
    }
    assert all(value > 0 for value in measured.gflops.values())
    assert measured.gigabytes > 0
    assert measured.speedup("openvino", "fp32") == pytest.approx(
        measured.gflops["openvino fp32"] / measured.gflops["eager fp32"]
    )


@pytest.mark.slow
def test_all_backends_that_are_installed_are_measured() -> None:
    names = {"eager", "openvino", "inductor", "onnxruntime"}
    assert {name.partition(" ")[0] for name in measure_speeds().gflops} == names


def test_it_is_measured_once_and_again_with_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [Speeds({"eager fp32": 100.0, "openvino fp32": 250.0}, 10.0, 1), Speeds({}, 20.0, 1)]
    monkeypatch.setattr(speed, "measure_speeds", lambda: results.pop(0))
    assert known_speeds(tmp_path) is None
    first = find_speeds(tmp_path)
    assert find_speeds(tmp_path) == known_speeds(tmp_path) == first
    assert (first.speedup("openvino", "fp32"), first.speedup("onnxruntime", "fp32")) == (2.5, 0)
    monkeypatch.setattr(speed, "package_version", lambda _: "0.1")
    assert find_speeds(tmp_path) != first
    assert results == []


def test_a_damaged_file_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure_speeds", lambda: Speeds({}, 1.0, 1))
    find_speeds(tmp_path)
    (file,) = (tmp_path / "probe").iterdir()
    file.write_text("{")
    assert known_speeds(tmp_path) is None
