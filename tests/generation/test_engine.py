from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from spandrel.architectures.Compact import Compact
from tests.generation.conftest import (
    COLOURS,
    SIDE,
    GenerateImages,
    loaded_checkpoint,
    same_pixels,
    to_array,
)
from tests.tiny.generation import INIT_IMAGE, MASK
from tests.tiny.original_layout import write_single_file

from safelight.errors import (
    BackendError,
    CheckpointInvalidError,
    CheckpointMissingError,
    FileMissingError,
    ImageError,
    MaskError,
    MemoryBudgetError,
    ModelInvalidError,
    PromptError,
    RequestError,
    RunStoppedError,
    SafelightError,
    SamplerIncompatibleError,
    SamplerUnknownError,
    StyleUnknownError,
    UpscalerUnknownError,
    WildcardError,
)
from safelight.generation.engine import Engine, decoding_bytes
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.record import differences
from safelight.generation.request import GenerationRequest, Hires
from safelight.generation.upscaling.network import NetworkUpscaler
from safelight.models import digests
from safelight.models.checkpoints import loading
from safelight.models.checkpoints.loading import CheckpointParts, LoadedCheckpoint
from safelight.runtime.component import ComponentKey
from safelight.settings import Settings

Tiny = Callable[[str], Path]
Memory = Callable[[str], LoadedCheckpoint]
SIZE = {"width": SIDE, "height": SIDE}
EDIT = {"init_image": INIT_IMAGE, "strength": 0.7}
MASKED = {"init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"blur": 0}}


# Impossible requests

REFUSED: list[tuple[dict[str, Any], type[SafelightError]]] = [
    ({"width": 130}, RequestError),
    ({"width": 7777, "height": 7777}, RequestError),
    ({"width": 16384, "height": 16384}, MemoryBudgetError),
    ({"width": 4096, "height": 4096, "hires": {"scale": 2}}, MemoryBudgetError),
    ({"init_image": INIT_IMAGE, "outpaint": {"left": 8192, "top": 8192}, **SIZE}, MemoryBudgetError),
    ({"prompt": "{a|b|c|__nonsense__}", "count": 40}, WildcardError),
    ({"hires": {"sampler": "LCM FlowMatch"}}, SamplerIncompatibleError),
    ({"sampler": "nonsense"}, SamplerUnknownError),
    ({"schedule": "nonsense"}, SamplerUnknownError),
    ({"styles": ["nonsense"]}, StyleUnknownError),
    ({"prompt": "__nonsense__"}, WildcardError),
    ({"prompt": "{2$$a}"}, PromptError),
    ({"hires": {"upscaler": "nonsense"}}, UpscalerUnknownError),
    ({"hires": {"sampler": "nonsense"}}, SamplerUnknownError),
    ({"checkpoint": "nonsense"}, CheckpointMissingError),
    ({"clip_skip": 9}, RequestError),
    ({"init_image": b"no picture"}, ImageError),
    ({"init_image": INIT_IMAGE, "mask": b""}, ImageError),
    ({"init_image": INIT_IMAGE, "mask": Image.new("L", (32, 32), 255)}, MaskError),
    ({"init_image": INIT_IMAGE, "mask": Image.new("L", (64, 64), 0)}, MaskError),
    ({"init_image": INIT_IMAGE, "outpaint": {}}, MaskError),
    ({"init_image": INIT_IMAGE, "strength": 0.1}, RequestError),
    ({"init_image": INIT_IMAGE, "strength": 0}, RequestError),
]


@contextmanager
def called_networks(loaded: LoadedCheckpoint) -> Iterator[list[str]]:
    """Which networks are called meanwhile."""
    called: list[str] = []
    parts: dict[str, Any] = {
        name: part for name, part in loaded.components.items() if isinstance(part, torch.nn.Module)
    }
    inner = {**parts, "vae": parts["vae"].encoder, "decoder": parts["vae"].decoder}
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, part in inner.items()
    ]
    yield called
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("fields", "error"), REFUSED)
def test_impossible_requests_are_refused_before_any_network_runs(
    fields: dict[str, Any], error: type[SafelightError], draw: GenerateImages, in_memory: Memory
) -> None:
    with called_networks(in_memory("sd1")) as called, pytest.raises(error) as caught:
        draw(**fields)
    assert called == []
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize(("fields", "error"), [case for case in REFUSED if "clip_skip" not in case[0]])
def test_impossible_requests_are_refused_before_weights_are_read(
    fields: dict[str, Any], error: type[SafelightError], kind: str, tiny: Tiny, tmp_path: Path
) -> None:
    place = tiny("sd1") if kind == "folder" else write_single_file(tiny("sd1"), tmp_path / "a.safetensors")
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    usual = {"prompt": "", "seed": 7, "steps": 3, "checkpoint": str(place)}
    with pytest.raises(error):
        list(engine.generate(GenerationRequest.parse(**(usual | fields))))
    assert not engine.loaded_checkpoints


