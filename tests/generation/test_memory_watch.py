"""The free memory falls while pictures are generated: what still lies ahead takes less, and no step is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from safelight.generation import memory_costs, memory_placement, memory_tiling
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.memory_watch import MemoryNeeds
from safelight.generation.progress import Watcher
from safelight.generation.request import GenerationRequest
from safelight.runtime.devices import device_of
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings

Tiny = Callable[[str], Path]
PLENTY = 10**12


@pytest.fixture(autouse=True)
def _small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is counted, nothing is left to the allocator, and tiles are smaller than the pictures."""
    monkeypatch.setattr(memory_costs, "CPU_SLACK", 0)
    monkeypatch.setattr(memory_placement, "SPARE", 10**12)
    monkeypatch.setattr(memory_tiling, "TILE", 64)
    monkeypatch.setattr(memory_tiling, "OVERLAP", 32)
    monkeypatch.setattr(memory_costs, "TILE", 64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory, so that each picture is counted once."""
    return tmp_path_factory.mktemp("home")


class Machine:
    """A machine whose free memory is what a test says.

    Attributes:
        free: Returns it, in bytes.
        steps: The steps done.
    """

    def __init__(self, home: Path, budget: int = 4 * 10**9, **settings: Any) -> None:
        self.free: Callable[[], int] = lambda: PLENTY
        self.steps = 0
        self.pool = ModelPool(budget)
        found = Settings(home=home, device="cpu", memory_budget=budget, **settings)
        self.engine = Engine(found, self.pool, lambda _: self.free())

    def run_short(self, after: int) -> Machine:
        """Let the free memory fall to nothing after so many steps."""
        self.free = lambda: PLENTY if self.steps < after else 0
        return self

    def generate(self, checkpoint: Path, **fields: Any) -> list[Artifact]:
        usual = {"prompt": "a red apple", "seed": 7, "steps": 3, "width": 128, "height": 128}
        request = GenerationRequest.parse(**(usual | {"checkpoint": str(checkpoint)} | fields))

        def count(_: object) -> None:
            self.steps += 1

        return list(self.engine.generate(request, Watcher(count)))


def notes(artifact: Artifact) -> str:
    return " ".join(artifact.record.notes)


def test_where_nothing_falls_nothing_is_done(tiny: Tiny, home: Path) -> None:
    (artifact,) = Machine(home).generate(tiny("sd1"))
    assert "ran short" not in notes(artifact)


def test_a_picture_is_decoded_in_tiles_and_the_next_one_takes_less(
    tiny: Tiny, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(home).run_short(after=2)
    first, second = machine.generate(tiny("sd1"), count=2)
    assert machine.steps == 6  # no step was lost
    assert "decoded in tiles" in notes(first)
    assert first.memory is not None
    assert first.memory.plan is not None
    assert first.memory.plan.steps == ()
    assert second.memory is not None
    assert second.memory.plan is not None
    assert second.memory.plan.peak < first.memory.plan.peak
    assert "from this picture or an earlier one" in notes(second)
    assert caplog.text.count("running short on cpu: the next picture") == machine.engine.shortages == 2


def test_what_may_not_be_done_is_not_done(tiny: Tiny, home: Path) -> None:
    usual = Machine(home).generate(tiny("sd1"))[0]
    machine = Machine(home, memory_steps=("phases",)).run_short(after=1)
    (artifact,) = machine.generate(tiny("sd1"))
    assert artifact.image.tobytes() == usual.image.tobytes()
    assert "the next ones of the request take less" in notes(artifact)


def test_unused_networks_are_evicted_first(tiny: Tiny, home: Path) -> None:
    """The memory of another checkpoint is enough, so that the picture is not changed."""
    machine = Machine(home)
    own = 3  # text encoder, denoiser, autoencoder
    machine.generate(tiny("flux"), width=64, height=64)
    machine.free = lambda: PLENTY if len(machine.pool.keys) <= own else 0
    (artifact,) = machine.generate(tiny("sd1"))
    assert "ran short" not in notes(artifact)
    assert len(machine.pool.keys) == own


def test_in_phases_the_denoiser_makes_room(tiny: Tiny, home: Path) -> None:
    """Where the memory is less than the budget, the denoiser is evicted before decoding; the picture is the same."""
    (usual,) = Machine(home).generate(tiny("sd1"))
    assert usual.memory is not None
    assert usual.memory.plan is not None
    machine = Machine(home, budget=usual.memory.plan.peak - 1)
    denoising = machine.engine._describe(machine.engine.checkpoint(str(tiny("sd1")))).sources["unet"].key
    machine.free = lambda: 0 if machine.steps == 3 and denoising in machine.pool.keys else PLENTY
    (artifact,) = machine.generate(tiny("sd1"))
    assert artifact.memory is not None
    assert artifact.memory.plan is not None
    assert artifact.memory.plan.phases
    assert "ran short" not in notes(artifact)
    assert artifact.image.tobytes() == usual.image.tobytes()
    assert denoising not in machine.pool.keys


def test_decoding_that_runs_out_of_memory_goes_on_in_tiles(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, home: Path
) -> None:
    from diffusers import AutoencoderKL

    machine = Machine(home)
    decode = AutoencoderKL.decode

    def fail_if_whole(self: AutoencoderKL, z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if z.device.type == "cpu" and z.shape[-1] * 8 > 64 and not is_fake(z):
            raise torch.OutOfMemoryError("out of memory")
        return decode(self, z, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", fail_if_whole)
    (artifact,) = machine.generate(tiny("sd1"))
    assert machine.steps == 3
    assert "decoded in tiles" in notes(artifact)


def is_fake(tensor: torch.Tensor) -> bool:
    from torch._subclasses import FakeTensor

    return isinstance(tensor, FakeTensor)


def test_what_a_picture_needs_without_a_plan(tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_placement, "SPARE", 0)
    run = Machine(home).engine.start(
        GenerationRequest.parse(prompt="", checkpoint=str(tiny("sd1")), width=64, height=64)
    )
    with run.lease() as components:
        assert components.placement.memory is None
        assert MemoryNeeds.of(components.placement) == MemoryNeeds(0, components.placement.room * 4 // 3)


def test_reading_the_free_memory_is_fast() -> None:
    device, began = torch.device("cpu"), time.perf_counter()
    for _ in range(20):
        assert device_of(device).memory().free > 0
    assert (time.perf_counter() - began) / 20 < 0.02
