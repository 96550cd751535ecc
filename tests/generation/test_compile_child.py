"""A form that is compiled by a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.generation.test_upscaling import compact, save
from tests.tiny import controls

from safelight.errors import CheckpointInvalidError, ModelInvalidError
from safelight.generation.compile_child import ChildCompiler, _describe, _load_network, compile_form
from safelight.generation.compiling import compile_cache
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling import UpscalerFile
from safelight.generation.upscaling.registry import upscaler_folder
from safelight.models.controls.discovery import find_control_by_name
from safelight.models.controls.loading import control_source
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.store import Wanted
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.component import ComponentKey
from safelight.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), device="cpu", generation_backend="openvino")


@pytest.fixture(scope="module")
def wanted(settings: Settings, tiny: Callable[[str], Path]) -> Wanted:
    """The decoder's form of a tiny checkpoint."""
    request = GenerationRequest(prompt="red", checkpoint=str(tiny("sd1")), width=64, height=64)
    return next(each for each in Engine(settings).wanted_forms(request) if each.name == "vae")


def test_the_process_leaves_the_form_in_the_cache_folder(settings: Settings, wanted: Wanted) -> None:
    assert str(wanted) == "vae decode 1x4x8x8 (openvino fp32)"
    wanted.convert(wanted, True)
    stored = compile_cache(settings).find(wanted.key)
    assert stored is not None
    assert stored.speedup > 0


def test_a_network_that_was_replaced_meanwhile_is_refused(settings: Settings, wanted: Wanted) -> None:
    convert = wanted.convert
    assert isinstance(convert, ChildCompiler)
    body = convert._body(wanted)
    body["key"]["digest"] = "1" * 64
    with pytest.raises(CheckpointInvalidError, match=r"vae of .* was replaced on the disk"):
        compile_form(body)


def test_the_network_is_compiled_with_its_patches(settings: Settings, tiny: Callable[[str], Path]) -> None:
    engine = Engine(settings)
    request = GenerationRequest(
        prompt="red", checkpoint=str(tiny("sd1")), width=64, height=64, quality="fast"
    )
    wanted = next(each for each in engine.wanted_forms(request) if each.key.patches == ("deep-features:use",))
    convert = wanted.convert
    assert isinstance(convert, ChildCompiler)
    compile_form(json.loads(json.dumps(convert._body(wanted))))
    assert compile_cache(settings).find(wanted.key) is not None


def test_a_control_is_loaded_from_its_folder_unless_that_was_replaced(
    settings: Settings, tiny: Callable[[str], Path]
) -> None:
    controls.controlnet(tiny("sd1"), settings.home / "controlnet" / "canny")
    model = find_control_by_name("canny", [settings.home / "controlnet"])
    source = control_source(model, "fp32", torch.device("cpu"), settings.cache_folder)
    described = json.loads(json.dumps(_describe(model)))
    network = _load_network(settings, described, "control-0", source.key)
    assert type(network).__name__ == "ControlNetModel"
    with pytest.raises(CheckpointInvalidError, match="canny was replaced on the disk"):
        _load_network(settings, described, "control-0", replace(source.key, digest="1" * 64))


def test_an_upscaler_is_compiled_from_its_file_unless_that_was_replaced(settings: Settings) -> None:
    path = save(compact(), upscaler_folder(settings.home) / "small.safetensors")
    file = UpscalerFile.at(path)
    upscaler = file.load(settings.cache_folder)
    call = NetworkCall.of(upscaler.module, "forward", (torch.rand(1, 3, 16, 16),), {})
    key, plan = ComponentKey(upscaler.digest, "fp32"), BackendPlan("openvino", "fp32", 1)
    convert = ChildCompiler(settings, file)
    wanted = Wanted("upscaler", key, call, plan, convert)
    body = json.loads(json.dumps(convert._body(wanted)))
    compile_form(body)
    assert compile_cache(settings).find(wanted.key) is not None
    save(compact(seed=1), path)
    with pytest.raises(ModelInvalidError, match="small was replaced on the disk"):
        compile_form(body)
