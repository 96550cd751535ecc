"""Which backend computes what: explicit, recorded, and by measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from safelight.generation import compiling
from safelight.generation.backend_choice import (
    LEAST_SPEEDUP,
    BackendPolicy,
    bf16_pays,
    explain_choice,
    explain_precision,
    rank_plans,
)
from safelight.generation.compiling import is_worthwhile
from safelight.generation.record import Machine
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.picture_network import Choice
from safelight.runtime.compilation.speed import Speeds
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.component import Component, ComponentKey
from safelight.settings import Settings

CPU = torch.device("cpu")
FASTER = Speeds(
    {"eager fp32": 200.0, "openvino fp32": 420.0, "eager bf16": 900.0, "openvino bf16": 950.0}, 20.0, 2
)
SAME = Speeds({"eager fp32": 400.0, "openvino fp32": 440.0}, 20.0, 2)


def choice(policy: BackendPolicy, name: str = "unet", dtype: str = "fp32") -> Choice:
    network = nn.Linear(2, 2)
    call = NetworkCall.of(network, "forward", (torch.zeros(2, 2),), {})
    return policy.choose(name, Component(ComponentKey("0" * 64, dtype), network, 0), call)


def policy(backend: str = "auto", speeds: Speeds | None = None, **more: Any) -> BackendPolicy:
    return BackendPolicy(backend, more.pop("device", CPU), speeds=lambda: speeds, **more)


@pytest.mark.parametrize(
    ("component", "precision", "speeds", "backend"),
    [
        ("unet", "fp32", FASTER, "openvino"),
        ("transformer", "fp32", FASTER, "openvino"),
        ("vae", "fp32", FASTER, "openvino"),
        ("text_encoder", "fp32", FASTER, "eager"),
        ("unet", "bf16", FASTER, "eager"),  # 1.06 times as fast: not decisive
        ("unet", "fp16", FASTER, "eager"),
        ("unet", "fp32", SAME, "eager"),
        ("unet", "fp32", Speeds({"eager fp32": 200.0}, 20.0, 2), "eager"),
        ("unet", "fp32", None, "onnxruntime"),  # the process that compiles measures first
    ],
)
def test_auto_takes_what_is_decisively_faster(
    component: str, precision: str, speeds: Speeds | None, backend: str
) -> None:
    assert rank_plans(component, precision, CPU, speeds) == [plan_of(backend, precision)]


def plan_of(backend: str, precision: str = "fp32") -> BackendPlan:
    return BackendPlan(backend, precision, torch.get_num_threads())


THREE = Speeds(
    {"eager fp32": 100.0, "inductor fp32": 160.0, "openvino fp32": 200.0, "onnxruntime fp32": 120.0},
    20.0,
    2,
    {"toy": "toy needs a compiler"},
)


def test_what_cannot_compile_a_network_is_followed_by_the_next_best() -> None:
    assert rank_plans("unet", "fp32", CPU, THREE) == [
        plan_of("openvino"),
        plan_of("inductor"),
        plan_of("onnxruntime"),
    ]
    chosen = choice(policy(speeds=THREE))
    assert [chosen.plan, *chosen.fallbacks] == rank_plans("unet", "fp32", CPU, THREE)
    assert policy(speeds=THREE).preferred("unet", "fp32") == [chosen.plan, *chosen.fallbacks]
    assert choice(policy("openvino", THREE)).fallbacks == ()


def test_auto_needs_no_backend_and_a_form_that_is_faster_itself() -> None:
    chosen = choice(policy(speeds=FASTER))
    assert (chosen.plan.backend, chosen.required, chosen.least_speedup) == ("openvino", False, LEAST_SPEEDUP)
    assert not policy(device=torch.device("meta")).considers("unet")
    assert not policy().considers("text_encoder")


def test_a_backend_of_the_settings_is_required_whatever_was_measured() -> None:
    chosen = choice(policy("openvino", SAME), "text_encoder")
    assert (chosen.plan.backend, chosen.required, chosen.least_speedup) == ("openvino", True, 0)
    assert choice(policy("openvino"), dtype="fp16").plan.backend == "eager"
    assert not policy("eager").considers("unet")


def test_a_record_is_followed_for_each_component_and_shape() -> None:
    machine = Machine(
        device="cpu",
        precision="fp32",
        backend="openvino",
        other_backends={"vae": "eager", "unet 2x2": "eager", "text_encoder": "no-longer-installed"},
        threads=2,
    )
    followed = policy("eager", recorded=machine)
    assert choice(followed, "transformer").plan.backend == "openvino"
    assert choice(followed, "transformer").wait
    for name in ("unet", "vae", "text_encoder"):
        assert choice(followed, name).plan.backend == "eager"


def test_a_form_is_not_compiled_where_the_backend_is_not_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_compiled(backend: str) -> bool:
        return is_worthwhile(Settings(home=tmp_path), "unet", plan_of(backend))

    monkeypatch.setattr(compiling, "find_speeds", lambda _: SAME)
    assert not is_compiled("openvino")
    monkeypatch.setattr(compiling, "find_speeds", lambda _: THREE)
    assert is_compiled("openvino")
    assert not is_compiled("inductor")  # measured just now: the next picture asks for the best
    monkeypatch.setattr(compiling, "known_speeds", lambda _: THREE)
    assert is_compiled("inductor")


@pytest.mark.parametrize(
    ("backend", "device", "speeds", "said"),
    [
        ("eager", "cpu", None, "eager runs the networks, as the setting generation_backend says"),
        ("auto", "cpu", None, "until it was measured whether another backend is faster"),
        ("auto", "cpu", FASTER, "since it computes 2.1 times as fast as PyTorch in fp32"),
        ("auto", "cpu", THREE, "; toy needs a compiler), or inductor or onnxruntime what it cannot compile"),
        (
            "auto",
            "cpu",
            SAME,
            "since no other backend is 1.15 times as fast in fp32 (measured GFLOP/s: eager fp32 400",
        ),
        ("auto", "meta", FASTER, "since auto takes no other backend on meta"),
    ],
)
def test_the_choice_is_explained(backend: str, device: str, speeds: Speeds | None, said: str) -> None:
    assert said in explain_choice(backend, "fp32", torch.device(device), speeds)


def speeds_of(eager_fp32: float, openvino_fp32: float, eager_bf16: float, openvino_bf16: float) -> Speeds:
    measured = {"eager fp32": eager_fp32, "openvino fp32": openvino_fp32}
    return Speeds(measured | {"eager bf16": eager_bf16, "openvino bf16": openvino_bf16}, 20.0, 2)


@pytest.mark.parametrize(
    ("backend", "speeds", "pays"),
    [
        ("auto", speeds_of(169, 404, 457, 722), True),  # two cores of a Zen 5
        ("auto", speeds_of(200, 400, 430, 440), False),  # hardly faster than the best choice in fp32
        ("eager", speeds_of(200, 400, 430, 440), True),
        ("openvino", speeds_of(200, 400, 430, 440), False),
        ("auto", speeds_of(200, 220, 110, 900), False),  # what is not compiled would be slower
        ("auto", speeds_of(200, 220, 110, 100), False),
        ("auto", Speeds({"eager fp32": 200.0, "openvino fp32": 420.0}, 20.0, 2), False),
        ("auto", None, False),
    ],
)
def test_bf16_pays_where_it_is_decisively_faster_than_the_best_choice_in_fp32(
    backend: str, speeds: Speeds | None, pays: bool
) -> None:
    assert bf16_pays(backend, "unet", CPU, speeds) is pays
    assert not bf16_pays(backend, "unet", torch.device("meta"), speeds)


@pytest.mark.parametrize(
    ("precision", "backend", "device", "speeds", "said"),
    [
        ("bf16", "auto", "cpu", None, "bf16, as the setting generation_precision says"),
        ("auto", "auto", "meta", None, "each family's precisions"),
        ("auto", "auto", "cpu", None, "fp32, since nothing was measured yet (it is measured after the first"),
        ("auto", "eager", "cpu", None, "fp32, since nothing was measured yet (only auto measures)"),
        ("auto", "auto", "cpu", speeds_of(169, 404, 457, 722), "since it computes 1.8 times as fast as fp32"),
        (
            "auto",
            "auto",
            "cpu",
            speeds_of(200, 400, 110, 100),
            "fp32, since bf16 computes 0.28 times as fast",
        ),
    ],
)
def test_the_precision_is_explained(
    precision: str, backend: str, device: str, speeds: Speeds | None, said: str
) -> None:
    assert said in explain_precision("balanced", precision, backend, device, speeds)
    exact = explain_precision("exact", precision, backend, device, speeds)
    assert exact == "fp32, as the quality exact says"
