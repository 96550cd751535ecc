"""A backend of a plug-in classifies pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from safelight.errors import BackendError, DuplicateNameError
from safelight.moderation.classifiers.loading import load_classifier
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime.backends import Backend, BackendPlan, CompiledNetwork
from safelight.runtime.backends.onnxruntime import compile_onnxruntime
from safelight.runtime.graph import OnnxGraph
from safelight.runtime.probe import candidate_plans
from safelight.settings import Settings
from safelight.studio import Studio

COMPILED: list[BackendPlan] = []


def compile_toy(graph: OnnxGraph, plan: BackendPlan, cache: Path | None) -> CompiledNetwork:
    COMPILED.append(plan)
    return compile_onnxruntime(graph, plan, cache)


class Toy:
    """A plug-in with one backend."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name

    @hookimpl
    def register_backends(self, registry: Registry[Backend]) -> None:
        registry.register(self.name, Backend(self.name, ("fp32",), f"{__name__}:compile_toy", "numpy"))


def test_it_judges_pictures(tmp_path: Path) -> None:
    COMPILED.clear()
    picture = Image.new("RGB", (64, 64), "green")
    with PLUGINS.registered(Toy(), "toy"):
        verdict = Studio(Settings(home=tmp_path, backend="toy")).moderate(picture)
    assert [BackendPlan("toy", "fp32", COMPILED[0].threads)] == COMPILED
    assert verdict.classifier.arithmetic == "fast, toy fp32"
    assert verdict.decision == "allow"


def test_auto_tries_it_too() -> None:
    with PLUGINS.registered(Toy(), "toy"):
        assert BackendPlan("toy", "fp32", 2) in candidate_plans("auto", "auto", 2)
    assert "toy" not in {plan.backend for plan in candidate_plans("auto", "auto", 2)}


@pytest.mark.parametrize("exact", [False, True])
def test_an_unknown_backend_is_refused(tmp_path: Path, exact: bool) -> None:
    with pytest.raises(BackendError, match="There is no backend 'openvimo'") as caught:
        load_classifier(Settings(home=tmp_path, backend="openvimo", exact=exact))
    assert "Did you mean openvino?" in caught.value.hint


def test_a_built_in_name_is_taken() -> None:
    with (
        PLUGINS.registered(Toy("openvino"), "toy"),
        pytest.raises(DuplicateNameError, match="'openvino' of toy"),
    ):
        candidate_plans("auto", "auto", 1)
