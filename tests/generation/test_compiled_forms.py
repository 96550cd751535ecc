"""Pictures by compiled forms: eager at first, compiled from the next picture on, and reproducible either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
import torch
from tests.generation.conftest import SIDE, same_pixels, to_array
from tests.generation.modifiers.controlled import picture as control_picture
from tests.tiny import controls

from safelight.errors import BackendError
from safelight.generation.artifact import Artifact
from safelight.generation.backend_choice import check_device
from safelight.generation.compiling import (
    compile_cache,
    compile_call,
    load_control_network,
    load_network,
    load_upscaler_network,
)
from safelight.generation.engine import Engine
from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling import UpscalerFile
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.parts import NamedParts
from safelight.models.controls.discovery import ControlModel
from safelight.runtime.compilation.speed import Speeds
from safelight.runtime.compilation.store import Wanted
from safelight.settings import Settings

PATIENCE = 300
Tiny = Callable[[str], Path]


class InProcess:
    """Converts forms in this process, once the pictures in progress are finished: a child process takes seconds."""

    def __init__(self) -> None:
        self.may_begin = Event()
        self.converted: list[str] = []
        self.error: BackendError | None = None
        self.refusing = ""
        """A backend that refuses every network."""

    def __call__(
        self, settings: Settings, model: Checkpoint | UpscalerFile | ControlModel
    ) -> Callable[[Wanted, bool], None]:
        def convert(wanted: Wanted, _urgent: bool) -> None:
            assert self.may_begin.wait(PATIENCE)
            if self.error is not None:
                raise self.error
            if wanted.plan.backend == self.refusing:
                raise BackendError("It has complex numbers.")
            self.converted.append(wanted.name)
            key = wanted.component
            if isinstance(model, UpscalerFile):
                network = load_upscaler_network(settings, model, key)
            elif isinstance(model, ControlModel):
                network = load_control_network(settings, model.path, key)
            else:
                network = load_network(settings, model.name, NamedParts(), wanted.name, key)
            compile_call(settings, network, key, wanted.call, wanted.plan)

        return convert


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose compiled forms all tests share."""
    return tmp_path_factory.mktemp("compiled-home")


@pytest.fixture
def compiler() -> InProcess:
    return InProcess()


EngineOf = Callable[..., Engine]


@pytest.fixture
def engine_of(home: Path, compiler: InProcess) -> Iterator[EngineOf]:
    engines: list[Engine] = []

    def make(backend: str = "openvino", **settings: Any) -> Engine:
        usual = {"home": home, "device": "cpu", "generation_backend": backend}
        engines.append(Engine(Settings(**usual | settings), compiler=compiler))
        return engines[-1]

    yield make
    compiler.error = BackendError("The test is over.")
    compiler.may_begin.set()
    assert all(engine.forms.wait(PATIENCE) for engine in engines)


@pytest.fixture
def request_of(tiny: Tiny) -> Callable[..., GenerationRequest]:
    def make(**fields: Any) -> GenerationRequest:
        usual = {"prompt": "a red cat", "seed": 7, "steps": 2, "width": SIDE, "height": SIDE}
        return GenerationRequest.parse(**usual | {"checkpoint": str(tiny("sd1"))} | fields)

    return make


RequestOf = Callable[..., GenerationRequest]


def generate(engine: Engine, request: GenerationRequest, **more: Any) -> Artifact:
    (picture,) = engine.generate(request, **more)
    return picture


@pytest.fixture
def compiled(engine_of: EngineOf, request_of: RequestOf, compiler: InProcess) -> Iterator[Engine]:
    """An engine with all forms for the usual request in memory."""
    engine = engine_of()
    generate(engine, request_of())
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    return engine