def test_weights_are_counted_in_the_precision_of_the_computation(tiny: Tiny, tmp_path: Path) -> None:
    """Half-precision weights take twice their file's size in fp32: nothing may be loaded on top of that."""
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "half"))
    for file in folder.rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    assert engine.checkpoint(str(folder)).precision == "fp16"
    needed = loaded_checkpoint(engine, folder).nbytes
    small = Engine(Settings(home=tmp_path, device="cpu", memory_budget=int(needed * 0.9)))
    small.preload(str(folder))  # which are in memory one after the other, once they are used
    assert not small._pool.keys


def test_an_image_that_does_not_fit_the_memory(tiny: Tiny, drawing_home: Path, in_memory: Memory) -> None:
    loaded = in_memory("sd1")
    budget = loaded.nbytes + decoding_bytes(loaded, 128, 128)
    engine = Engine(Settings(home=drawing_home, device="cpu", memory_budget=budget, memory_steps=()))
    fields = {"prompt": "", "steps": 2, "checkpoint": str(tiny("sd1"))}
    assert len(list(engine.generate(GenerationRequest.parse(**fields, width=64, height=64)))) == 1
    for more in ({"width": 256, "height": 256}, {"width": 64, "height": 64, "hires": {"scale": 4}}):
        with pytest.raises(MemoryBudgetError, match="needs at least"):
            list(engine.generate(GenerationRequest.parse(**fields, **more)))


def test_after_a_lack_of_memory_a_run_goes_on_with_less(draw: GenerateImages, in_memory: Memory) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    unet: Any = in_memory("sd1").components["unet"]
    handle = unet.register_forward_pre_hook(full)
    (artifact,) = draw()  # the networks were loaded anew
    handle.remove()
    assert any("ran short" in note for note in artifact.record.notes)


def test_out_of_memory_while_loading_is_our_error(
    tiny: Tiny, drawing_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(
        loading, "compile_network", full
    )  # after .to(device), which needs another device to fail
    engine = Engine(Settings(home=drawing_home, device="cpu"))
    with pytest.raises(MemoryBudgetError, match="no memory left"):
        engine.preload(str(tiny("sd1")))
    assert not engine._pool.keys


def test_a_shared_autoencoder_keeps_its_precision(tiny: Tiny, drawing_home: Path) -> None:
    """SDXL's pipelines would convert one in fp16 to fp32 in place while they use it, and one in fp32 to fp16."""
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_precision="fp16"))
    vae = loaded_checkpoint(engine, tiny("sdxl")).vae

    def dtypes(*_: Any) -> set[torch.dtype]:
        return {tensor.dtype for tensor in (*vae.network.parameters(), *vae.network.buffers())}

    during: list[set[torch.dtype]] = []
    handle = vae.network.decoder.register_forward_pre_hook(lambda *_: during.append(dtypes()))
    for fields in (SIZE, EDIT):
        request = GenerationRequest.parse(prompt="", steps=2, checkpoint=str(tiny("sdxl")), **fields)
        list(engine.generate(request))
    handle.remove()
    assert during == [{torch.float32}] * 2
    assert dtypes() == {torch.float32}
    assert vae.key.dtype == "fp32"


def test_an_unknown_device() -> None:
    with pytest.raises(BackendError, match="There is no device 'nonsense'"):
        Engine(Settings(device="nonsense"))
    with pytest.raises(BackendError, match="'cuda:99' cannot be used"):
        Engine(Settings(device="cuda:99"))


# Several at once


