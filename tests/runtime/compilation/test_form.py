"""Compiled forms of each layout of networks compute what the eager network computes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.compilation.layouts import CALLS, network, random
from tests.tiny import TINY
from torch import Tensor, nn

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan, openvino
from safelight.runtime.compilation.form import FormNetwork, form_engine, form_key, make_form
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.compile_cache import CompileCache
from safelight.runtime.component import ComponentKey

FP32 = BackendPlan("openvino", "fp32", 1)


@pytest.fixture
def store(tmp_path: Path) -> CompileCache:
    return CompileCache(tmp_path, 10**9)


def tensors(value: Any) -> list[Tensor]:
    from safelight.runtime.compilation.values import tensors_of

    return tensors_of(value)


@pytest.mark.parametrize("name", CALLS)
def test_a_form_computes_what_the_eager_network_computes(name: str, store: CompileCache) -> None:
    family, component, method, arguments = CALLS[name]
    module = network(family, component)
    given = arguments(module)
    key = ComponentKey("0" * 64, "fp32")
    stored = make_form(module, key, NetworkCall.of(module, method, (), given), FP32, store)
    form = form_engine("openvino").load(stored.folder, FP32)
    computed = FormNetwork(module, method, form, stored.result)(**given)
    with torch.no_grad():
        expected = getattr(module, method)(**given)
    assert type(computed) is type(expected)
    assert len(tensors(computed)) == len(tensors(expected)) > 0
    for ours, theirs in zip(tensors(computed), tensors(expected), strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_in_bf16_it_takes_and_returns_bf16(store: CompileCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        openvino, "has_bf16_units", lambda _: True
    )  # emulating it does no harm to this small network
    torch.manual_seed(0)
    vae = TINY["sd1"]().vae.eval().requires_grad_(False).to(torch.bfloat16)
    plan = BackendPlan("openvino", "bf16", 1)
    latents = random(1, 4, 8, 8).to(torch.bfloat16)
    call = NetworkCall.of(vae, "decode", (latents,), {"return_dict": False})
    stored = make_form(vae, ComponentKey("0" * 64, "bf16"), call, plan, store)
    form = form_engine("openvino").load(stored.folder, plan)
    (computed,) = FormNetwork(vae, "decode", form, stored.result)(latents, return_dict=False)
    (expected,) = vae.decode(latents, return_dict=False)
    assert computed.dtype == torch.bfloat16
    assert (computed - expected).norm() < 0.05 * expected.norm()


class Forgetful(nn.Module):
    """Computes something else once it is traced, as networks do that decide by values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + float(x.sum())


def test_a_form_that_computes_something_else_is_refused(store: CompileCache, monkeypatch: Any) -> None:
    module = Forgetful()
    call = NetworkCall.of(module, "forward", (torch.ones(2, 3),), {})
    monkeypatch.setattr("safelight.runtime.backends.openvino_forms._trace", traced_with_zeros)
    with pytest.raises(BackendError, match="differs from the eager network by"):
        make_form(module, ComponentKey("0" * 64, "fp32"), call, FP32, store)
    assert store.find(form_key(ComponentKey("0" * 64, "fp32"), call, FP32)) is None
    assert store.count == 0


def traced_with_zeros(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    import openvino as ov

    zeros = tuple(map(torch.zeros_like, example))
    return ov.convert_model(module, example_input=zeros, input=[list(each.shape) for each in example])


def test_a_network_that_cannot_be_traced_is_an_error_that_says_why(store: CompileCache) -> None:
    class Complex(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x).real

    module = Complex()
    call = NetworkCall.of(module, "forward", (torch.eye(3),), {})
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    with pytest.raises(BackendError, match="openvino cannot convert it"):
        make_form(module, ComponentKey("0" * 64, "fp32"), call, FP32, store)
    assert (root.level, root.filters, root.handlers) == before  # which OpenVINO sets