def psnr(first: Artifact, second: Artifact) -> float:
    error = np.mean((to_array(first).astype(float) - to_array(second)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_forms_take_the_place_of_eager_networks_with_the_next_picture(
    engine_of: EngineOf, request_of: RequestOf, compiler: InProcess, tmp_path: Path
) -> None:
    engine, request = engine_of(home=tmp_path), request_of()
    first = generate(engine, request)
    assert first.record.machine.backend == "eager"
    assert first.record.machine.other_backends == {}
    assert same_pixels(first, generate(engine_of("eager"), request))
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    assert engine.forms.problems == {}
    assert sorted(compiler.converted) == ["text_encoder", "unet", "vae"]
    second = generate(engine, request)
    assert second.record.machine.backend == "openvino"
    assert second.record.machine.other_backends == {}
    assert psnr(first, second) >= 50
    assert len(compiler.converted) == 3
    for picture in (first, second):
        again = generate(engine, request, recorded=picture.record.machine, unbatched=True)
        assert same_pixels(again, picture)
        assert again.record == picture.record


def test_while_forms_compute_everything_the_eager_weights_are_released_and_read_again_when_needed(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf, compiler: InProcess
) -> None:
    generate(compiled, request_of())
    (parts,) = compiled._descriptions()

    def taken(name: str) -> float:
        source = parts.sources[name]
        return compiled._pool._entries[source.key].nbytes / source.nbytes

    assert taken("unet") < 1  # small weights stay, and a tiny network has mostly those
    assert taken("text_encoder") == pytest.approx(1, rel=0.05)
    compiler.may_begin.clear()  # two threads of a process must not load networks at once
    other = request_of(width=SIDE + 32)
    assert same_pixels(generate(compiled, other), generate(engine_of("eager"), other))
    assert taken("unet") == pytest.approx(1, rel=0.05)


def test_a_control_network_has_forms_of_its_own(
    engine_of: EngineOf, request_of: RequestOf, compiler: InProcess, tmp_path: Path, tiny: Tiny
) -> None:
    controls.controlnet(tiny("sd1"), tmp_path / "controlnet" / "canny")
    control = {"kind": "canny", "image": control_picture(1), "weight": 0.8}
    engine, request = engine_of(home=tmp_path), request_of(control=[control])
    first = generate(engine, request)
    assert first.record.machine.backend == "eager"
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    assert engine.forms.problems == {}
    assert "control-0" in compiler.converted
    second = generate(engine, request)
    assert (second.record.machine.backend, second.record.machine.other_backends) == ("openvino", {})
    assert psnr(first, second) >= 50
    for drawn in (first, second):
        again = generate(engine, request, recorded=drawn.record.machine, unbatched=True)
        assert same_pixels(again, drawn)
    compiler.converted.clear()
    weaker = generate(engine, request_of(control=[control | {"weight": 0.5}]))
    assert not same_pixels(weaker, second)
    assert engine.forms.wait(PATIENCE)
    assert compiler.converted == [], "the weight is no part of a form"


def test_a_restarted_engine_uses_the_forms_on_disk_from_the_first_picture_on(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf, compiler: InProcess
) -> None:
    expected = generate(compiled, request_of())
    compiler.converted.clear()
    first = generate(engine_of(), request_of())
    assert first.record.machine.backend == "openvino"
    assert compiler.converted == []
    assert psnr(first, expected) >= 50


def test_reproducing_a_picture_waits_until_its_forms_are_compiled_and_others_compute_meanwhile(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf, compiler: InProcess, tmp_path: Path
) -> None:
    picture = generate(compiled, request_of())
    compiler.may_begin.clear()
    compiler.converted.clear()
    fresh = engine_of("eager", home=tmp_path)
    with ThreadPoolExecutor(1) as pool:
        machine = picture.record.machine
        again = pool.submit(generate, fresh, request_of(), recorded=machine, unbatched=True)
        meanwhile = generate(fresh, request_of(seed=8))
        assert meanwhile.record.machine.backend == "eager"
        assert not again.done()
        compiler.may_begin.set()
        assert same_pixels(again.result(PATIENCE), picture)
    assert again.result().record == picture.record
    assert sorted(compiler.converted) == ["text_encoder", "unet", "vae"]


def test_two_pictures_at_once_are_the_same_as_each_alone(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf
) -> None:
    requests = [request_of(seed=seed) for seed in (1, 2)]
    alone = [generate(compiled, request) for request in requests]
    both = Barrier(2)
    watcher = Watcher(lambda _: both.wait(PATIENCE) and None)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda request: generate(compiled, request, watcher=watcher), requests))
    assert all(map(same_pixels, alone, together))
    assert not any(picture.record.batched for picture in together)