def test_a_thread_releases_its_openmp_team_after_loading_and_generating(
    tiny: Tiny, drawing_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go: list[int] = []
    monkeypatch.setattr("safelight.generation.engine.thread_team_releaser", lambda: lambda: let_go.append(1))
    engine = Engine(Settings(home=drawing_home, device="cpu"))
    request = GenerationRequest.parse(prompt="", steps=2, count=2, checkpoint=str(tiny("sd1")), **SIZE)
    after = [len(let_go) for _ in engine.generate(request)]
    # Tokenizers and scheduler, twice what modifiers need, each of three networks, and each image.
    assert after == [7, 8]


def test_others_may_generate_between_two_images(draw: GenerateImages, engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(
        prompt="a red cat", seed=7, steps=3, count=2, checkpoint=str(tiny("sd1")), **SIZE
    )
    pictures = engine.generate(request)
    first = next(pictures)
    (other,) = draw("sdxl")  # in this very thread: a lock held here would never be released
    second = next(pictures)
    assert same_pixels(first, *draw(seed=7))
    assert same_pixels(second, *draw(seed=8))
    assert same_pixels(other, *draw("sdxl"))
    abandoned = engine.generate(request)
    next(abandoned)
    del abandoned
    assert len(draw()) == 1


def test_concurrent_threads_generate_the_same_images_as_one(draw: GenerateImages) -> None:
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("sd1", {"seed": 1, "sampler": "Euler a", "count": 2}),
        ("sdxl", {"seed": 2, "prompt": "a [red:blue:1] cat"}),
        ("sd1", {"seed": 3, "sampler": "DPM++ SDE", **EDIT}),
        ("sd3", {"seed": 4}),
    ]
    alone = [draw(name, **fields) for name, fields in jobs]
    gate = threading.Barrier(len(jobs))

    def together(job: tuple[str, dict[str, Any]]) -> Any:
        gate.wait()
        return draw(job[0], alone=True, **job[1])

    with ThreadPoolExecutor(len(jobs)) as pool:
        threaded = list(pool.map(together, jobs))
    for one, other in zip(alone, threaded, strict=True):
        assert all(same_pixels(*pair) for pair in zip(one, other, strict=True))
        assert [each.record for each in one] == [each.record for each in other]


class PauseAfterFirstStep:
    """Makes an image pause after its first step, until it is resumed."""

    def __init__(self) -> None:
        self.wanted, self.told = False, list[bool]()
        self.waits = threading.Event()
        self.watcher = Watcher(
            self._look, should_pause=lambda: self.wanted and not self.over, on_pause=self._note
        )
        self.over = False

    def _look(self, progress: RunProgress) -> None:
        self.wanted = True

    def _note(self, waits: bool) -> None:
        self.told.append(waits)
        if waits:
            self.waits.set()


PAUSED: list[tuple[str, dict[str, Any]]] = [
    ("sd1", {"seed": 1, "sampler": "Euler a", "steps": 4}),
    ("sd1", {"seed": 2, "sampler": "DPM++ 2M", "steps": 4, "prompt": "a [red:blue:2] cat"}),
    ("sd1", {"seed": 3, "steps": 2, "hires": {"scale": 2, "upscaler": "lanczos", "strength": 0.9}}),
    ("sd1", {"seed": 4, "pag_scale": 3.0, "steps": 3}),
    ("sdxl", {"seed": 5, "sampler": "DPM++ SDE", **EDIT}),
    ("sd3", {"seed": 6, "steps": 3}),
]


@pytest.mark.parametrize(("name", "fields"), PAUSED)
def test_a_paused_image_is_unchanged_and_so_are_those_generated_meanwhile(
    name: str, fields: dict[str, Any], tiny: Tiny, drawing_home: Path, draw: GenerateImages
) -> None:
    """There is only one slot, which the paused image lends."""
    engine = Engine(Settings(home=drawing_home, device="cpu", max_batch_size=1))
    whole, other = draw(name, **fields), draw("sd1", seed=9, width=2 * SIDE)
    pausing, asked = (
        PauseAfterFirstStep(),
        {"prompt": "a red cat", "steps": 3, "checkpoint": str(tiny(name)), **SIZE},
    )
    request = GenerationRequest.parse(**asked | fields)
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(lambda: list(engine.generate(request, pausing.watcher)))
        assert pausing.waits.wait(60)
        short = asked | {"seed": 9, "checkpoint": str(tiny("sd1")), "width": 2 * SIDE}
        (meanwhile,) = engine.generate(GenerationRequest.parse(**short))
        assert not drawing.done()
        pausing.over = True
        (drawn,) = drawing.result(60)
    assert same_pixels(drawn, *whole)
    assert same_pixels(meanwhile, *other)
    assert drawn.record.batched is False
    assert pausing.told == [True, False]


def test_one_of_two_batched_images_may_pause(draw: GenerateImages) -> None:
    """The other does not wait for its calls."""
    pausing = PauseAfterFirstStep()
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(lambda: draw(seed=1, steps=4, watcher=pausing.watcher))
        assert pausing.waits.wait(60)
        (alone,) = draw(seed=2, steps=4)
        assert alone.record.batched is False
        pausing.over = True
        drawing.result(60)


def test_a_paused_image_can_be_stopped(draw: GenerateImages) -> None:
    pausing, stop = PauseAfterFirstStep(), threading.Event()
    watcher = replace(pausing.watcher, should_stop=stop.is_set)
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(lambda: draw(seed=1, steps=4, watcher=watcher))
        assert pausing.waits.wait(60)
        stop.set()
        with pytest.raises(RunStoppedError):
            drawing.result(60)
    assert pausing.told == [True, False]


def test_no_image_pauses_while_it_holds_memory_that_others_wait_for(
    tiny: Tiny, drawing_home: Path, in_memory: Memory, draw: GenerateImages
) -> None:
    sizes = [in_memory(name).nbytes for name in ("sd1", "sd2")]
    room = decoding_bytes(in_memory("sd1"), SIDE, SIDE)
    engine = Engine(
        Settings(home=drawing_home, device="cpu", memory_budget=max(sizes) + room + min(sizes) // 2)
    )
    pausing, asked = PauseAfterFirstStep(), {"prompt": "a red cat", "seed": 7, "steps": 3, **SIZE}
    with ThreadPoolExecutor(1) as pool:
        request = GenerationRequest.parse(checkpoint=str(tiny("sd1")), **asked)
        drawing = pool.submit(lambda: list(engine.generate(request, pausing.watcher)))
        assert pausing.waits.wait(60)
        (other,) = engine.generate(GenerationRequest.parse(checkpoint=str(tiny("sd2")), **asked))
        (drawn,) = drawing.result(60)
    assert same_pixels(drawn, *draw("sd1"))
    assert same_pixels(other, *draw("sd2"))


def test_an_iterator_may_be_finished_by_another_thread(engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(prompt="", steps=2, count=3, checkpoint=str(tiny("sd1")), **SIZE)
    pictures = engine.generate(request)
    next(pictures)
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(list, pictures).result()) == 2


def test_two_checkpoints_alternate_in_a_budget_for_one(
    tiny: Tiny, drawing_home: Path, in_memory: Memory, draw: GenerateImages
) -> None:
    sizes = [in_memory(name).nbytes for name in ("sd1", "sd2")]
    room = decoding_bytes(in_memory("sd1"), SIDE, SIDE)
    engine = Engine(
        Settings(home=drawing_home, device="cpu", memory_budget=max(sizes) + room + min(sizes) // 2)
    )
    for name in ("sd1", "sd2", "sd1", "sd2"):
        fields = {"prompt": "a red cat", "seed": 7, "steps": 3, "checkpoint": str(tiny(name)), **SIZE}
        (drawn,) = engine.generate(GenerationRequest.parse(**fields))
        assert same_pixels(drawn, *draw(name))
        assert engine.loaded_checkpoints == {str(tiny(name))}


def test_an_image_evicts_idle_checkpoints_for_its_memory(
    tiny: Tiny, drawing_home: Path, in_memory: Memory
) -> None:
    both = sum(in_memory(name).nbytes for name in ("sd1", "sd2"))
    engine = Engine(Settings(home=drawing_home, device="cpu", memory_budget=both + 10))
    for name, left in (("sd1", 1), ("sd2", 1)):
        list(
            engine.generate(
                GenerationRequest.parse(prompt="", steps=2, checkpoint=str(tiny(name)), width=32, height=32)
            )
        )
        assert len(engine.loaded_checkpoints) == left


def keys(loaded: LoadedCheckpoint) -> set[ComponentKey]:
    return {component.key for component in loaded.networks.values()}


def test_checkpoints_share_equal_components(tiny: Tiny, tmp_path: Path, draw: GenerateImages) -> None:
    """A fine-tune with a U-Net of its own: text encoder and autoencoder are in memory once."""
    tuned = copy_with_another_unet(tiny("sd1"), tmp_path / "tuned")
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    first, second = (loaded_checkpoint(engine, path) for path in (tiny("sd1"), tuned))
    assert first.vae is second.vae
    assert first.networks["text_encoder"] is second.networks["text_encoder"]
    assert first.denoiser is not second.denoiser
    assert first.text_identity == second.text_identity
    assert set(engine._pool.keys) == {*keys(first), second.denoiser.key}
    fields = {"prompt": "a red cat", "seed": 7, "steps": 3, **SIZE}
    drawn = [
        next(engine.generate(GenerationRequest.parse(**fields, checkpoint=str(path))))
        for path in (tiny("sd1"), tuned)
    ]
    assert same_pixels(drawn[0], *draw("sd1"))
    assert not same_pixels(*drawn)
    engine.unload(str(tuned))
    assert engine.loaded_checkpoints == {str(tiny("sd1"))}
    assert set(engine._pool.keys) == keys(first)


def test_a_copy_of_a_checkpoint_is_loaded_and_unloaded_by_itself(tiny: Tiny, tmp_path: Path) -> None:
    """All its networks are shared: none is loaded, and unloading it evicts none."""
    copy = Path(shutil.copytree(tiny("sd1"), tmp_path / "copy"))
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    engine.preload(str(tiny("sd1")))
    in_memory = engine._pool.keys
    assert engine.loaded_checkpoints == {str(tiny("sd1"))}
    engine.preload(str(copy))
    assert engine.loaded_checkpoints == {str(tiny("sd1")), str(copy)}
    engine.unload(str(copy))
    assert engine.loaded_checkpoints == {str(tiny("sd1"))}
    assert set(engine._pool.keys) == set(in_memory)


def test_unloading_keeps_a_checkpoint_in_use(tiny: Tiny, tmp_path: Path) -> None:
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    name = str(tiny("sd1"))
    seen: list[frozenset[str]] = []

    def unload(_: RunProgress) -> None:
        engine.unload(name)
        seen.append(engine.loaded_checkpoints)

    request = GenerationRequest.parse(prompt="", steps=1, checkpoint=name, **SIZE)
    list(engine.generate(request, Watcher(unload)))
    engine.unload(name)
    assert (seen, engine.loaded_checkpoints) == ([{name}], frozenset())


def test_a_checkpoint_that_is_loaded_after_others_were_described_can_be_unloaded(
    tiny: Tiny, tmp_path: Path
) -> None:
    """The networks of a run may all have been evicted before its next picture."""
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    name = str(tiny("sd1"))
    run = engine.start(GenerationRequest.parse(prompt="", steps=1, checkpoint=name, **SIZE))
    engine.unload()
    engine.preload(str(tiny("sd2")))
    run.generate(0)
    assert engine.loaded_checkpoints == {name, str(tiny("sd2"))}
    keys = set(engine._pool.keys)
    engine.unload(name)
    assert engine.loaded_checkpoints == {str(tiny("sd2"))}
    assert set(engine._pool.keys) < keys


def test_the_networks_of_a_checkpoint_that_fails_to_load_can_be_unloaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    load = loading._load_network

    def fail(files: Any, *rest: Any) -> torch.nn.Module:
        if files.name == "vae":
            raise ValueError("damaged")
        return load(files, *rest)

    monkeypatch.setattr(loading, "_load_network", fail)
    parts = engine._describe(engine.checkpoint(str(folder)))
    engine._describe(engine.checkpoint(str(tiny("sd2"))))
    with pytest.raises(CheckpointInvalidError, match="damaged"), engine._lease_networks(parts):
        pass
    assert engine._pool.keys
    engine.unload(str(folder))
    assert not engine._pool.keys


def test_a_checkpoint_may_be_unloaded_while_another_thread_lists_them(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    both = {str(tiny(name)) for name in ("sd1", "sd2")}
    for name in sorted(both):
        engine.preload(name)
    keys: Any = CheckpointParts.keys
    unloaded: list[str] = []

    def keys_meanwhile(parts: CheckpointParts) -> Any:
        if not unloaded:
            unloaded.append(parts.checkpoint.name)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(engine.unload, parts.checkpoint.name).result(60)
        return keys.fget(parts)

    monkeypatch.setattr(CheckpointParts, "keys", property(keys_meanwhile))
    assert engine.loaded_checkpoints == both.difference(unloaded)


@pytest.mark.parametrize("kind", ["weights", "config", "missing"])
def test_files_that_were_replaced_during_a_run_are_not_loaded(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    """The record would name the files that the run began with."""
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    fields = {"prompt": "", "steps": 1, "count": 3, "checkpoint": str(folder), **SIZE}
    run = engine.start(GenerationRequest.parse(**fields))
    digest = run.generate(0).record.checkpoint.digest
    engine.unload()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.touch()
    run.generate(1)  # with the same contents
    engine.unload()
    if kind == "weights":
        save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    elif kind == "config":
        change_json(folder / "unet" / "config.json", act_fn="gelu")
    else:
        weights.unlink()
    error = FileMissingError if kind == "missing" else CheckpointInvalidError
    with pytest.raises(error, match="cannot be read" if kind == "missing" else "'unet' was replaced"):
        run.generate(2)
    if kind == "weights":
        (after,) = engine.generate(GenerationRequest.parse(**fields | {"count": 1}))
        assert after.record.checkpoint.digest != digest


def test_a_component_with_another_config_is_another_component(tiny: Tiny, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny("sd1"), tmp_path / "other"))
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    change_json(other / "vae" / "config.json", scaling_factor=0.5)
    change_json(other / "unet" / "config.json", _name_or_path="elsewhere")
    change_json(other / "tokenizer" / "tokenizer_config.json", note="another")
    first, second = (loaded_checkpoint(engine, path) for path in (tiny("sd1"), other))
    assert first.vae is not second.vae
    assert first.denoiser is second.denoiser
    assert first.text_identity != second.text_identity
    # Stable Diffusion's pipelines correct the sizes of U-Nets that old versions of diffusers saved.
    change_json(other / "unet" / "config.json", _diffusers_version="0.6.0")
    assert loaded_checkpoint(engine, other).denoiser is not first.denoiser


def test_only_the_components_that_were_evicted_are_loaded_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = copy_with_another_unet(tiny("sd1"), tmp_path / "tuned")
    sizes = loaded_checkpoint(Engine(Settings(home=tmp_path, device="cpu")), tuned)
    engine = Engine(
        Settings(home=tmp_path, device="cpu", memory_budget=sizes.nbytes + sizes.denoiser.nbytes // 2)
    )
    engine.preload(str(tiny("sd1")))
    read: list[str] = []
    load = loading._load_network
    monkeypatch.setattr(
        loading, "_load_network", lambda files, *rest: read.append(files.name) or load(files, *rest)
    )
    engine.preload(str(tuned))
    engine.preload(str(tiny("sd1")))
    assert read == ["unet", "unet"]


def test_nothing_is_hashed_to_say_what_is_loaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each file once for a picture, even where the digests cannot be cached."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").write_text("no folder")
    hashed: list[Path] = []
    digest = digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path: hashed.append(path) or digest(path))
    engine = Engine(Settings(home=home, device="cpu"))
    name = str(tiny("sd1"))
    assert not engine.is_loaded(name)
    assert hashed == []
    engine.preload(name)
    assert engine.is_loaded(name)
    request = GenerationRequest.parse(prompt="", steps=1, checkpoint=name, **SIZE)
    assert len(list(engine.generate(request))) == 1
    engine.unload()
    engine.preload(str(tiny("sd2")))
    engine.preload(name)  # described again
    weights = [path for path in hashed if path.suffix == ".safetensors"]
    assert len(weights) == len(set(weights)) == 6


def copy_with_another_unet(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    return folder


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_replaced_checkpoint_is_loaded_again(tiny: Tiny, tmp_path: Path, engine: Engine) -> None:
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
    fields = {"prompt": "a red cat", "seed": 7, "steps": 2, "checkpoint": str(folder), **SIZE}
    (before,) = engine.generate(GenerationRequest.parse(**fields))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    (after,) = engine.generate(GenerationRequest.parse(**fields))
    assert not same_pixels(before, after)
    assert before.record.checkpoint.digest != after.record.checkpoint.digest


def test_a_changed_config_makes_another_checkpoint(tiny: Tiny, tmp_path: Path, engine: Engine) -> None:
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
    fields = {"prompt": "a red cat", "seed": 7, "steps": 2, "checkpoint": str(folder), **SIZE}
    (before,) = engine.generate(GenerationRequest.parse(**fields))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    (after,) = engine.generate(GenerationRequest.parse(**fields))
    assert not same_pixels(before, after)
    assert before.record.checkpoint.digest == after.record.checkpoint.digest
    assert any("checkpoint.configs" in each for each in differences(before.record, after.record))


# Stopping between images, and records


@pytest.mark.parametrize("keep", [False, True])
def test_a_stop_request_between_images_starts_no_other(keep: bool, engine: Engine, tiny: Tiny) -> None:
    finished: list[Any] = []
    told: list[RunProgress] = []
    request = GenerationRequest.parse(prompt="", steps=2, count=5, checkpoint=str(tiny("sd1")), **SIZE)
    pictures = engine.generate(request, Watcher(told.append, lambda: bool(finished), keep))
    finished.append(next(pictures))
    assert [each.step for each in told] == [1, 2]
    with pytest.raises(RunStoppedError):
        next(pictures)
    assert len(told) == 2


def test_the_record_has_every_value_as_it_was_used(draw: GenerateImages, engine: Engine) -> None:
    (drawn,) = draw(prompt="a __colours__ cat")
    record = drawn.record
    assert record.prompt == "a __colours__ cat"
    assert record.expanded_prompt.removeprefix("a ").removesuffix(" cat") in COLOURS
    assert (record.sampler, record.schedule, record.steps) == ("DPM++ 2M", "karras", 3)
    assert record.guidance_scale == 7.0
    assert record.checkpoint.family == "sd1"
    assert record.machine == engine.machine
    assert record.machine.device == "cpu"
    assert record.machine.precision == "fp32"
    assert record.inpaint is None
    assert drawn.seconds > 0


def test_a_record_gives_the_same_request(draw: GenerateImages, engine: Engine) -> None:
    fields: list[dict[str, Any]] = [
        {"prompt": r"a {red|blue} \{cat\}", "seed": 11, "sampler": "DDIM", "eta": 0.5},
        {"hires": {"scale": 1.5, "steps": 5}, "guidance_rescale": 0.5, "guidance_end": 0.6},
        {"init_image": INIT_IMAGE.resize((70, 70)), "strength": 0.6},
        {**MASKED, "inpaint": {"fill": "noise", "invert": True}, "clip_skip": 2},
        {"variation": {"seed": 3, "strength": 0.2}, "pag_scale": 2, "schedule": "beta"},
    ]
    for asked in fields:
        (drawn,) = draw(**asked)
        inputs = {name: asked[name] for name in ("init_image", "mask") if name in asked}
        (again,) = engine.generate(drawn.record.to_request(**inputs))
        assert same_pixels(drawn, again)
        kept = {"prompt": drawn.record.prompt, "styles": drawn.record.styles}
        assert again.record.model_copy(update=kept) == drawn.record


@pytest.mark.parametrize("prompt", ["__{cat|cat}__", "{{|{} red}"])
def test_an_expanded_prompt_is_not_expanded_again(prompt: str, draw: GenerateImages, engine: Engine) -> None:
    (drawn,) = draw(prompt=prompt)
    (again,) = engine.generate(drawn.record.to_request())
    assert same_pixels(drawn, again)
    assert again.record.expanded_prompt == drawn.record.expanded_prompt


def test_the_record_has_the_upscalers_digest(tiny: Tiny, tmp_path: Path) -> None:
    network = tmp_path / "upscalers" / "x2.safetensors"
    network.parent.mkdir()
    torch.manual_seed(0)
    save_file(Compact(num_feat=4, num_conv=1, upscale=2).state_dict(), network)
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    fields = {"prompt": "", "seed": 7, "steps": 2, "checkpoint": str(tiny("sd1")), **SIZE}
    request = GenerationRequest.parse(**fields, hires={"upscaler": "x2", "steps": 4})
    (drawn,) = engine.generate(request)
    assert drawn.record.upscaler == hashlib.sha256(network.read_bytes()).hexdigest()
    (plain,) = engine.generate(request.model_copy(update={"hires": Hires(upscaler="lanczos", steps=4)}))
    assert plain.record.upscaler is None


def test_an_upscaler_stays_in_memory(tiny: Tiny, tmp_path: Path) -> None:
    network = tmp_path / "upscalers" / "x2.safetensors"
    network.parent.mkdir()
    save_file(Compact(num_feat=4, num_conv=1, upscale=2).state_dict(), network)
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    fields = {"prompt": "", "seed": 7, "steps": 2, "checkpoint": str(tiny("sd1")), **SIZE}
    request = GenerationRequest.parse(**fields, count=2, hires={"upscaler": "x2", "steps": 4})
    engine.preload(str(tiny("sd1")))
    without = engine._pool.keys
    list(engine.generate(request))
    with engine.lease_upscaler("x2") as first, engine.lease_upscaler("x2") as second:
        assert first.network is second.network
    assert len(engine._pool.keys) == len(without) + 1
    assert len(engine.loaded_checkpoints) == 1, "an upscaler is no checkpoint"
    save_file(Compact(num_feat=4, num_conv=2, upscale=2).state_dict(), network)
    with engine.lease_upscaler("x2") as replaced:
        assert replaced is not first
        assert replaced.digest == hashlib.sha256(network.read_bytes()).hexdigest()
    engine.unload()
    assert not engine._pool.keys


def test_the_budget_is_checked_with_the_upscaler_before_the_first_picture(
    tiny: Tiny, tmp_path: Path, in_memory: Memory
) -> None:
    network = tmp_path / "upscalers" / "x2.safetensors"
    network.parent.mkdir()
    save_file(Compact(num_feat=4, num_conv=1, upscale=2).state_dict(), network)
    settings = Settings(home=tmp_path, device="cpu")
    with Engine(settings).lease_upscaler("x2") as upscaler:
        assert isinstance(upscaler, NetworkUpscaler)
    loaded, side = in_memory("sd1"), 2 * SIDE
    budget = loaded.nbytes + decoding_bytes(loaded, side, side) + upscaler.nbytes
    fields = {"prompt": "", "seed": 7, "steps": 2, "checkpoint": str(tiny("sd1")), **SIZE}
    request = GenerationRequest.parse(**fields, hires={"scale": 2, "upscaler": "x2", "steps": 4})
    Engine(settings.model_copy(update={"memory_budget": budget})).start(request)
    less = {"memory_budget": loaded.nbytes + upscaler.nbytes, "memory_steps": ()}
    with pytest.raises(MemoryBudgetError, match="needs at least"):
        Engine(settings.model_copy(update=less)).start(request)


def test_a_damaged_upscaler_is_found_before_a_checkpoint_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    network = tmp_path / "upscalers" / "x2.safetensors"
    network.parent.mkdir()
    network.write_bytes(b"no weights")
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    request = GenerationRequest.parse(
        prompt="", checkpoint=str(tiny("sd1")), hires={"upscaler": "x2"}, **SIZE
    )
    with pytest.raises(ModelInvalidError):
        list(engine.generate(request))
    assert not engine.loaded_checkpoints
    assert not engine._pool.keys


def test_prompts_are_explained_without_generating(engine: Engine, tiny: Tiny) -> None:
    request = GenerationRequest.parse(
        prompt="a (red:1.3) [cat:dog:0.5]", negative_prompt="blue", checkpoint=str(tiny("sd1"))
    )
    found = engine.explain(request)
    assert set(found) == {"prompt", "negative prompt"}
    assert "1.3" in str(found["prompt"])
    plain = GenerationRequest.parse(prompt="a cat", checkpoint=str(tiny("flux")))
    assert set(engine.explain(plain)) == {"prompt"}


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sdxl-refiner"])
def test_an_explanation_needs_no_weights(name: str, tiny: Tiny, tmp_path: Path) -> None:
    engine = Engine(Settings(home=tmp_path, device="cpu"))
    request = GenerationRequest.parse(prompt="a (red:1.3) cat", checkpoint=str(tiny(name)))
    if name == "sdxl-refiner":  # which generates from images only
        request = request.model_copy(update={"init_image": INIT_IMAGE})
    assert "tokens: " in str(engine.explain(request)["prompt"])
    assert not engine.loaded_checkpoints


def test_no_preview_map_is_fitted_without_previews(tiny: Tiny, drawing_home: Path, in_memory: Memory) -> None:
    engine = Engine(Settings(home=drawing_home, device="cpu"))
    request = GenerationRequest.parse(prompt="", steps=2, checkpoint=str(tiny("sd1")), **SIZE)
    assert len(list(islice(engine.generate(request, Watcher(lambda _: None)), 1))) == 1
    assert engine._previewers == {}


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "z-image"])
def test_reduced_precision_generates_and_varies(name: str, tiny: Tiny, drawing_home: Path) -> None:
    engine = Engine(Settings(home=drawing_home, device="cpu", generation_precision="bf16"))
    fields = {"prompt": "a cat", "seed": 7, "steps": 2, "checkpoint": str(tiny(name)), **SIZE}
    told: list[Any] = []
    watcher = Watcher(lambda each: told.append(each.preview().size))
    (plain,) = engine.generate(GenerationRequest.parse(**fields), watcher)
    assert plain.record.machine.precision == "bf16"
    assert told == [(8, 8), (8, 8)]
    near = {"variation": {"seed": 1, "strength": 0.01}}
    (varied,) = engine.generate(GenerationRequest.parse(**fields, **near))
    far = {"variation": {"seed": 1, "strength": 1.0}}
    (other,) = engine.generate(GenerationRequest.parse(**fields, **far))
    distances = [np.abs(to_array(each).astype(int) - to_array(plain)).mean() for each in (varied, other)]
    assert distances[0] < distances[1]


def test_the_record_says_what_the_denoiser_ran_on(engine: Engine, tiny: Tiny) -> None:
    run = engine.start(
        GenerationRequest.parse(prompt="", count=2, steps=1, checkpoint=str(tiny("sd1")), **SIZE)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        more = run.generate(0).record.machine
    finally:
        torch.set_num_threads(before)
    same = run.generate(1).record.machine
    assert (more.threads, same.threads) == (before + 1, before)
    assert (same.device, same.precision, same.backend) == ("cpu", "fp32", "eager")
