"""Whole runs on a CUDA device that is not there (``tests/fake_cuda.py``): wrong devices and wrong types raise.

In fp32 its pictures are those of the CPU, bit for bit; in the precisions of a GPU they are nearly the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fake_cuda import GB, FakeCuda, fake_cuda
from tests.generation.conftest import SIDE, GenerateImages, loaded_checkpoint, same_pixels, to_array
from tests.real_size import without_weights, write_real_size
from tests.tiny import TINY
from tests.tiny.generation import INIT_IMAGE, MASK
from torch import nn

from safelight.generation import memory_costs, memory_placement, memory_tiling, previews
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.empty_networks import published_families
from safelight.models.families import FAMILIES, IMAGE, INPAINT, TEXT
from safelight.runtime.devices.memory import ACCELERATOR_SHARE
from safelight.settings import Settings
from safelight.studio.quantization import quantize

Tiny = Callable[[str], Path]
INPUTS: dict[str, dict[str, Any]] = {
    TEXT: {"width": SIDE, "height": SIDE},
    IMAGE: {"init_image": INIT_IMAGE, "strength": 1.0},
    INPAINT: {"init_image": INIT_IMAGE, "mask": MASK, "strength": 1.0},
}
FEW = [("sdxl", IMAGE), ("sd3", TEXT), ("flux", INPAINT), ("z-image", TEXT)]
"""Families and modes that also run without ``make test-slow``."""
ALL = [
    pytest.param(name, mode, marks=() if (name, mode) in FEW else pytest.mark.slow)
    for name in TINY
    for mode in FAMILIES.get(name, FAMILIES["sd2"]).modes
]
SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
CARDS = [*((name, 24) for name in published_families()), ("sd1", 2), ("sdxl", 6), ("flux", 12), ("flux", 80)]
"""Published models and gigabytes of a card; the first also without ``make test-slow``."""
SIZES = [
    pytest.param(name, card, id=f"{name} on {card} GB", marks=() if place == 0 else SLOW)
    for place, (name, card) in enumerate(CARDS)
]


def request(checkpoint: Path, **fields: Any) -> GenerationRequest:
    usual: dict[str, Any] = {"prompt": "a red cat", "seed": 7, "steps": 2, "checkpoint": str(checkpoint)}
    if "init_image" not in fields:
        usual |= {"width": SIDE, "height": SIDE}
    return GenerationRequest.parse(**(usual | fields))


@pytest.fixture
def gpu_engine(drawing_home: Path) -> Callable[..., Engine]:
    """An engine on the fake device; in fp32 unless told otherwise."""

    def make(**settings: Any) -> Engine:
        return Engine(
            Settings(**({"home": drawing_home, "device": "cuda", "generation_precision": "fp32"} | settings))
        )

    return make


def differences(one: Artifact, other: Artifact) -> float:
    """The mean difference of the pixels, of 255."""
    return float(np.abs(to_array(one).astype(float) - to_array(other).astype(float)).mean())


def test_a_picture_is_that_of_the_cpu_to_the_bit(
    draw: GenerateImages, cuda: FakeCuda, gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    """With two passes, mixed noise and previews. Only what needs values waits for the device, and no step does."""
    fields: dict[str, Any] = {
        "steps": 3,
        "hires": {"scale": 2, "steps": 2, "upscaler": "latent"},
        "variation": {"seed": 3, "strength": 0.3},
    }
    seen: list[np.ndarray] = []

    def look(progress: RunProgress) -> None:
        if progress.preview is not None and progress.step == 2:
            seen.append(np.asarray(progress.preview()))

    (expected,) = draw("sd1", Watcher(look), **fields)
    engine = gpu_engine()
    (made,) = engine.generate(request(tiny("sd1"), **fields), Watcher(look))
    assert same_pixels(made, expected)
    assert len(seen) == 2
    assert np.array_equal(*seen)
    assert made.record.machine.device == "cuda:0"
    assert made.memory is not None
    assert set(made.memory.measured) == {"text encoders", "denoise", "decode"}
    loaded = loaded_checkpoint(engine, tiny("sd1"))
    for component in loaded.networks.values():
        tensors = [*component.network.parameters(), *component.network.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"cuda"}
    waits = {line: count for line, count in cuda.syncs.items() if "isfinite" not in line}
    assert max(waits.values()) <= 5, waits  # the five photographs of the map of previews
    counts = []
    for steps in (2, 4):
        cuda.syncs.clear()
        list(engine.generate(request(tiny("sd1"), steps=steps)))
        counts.append(dict(cuda.syncs))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_each_family_runs_in_the_precisions_of_a_gpu(
    name: str,
    mode: str,
    draw: GenerateImages,
    cuda: FakeCuda,
    gpu_engine: Callable[..., Engine],
    tiny: Tiny,
) -> None:
    family = FAMILIES.get(name, FAMILIES["sd2"])
    needs_picture = family.references is not None and family.references.required
    inputs = INPUTS[mode] | ({"references": [{"image": INIT_IMAGE}]} if needs_picture else {})
    (expected,) = draw(name, steps=2, **inputs)
    engine = gpu_engine(generation_precision="auto")
    (made,) = engine.generate(request(tiny(name), **inputs))
    assert made.record.machine.precision == family.precision.denoiser[0]
    assert made.image.size == expected.image.size
    assert differences(made, expected) < 8


def test_pictures_of_several_threads_are_batched(
    cuda: FakeCuda, gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    engine = gpu_engine(generation_precision="auto", batch_timeout=1000)
    wanted = [request(tiny("sd1"), seed=seed, prompt=text) for seed, text in enumerate(["a", "b c", "d"])]
    ready = threading.Barrier(len(wanted))

    def generate(each: GenerationRequest) -> Artifact:
        begun: list[RunProgress] = []

        def wait(progress: RunProgress) -> None:
            if not begun:
                begun.append(progress)
                ready.wait(60)

        return next(engine.generate(each, Watcher(wait)))

    with ThreadPoolExecutor(len(wanted)) as pool:
        made = list(pool.map(generate, wanted))
    assert all(artifact.record.batched for artifact in made)
    (alone,) = engine.generate(wanted[1], unbatched=True)
    assert differences(made[1], alone) < 1


@contextmanager
def exact_plans() -> Iterator[None]:
    """Count everything, also for tiny networks, whose plans the usual reserves would exceed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_placement, "SPARE", 10**12)
        patch.setattr(previews, "FIT_SIZE", 32)
        patch.setattr(memory_tiling, "TILE", 64)
        patch.setattr(memory_tiling, "OVERLAP", 32)
        patch.setattr(memory_costs, "TILE", 64)
        yield