def test_what_patches_the_network_is_computed_eagerly_and_the_record_says_so(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf
) -> None:
    request = request_of(pag_scale=3.0)
    picture = generate(compiled, request)
    assert picture.record.machine.backend == "eager"
    assert picture.record.machine.other_backends["vae"] == "openvino"
    eager = generate(engine_of("eager"), request)
    assert psnr(picture, eager) >= 50
    again = generate(compiled, request, recorded=picture.record.machine, unbatched=True)
    assert same_pixels(again, picture)


@pytest.mark.parametrize(
    ("fields", "patches"),
    [
        ({"quality": "fast", "steps": 6}, {"deep-features:return", "deep-features:use"}),
        ({"token_merging": 0.5}, {"token-merging:0.5"}),
    ],
)
def test_patches_without_a_state_are_compiled_with_the_network(
    compiled: Engine, request_of: RequestOf, fields: dict[str, Any], patches: set[str]
) -> None:
    request = request_of(**fields)
    wanted = [each for each in compiled.wanted_forms(request) if each.name == "unet"]
    assert {identity for each in wanted for identity in each.key.patches} == patches
    eager = generate(compiled, request)
    assert eager.record.machine.backend == "eager"
    assert compiled.forms.wait(PATIENCE)
    assert compiled.forms.problems == {}
    picture = generate(compiled, request)
    assert (picture.record.machine.backend, picture.record.machine.other_backends) == ("openvino", {})
    assert patches <= {identity for key in compiled._pool.keys for identity in key.patches}
    assert psnr(eager, picture) >= 50
    for each in (eager, picture):
        again = generate(compiled, request, recorded=each.record.machine, unbatched=True)
        assert same_pixels(again, each)
        assert again.record == each.record


def test_a_network_that_cannot_be_compiled_is_an_error_that_names_it(
    engine_of: EngineOf, request_of: RequestOf, compiler: InProcess, tmp_path: Path
) -> None:
    engine = engine_of(home=tmp_path)
    compiler.error = BackendError("It has complex numbers.")
    assert generate(engine, request_of()).record.machine.backend == "eager"
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    with pytest.raises(BackendError, match="openvino cannot run the unet: It has complex numbers") as caught:
        generate(engine, request_of())
    assert "eager" in caught.value.hint


