"""Each engine that compiles forms: which networks it takes, and that it computes what the eager network computes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from diffusers import ControlNetModel
from spandrel.architectures.ESRGAN import ESRGAN
from tests.runtime.compilation.layouts import CALLS, Arguments, network, random, sd_unet
from torch import Tensor, nn
from torch._inductor import config as inductor_config

from safelight.errors import BackendError
from safelight.runtime.backends import BACKENDS, BackendPlan
from safelight.runtime.compilation.form import form_engine, form_key, make_form
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.compile_cache import CompileCache
from safelight.runtime.component import ComponentKey

KEY = ComponentKey("0" * 64, "fp32")
ENGINES = [each.name for each in BACKENDS.values() if "cpu" in each.devices]


def control_net() -> tuple[nn.Module, str, Arguments]:
    made = ControlNetModel.from_unet(network("sd1", "unet"), conditioning_embedding_out_channels=(4, 4, 8, 8))
    return made, "forward", sd_unet(made) | {"controlnet_cond": random(2, 3, 64, 64)}


def upscaler() -> tuple[nn.Module, str, Arguments]:
    return ESRGAN(num_filters=8, num_blocks=2, scale=4), "forward", {"x": random(1, 3, 16, 16)}


def classifier() -> tuple[nn.Module, str, Arguments]:
    made = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=2)
    return made, "forward", {"x": random(1, 3, 32, 32)}


def of_checkpoint(name: str) -> Callable[[], tuple[nn.Module, str, Arguments]]:
    family, component, method, arguments = CALLS[name]
    found = network(family, component)
    return lambda: (found, method, arguments(found))


NETWORKS = {name: of_checkpoint(name) for name in CALLS} | {
    "ControlNet": control_net,
    "upscaler": upscaler,
    "classifier": classifier,
}


@pytest.fixture
def store(tmp_path: Path) -> CompileCache:
    return CompileCache(tmp_path / "a folder with spaces", 10**9)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_which_engine_takes_which_network(name: str, engine: str, store: CompileCache) -> None:
    """``make_form`` compares the results. The table in docs/generation.md."""
    torch.manual_seed(0)
    module, method, arguments = NETWORKS[name]()
    call = NetworkCall.of(module.eval().requires_grad_(False), method, (), arguments)
    assert make_form(module, KEY, call, BackendPlan(engine, "fp32", 2), store).speedup > 0


class Small(nn.Module):
    """A convolution, a linear layer, a weight of another type, and an input that is an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, picture: Tensor, index: Tensor) -> dict[str, Tensor]:
        features = torch.nn.functional.silu(self.convolution(picture)).flatten(2).transpose(1, 2)
        return {"tokens": self.linear(features), "next": index + 1}


def small_call(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, NetworkCall]:
    torch.manual_seed(0)
    module = Small().eval().requires_grad_(False).to(dtype)
    picture = random(1, 3, 8, 8).to(dtype).to(memory_format=torch.channels_last)
    return module, NetworkCall.of(module, "forward", (picture, torch.tensor([2])), {})


@pytest.mark.timeout(600)  # a C++ compiler on a busy machine
@pytest.mark.parametrize("engine", ENGINES)
def test_a_form_computes_the_same_for_other_values_and_strides(engine: str, store: CompileCache) -> None:
    module, call = small_call()
    plan = BackendPlan(engine, "fp32", 1)
    stored = make_form(module, KEY, call, plan, store)
    copy = shutil.copytree(stored.folder, stored.folder.with_name("copy"))  # as another process finds it
    form = form_engine(engine).load(copy, plan)
    for picture in (random(1, 3, 8, 9)[..., 1:], call.tensors[0] * 2):
        tokens, following = form.run((picture, torch.tensor([7])))
        torch.testing.assert_close(tokens, module(picture, torch.tensor([7]))["tokens"], rtol=1e-4, atol=1e-5)
        assert following.tolist() == [8]
    assert 0 < form.nbytes < 2**22
    assert not any(path.is_dir() for path in stored.folder.iterdir())