@pytest.mark.parametrize(
    ("step", "usable", "exact"),
    [
        ("phases", 1_050_000, True),
        ("blocks", 920_000, True),
        pytest.param("disk", 920_000, True, marks=pytest.mark.slow),
        ("int8", 920_000, False),
    ],
)
def test_what_does_not_fit_is_offloaded_as_planned(
    step: str, usable: int, exact: bool, draw: GenerateImages, gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    """The card has not a byte more than the plan may take and its reserve, and raises where that is exceeded."""
    (expected,) = draw("sd1", steps=2)
    with exact_plans(), fake_cuda(total=int(usable / ACCELERATOR_SHARE)) as cuda:
        engine = gpu_engine(memory_steps=("phases", step))
        (made,) = engine.generate(request(tiny("sd1")))
        assert made.memory is not None
        assert made.memory.plan is not None
        assert step in made.memory.plan.steps
        assert engine.shortages == 0
        for planned, measured in made.memory.by_stage().values():
            assert planned is not None
            assert measured is not None
            assert 0.5 * planned < measured < 1.1 * planned + 50_000, made.memory.by_stage()
        if exact:
            assert same_pixels(made, expected)
        else:
            assert differences(made, expected) < 8
        assert cuda.allocated < usable / 2


def test_where_other_programs_take_the_memory_the_picture_is_decoded_in_tiles(
    gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    with exact_plans(), fake_cuda(total=20_000_000) as cuda:
        engine = gpu_engine()

        def take(_: RunProgress) -> None:
            cuda.foreign = cuda.free - 1_800_000

        (made,) = engine.generate(request(tiny("sd1"), width=128, height=128, steps=1), Watcher(take))
        assert any("tiles" in note for note in made.record.notes)
        assert engine.shortages == 1


def test_where_decoding_runs_out_of_memory_it_is_done_in_tiles(
    gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    with exact_plans(), fake_cuda(total=20_000_000) as cuda:
        engine = gpu_engine()
        vae: Any = loaded_checkpoint(engine, tiny("sd1")).networks["vae"].network
        taken: list[int] = []

        def take(*_: Any) -> None:
            if not taken:
                taken.append(cuda.free)
                cuda.foreign = cuda.free - 1_800_000

        handle = vae.decoder.register_forward_pre_hook(take)
        (made,) = engine.generate(request(tiny("sd1"), width=128, height=128, steps=1))
        handle.remove()
        assert taken
        assert any("tiles" in note for note in made.record.notes)


def test_a_network_upscales_between_two_passes(
    draw: GenerateImages, cuda: FakeCuda, gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    fields: dict[str, Any] = {"hires": {"scale": 1.5, "steps": 2, "upscaler": "starter-2x"}}
    (expected,) = draw("sd1", steps=2, **fields)
    (made,) = gpu_engine().generate(request(tiny("sd1"), **fields))
    assert same_pixels(made, expected)


def test_modifiers_work_on_it(
    draw: GenerateImages, cuda: FakeCuda, gpu_engine: Callable[..., Engine], tiny: Tiny
) -> None:
    fields: dict[str, Any] = {
        "steps": 4,
        "prompt": "a (red:1.3) [cat:dog:0.5]",
        "pag_scale": 2.0,
        "token_merging": 0.5,
        "step_cache": "deep",
    }
    (expected,) = draw("sd1", **fields)
    (made,) = gpu_engine().generate(request(tiny("sd1"), **fields))
    assert same_pixels(made, expected)


def test_quantized_weights_compute_on_it(
    engine: Engine, cuda: FakeCuda, gpu_engine: Callable[..., Engine], tiny: Tiny, tmp_path: Path
) -> None:
    quantize(engine.checkpoint(str(tiny("sd1"))), tmp_path / "int8", "int8")
    (expected,) = engine.generate(request(tmp_path / "int8"))
    (made,) = gpu_engine().generate(request(tmp_path / "int8"))
    assert same_pixels(made, expected)


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        pytest.param(lambda table: table.cpu(), "device", id="a table on the CPU"),
        pytest.param(lambda table: table.float(), "type", id="a table in fp32"),
    ],
)
def test_a_planted_defect_raises(
    planted: Callable[[torch.Tensor], torch.Tensor],
    message: str,
    cuda: FakeCuda,
    gpu_engine: Callable[..., Engine],
    tiny: Tiny,
) -> None:
    engine = gpu_engine(generation_precision="auto")
    unet: Any = loaded_checkpoint(engine, tiny("sd1")).networks["unet"].network

    def spoil(_: nn.Module, __: Any, result: torch.Tensor) -> torch.Tensor:
        return planted(result)

    handle = unet.time_embedding.register_forward_hook(spoil)
    with pytest.raises(RuntimeError, match=message):
        list(engine.generate(request(tiny("sd1"))))
    handle.remove()


@pytest.mark.parametrize(("name", "card"), SIZES)
def test_a_published_model_runs_at_its_real_size(
    name: str,
    card: int,
    gpu_engine: Callable[..., Engine],
    tiny: Tiny,
    tmp_path: Path,
) -> None:
    """Through the engine, from the header of its files to the picture, within the memory of a card."""
    family = FAMILIES[name]
    folder = write_real_size(name, tiny(name), tmp_path / name)
    side = family.side
    white = {} if TEXT in family.modes else {"init_image": INIT_IMAGE.resize((side, side)), "strength": 1.0}
    wanted = request(folder, steps=1, width=side, height=side, **white)
    with fake_cuda(total=card * GB) as cuda, without_weights():
        engine = gpu_engine(generation_precision="auto")
        (made,) = engine.generate(wanted)
        assert made.image.size == (side, side)
        assert made.record.machine.precision == family.precision.denoiser[0]
        assert engine.shortages == 0
        assert cuda.peak <= card * GB