def test_a_form_without_room_in_the_memory_stays_on_disk(
    compiled: Engine, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.unload()
    monkeypatch.setattr(compiled._pool, "has_room", lambda _: False)
    assert generate(compiled, request_of()).record.machine.backend == "eager"
    monkeypatch.undo()
    assert generate(compiled, request_of()).record.machine.backend == "openvino"


def test_damaged_forms_are_made_again(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf, compiler: InProcess, home: Path
) -> None:
    for folder in compile_cache(Settings(home=home))._folders():
        (folder / "model.xml").write_text("<net/>")
    engine = engine_of()
    assert generate(engine, request_of()).record.machine.backend == "eager"
    assert engine.forms.wait(PATIENCE)
    assert generate(engine, request_of()).record.machine.backend == "openvino"


def test_unloading_a_checkpoint_unloads_its_forms(compiled: Engine, request_of: RequestOf) -> None:
    generate(compiled, request_of())
    assert {key.backend for key in compiled._pool.keys} == {"eager", "openvino"}
    compiled.unload(request_of().checkpoint)
    assert compiled._pool.keys == []


def test_devices_without_the_backend_are_refused() -> None:
    with pytest.raises(BackendError, match="openvino runs checkpoints on cpu, not on cuda"):
        check_device("openvino", torch.device("cuda"))


FASTER = Speeds({"eager fp32": 200.0, "openvino fp32": 420.0}, 20.0, 2)


@pytest.fixture
def measured_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which OpenVINO is faster, and its forms are used however fast they are on a busy one."""
    monkeypatch.setattr("safelight.generation.compiled_networks.known_speeds", lambda _: FASTER)
    monkeypatch.setattr("safelight.generation.backend_choice.LEAST_SPEEDUP", 1e-9)


@pytest.mark.usefixtures("measured_faster")
def test_the_starters_pictures_by_the_default_backend_are_exact(
    engine_of: EngineOf, compiler: InProcess
) -> None:
    engine = engine_of("auto")
    request = GenerationRequest(prompt="a red apple, 3d style", seed=7, steps=4)
    eager = generate(engine, request)
    assert eager.record.machine.backend == "eager"
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    compiled = generate(engine, request)
    assert compiled.record.machine.backend == "openvino"
    assert compiled.record.machine.other_backends == {"text_encoder": "eager"}
    assert psnr(eager, compiled) >= 50
    assert np.abs(to_array(eager).astype(int) - to_array(compiled)).max() <= 2


def test_the_default_backend_uses_no_form_that_is_hardly_faster(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.generation.compiled_networks.known_speeds", lambda _: FASTER)
    monkeypatch.setattr("safelight.generation.backend_choice.LEAST_SPEEDUP", 1e9)
    for preloaded in (False, True):
        engine = engine_of("auto")
        if preloaded:
            engine.preload(request_of().checkpoint)
        assert generate(engine, request_of()).record.machine.backend == "eager"
        assert all("times as fast as the eager network" in each for each in engine.forms.problems.values())
        assert len(engine.forms.problems) == 2


@pytest.mark.usefixtures("measured_faster")
def test_the_default_backend_stays_eager_where_a_network_cannot_be_compiled(
    engine_of: EngineOf, request_of: RequestOf, compiler: InProcess, tmp_path: Path
) -> None:
    engine = engine_of("auto", home=tmp_path)
    compiler.error = BackendError("It has complex numbers.")
    first = generate(engine, request_of())
    compiler.may_begin.set()
    assert engine.forms.wait(PATIENCE)
    assert set(engine.forms.problems.values()) == {"It has complex numbers."}
    second = generate(engine, request_of())
    assert second.record == first.record
    assert same_pixels(first, second)


def test_what_the_best_backend_cannot_compile_the_next_best_computes(
    compiled: Engine,
    request_of: RequestOf,
    engine_of: EngineOf,
    compiler: InProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = Speeds({"eager fp32": 200.0, "openvino fp32": 420.0, "onnxruntime fp32": 500.0}, 20.0, 2)
    monkeypatch.setattr("safelight.generation.compiled_networks.known_speeds", lambda _: speeds)
    monkeypatch.setattr("safelight.generation.backend_choice.LEAST_SPEEDUP", 1e-9)
    compiler.refusing = "onnxruntime"
    engine = engine_of("auto")
    eager = generate(engine, request_of())
    assert eager.record.machine.backend == "eager"
    assert engine.forms.wait(PATIENCE)
    assert {key.backend for key in engine.forms.problems} == {"onnxruntime"}
    picture = generate(engine, request_of())
    assert picture.record.machine.backend == "openvino"
    assert picture.record.machine.other_backends == {"text_encoder": "eager"}
    assert psnr(picture, eager) >= 50


def test_preloading_loads_the_forms_that_were_used_last(
    compiled: Engine, request_of: RequestOf, engine_of: EngineOf
) -> None:
    generate(compiled, request_of())
    engine = engine_of()
    engine.preload(request_of().checkpoint)
    forms = [key for key in engine._pool.keys if key.backend == "openvino"]
    assert {key.digest for key in forms} == {
        key.digest for key in engine._pool.keys if key.backend == "eager"
    }
    first = generate(engine, request_of())
    assert first.record.machine.backend == "openvino"
    assert first.record.machine.other_backends == {}  # text encoders too, whose forms are in memory already
    assert set(forms) <= set(engine._pool.keys)