def test_machine_code_is_kept_for_processors_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _, call = small_call()
    plans = [BackendPlan(name, "fp32", 1) for name in ("inductor", "openvino")]
    before = [form_key(KEY, call, plan).name for plan in plans]
    other = SimpleNamespace(processor="another", vector_units=())
    monkeypatch.setattr("safelight.runtime.compilation.form.inspect_machine", lambda: other)
    after = [form_key(KEY, call, plan).name for plan in plans]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


def test_without_a_compiler_the_error_names_it_and_it_is_tried_again(
    store: CompileCache,
) -> None:
    module, call = small_call()
    plan = BackendPlan("inductor", "fp32", 1)
    without = inductor_config.patch({"cpp.cxx": ("no-such-compiler",)})
    with without, pytest.raises(BackendError, match=r"inductor needs a C\+\+ compiler") as caught:
        make_form(module, KEY, call, plan, store)
    assert "g++" in caught.value.hint
    assert store.refusals == {}


def test_a_network_that_an_engine_refuses_is_remembered_with_the_reason(store: CompileCache) -> None:
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else x.neg()

    module, plan = Deciding(), BackendPlan("onnxruntime", "fp32", 1)
    call = NetworkCall.of(module, "forward", (torch.ones(2, 3),), {})
    with pytest.raises(BackendError, match="onnxruntime cannot convert it") as caught:
        make_form(module, KEY, call, plan, store)
    assert store.refusal(form_key(KEY, call, plan)) == caught.value.message
    assert store.refusals == {"Deciding 2x3 (onnxruntime fp32)": caught.value.message}


@pytest.fixture
def torch_tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A module in the place of Torch-TensorRT, which leaves programs as they are."""
    made: list[dict[str, Any]] = []

    def compile_program(program: Any, **options: Any) -> Any:
        made.append(options)
        return program

    stand_in: Any = ModuleType("torch_tensorrt")
    stand_in.dynamo = SimpleNamespace(compile=compile_program)
    stand_in.save = lambda program, path, **_: torch.export.save(program, path)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", stand_in)
    yield made
    del sys.modules["safelight.runtime.backends.tensorrt_forms"]


def test_tensorrt_compiles_the_exported_program_in_the_networks_types(
    torch_tensorrt: list[dict[str, Any]], store: CompileCache
) -> None:
    module, call = small_call()
    plan = BackendPlan("tensorrt", "fp32", 1)
    stored = make_form(module, KEY, call, plan, store)
    (options,) = torch_tensorrt
    assert options["use_explicit_typing"]
    assert [tensor.shape for tensor in options["arg_inputs"]] == [tensor.shape for tensor in call.tensors]
    assert all(tensor.is_contiguous() for tensor in options["arg_inputs"])
    tokens, _ = form_engine("tensorrt").load(stored.folder, plan).run(call.tensors)
    torch.testing.assert_close(tokens, module(*call.tensors)["tokens"])


def test_an_engine_that_is_not_installed_is_an_error_that_names_it() -> None:
    with pytest.raises(BackendError, match="tensorrt cannot be imported"):
        form_engine("tensorrt")


@pytest.mark.skipif(shutil.which("g++") is None, reason="it needs a C++ compiler")
@pytest.mark.slow
def test_inductor_computes_in_bf16(store: CompileCache) -> None:
    module, call = small_call(torch.bfloat16)
    plan = BackendPlan("inductor", "bf16", 1)
    stored = make_form(module, ComponentKey("0" * 64, "bf16"), call, plan, store)
    copy = shutil.copytree(stored.folder, stored.folder.with_name("copy"))
    tokens, _ = form_engine("inductor").load(copy, plan).run(call.tensors)
    assert tokens.dtype == torch.bfloat16
