"""Text encoders and autoencoder on another device than the denoiser: the real CPU beside torch's fake CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fake_cuda import fake_cuda
from tests.generation.conftest import SIDE, loaded_checkpoint, same_pixels
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import BackendError
from safelight.generation import memory_placement
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.memory_planning import plan_memory, planned_checkpoint, usual_plan
from safelight.generation.memory_steps import OtherDevice
from safelight.generation.quality import recorded_devices
from safelight.generation.record import Machine
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.families import FAMILIES, IMAGE, INPAINT, TEXT
from safelight.runtime.devices.memory import assumed_device
from safelight.settings import Settings

Tiny = Callable[[str], Path]
INPUTS: dict[str, dict[str, Any]] = {
    TEXT: {"width": SIDE, "height": SIDE},
    IMAGE: {"init_image": INIT_IMAGE, "strength": 1.0},
    INPAINT: {"init_image": INIT_IMAGE, "mask": MASK, "strength": 1.0},
}
FEW = ("sd3",)
CASES = [
    pytest.param(family.name, marks=() if family.name in FEW else pytest.mark.slow)
    for family in FAMILIES.values()
    if not family.variant
]
"""Families; one that encodes text in its pipeline also without ``make test-slow``, and below one that does not."""
ON_CPU = {"text_encoder_device": "cpu", "vae_device": "cpu"}


def parse(checkpoint: Path, mode: str = TEXT) -> GenerationRequest:
    fields: dict[str, Any] = {"prompt": "red", "seed": 1, "steps": 2, "checkpoint": str(checkpoint)}
    return GenerationRequest.parse(**(fields | INPUTS[mode]))


def generate(home: Path, checkpoint: Path, mode: str = TEXT, **settings: Any) -> Artifact:
    usual: dict[str, Any] = {"device": "cuda", "generation_precision": "fp32"}
    engine = Engine(Settings(home=home, **(usual | settings)))
    return next(iter(engine.generate(parse(checkpoint, mode))))


@pytest.mark.parametrize("name", CASES)
def test_networks_on_two_devices_work_together(name: str, tiny: Tiny, drawing_home: Path) -> None:
    family, checkpoint = FAMILIES[name], tiny(name)
    mode = IMAGE if IMAGE in family.modes else family.modes[0]
    expected = generate(drawing_home, checkpoint, mode, device="cpu")
    with fake_cuda():
        made = generate(drawing_home, checkpoint, mode, **ON_CPU)
    assert same_pixels(made, expected)
    machine = made.record.machine
    assert (machine.device, expected.record.machine.other_devices) == ("cuda:0", {})
    assert machine.other_devices == dict.fromkeys((*family.text_encoders, "vae"), "cpu")


def test_only_the_autoencoder_is_elsewhere(tiny: Tiny, drawing_home: Path) -> None:
    """The denoiser's device holds no autoencoder, and what is reproduced uses the same devices."""
    checkpoint = tiny("sd1")
    with fake_cuda() as cuda:
        settings = Settings(home=drawing_home, device="cuda", generation_precision="fp32", vae_device="cpu")
        engine = Engine(settings)
        request = parse(checkpoint)
        (made,) = engine.generate(request)
        loaded = loaded_checkpoint(engine, checkpoint)
        assert {name: (str(each.device), str(each.own_device)) for name, each in loaded.networks.items()} == {
            "text_encoder": ("cuda:0", "cuda:0"),
            "unet": ("cuda:0", "cuda:0"),
            "vae": ("cuda:0", "cpu"),
        }
        assert engine._pool.bytes_elsewhere("cpu") == loaded.vae.nbytes > 0
        assert engine._pool.loaded_bytes == loaded.nbytes - loaded.vae.nbytes <= cuda.allocated
        plain = Engine(Settings(home=drawing_home, device="cuda", generation_precision="fp32"))
        (again,) = plain.generate(request, recorded=made.record.machine)
    assert made.record.machine.other_devices == {"vae": "cpu"}
    assert again.record == made.record
    assert same_pixels(again, made)


def test_a_precision_is_that_of_the_components_device(tiny: Tiny, drawing_home: Path) -> None:
    """fp16 on the GPU, and fp32 on the CPU unless the settings say otherwise; tensors are converted between."""
    checkpoint, auto = tiny("sdxl"), {"generation_precision": "auto", **ON_CPU}
    with fake_cuda():
        made = generate(drawing_home, checkpoint, text_encoder_precision="bf16", **auto)
    machine = made.record.machine
    assert machine.precision == "fp16"
    assert machine.other_precisions == {"text_encoder": "bf16", "text_encoder_2": "bf16", "vae": "fp32"}


@pytest.mark.parametrize("setting", ["text_encoder_device", "vae_device"])
def test_a_device_that_is_not_here_is_an_error_at_once(setting: str, drawing_home: Path) -> None:
    with pytest.raises(BackendError, match="The device 'xpu' cannot be used"):
        Engine(Settings(home=drawing_home, device="cpu", **{setting: "xpu"}))


def test_a_recorded_device_that_is_not_here_is_left_out(drawing_home: Path) -> None:
    recorded = Machine(
        device="cpu",
        precision="fp32",
        backend="eager",
        threads=1,
        other_devices={"vae": "cpu", "text_encoder_2": "xpu"},
    )
    assert recorded_devices(recorded) == {"vae_device": "cpu"}


def test_each_device_has_its_part_of_the_plan(tiny: Tiny, drawing_home: Path) -> None:
    """What does not fit the GPU is put in phases there, and the CPU's networks do not count."""
    checkpoint = planned_checkpoint(find_checkpoint(str(tiny("sd1")), drawing_home))
    plan = usual_plan(checkpoint, SIDE, steps=2)
    settings = Settings(home=drawing_home, generation_precision="fp32")
    card, host = assumed_device("cuda", 10**9, 10**9), assumed_device("cpu", 10**9)
    whole = plan_memory(checkpoint, plan, card, settings)
    split = plan_memory(checkpoint, plan, card, settings, [OtherDevice(host, ("text_encoders", "vae"))])
    assert [stage.name for stage in split.stages] == [stage.name for stage in whole.stages]
    assert [stage.device for stage in split.stages] == ["cpu", "", "cpu"]
    assert split.fits
    assert split.peak < whole.peak
    assert split.peak == next(stage.peak for stage in split.stages if stage.name == "denoise")
    small = assumed_device("cpu", 10**5)
    assert not plan_memory(checkpoint, plan, card, settings, [OtherDevice(small, ("vae",))]).fits
    assert (
        plan_memory(checkpoint, plan, card, settings, [OtherDevice(host, ("vae",))]).to_dict()["stages"][-1][
            "device"
        ]
        == "cpu"
    )


def test_networks_in_phases_are_elsewhere_too(
    tiny: Tiny, drawing_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the card has no room for all of its networks at once, those of the CPU are still used from there."""
    monkeypatch.setattr(memory_placement, "SPARE", 10**12)  # everything is counted
    checkpoint = tiny("sd1")
    expected = generate(drawing_home, checkpoint, device="cpu")
    with fake_cuda():
        made = generate(drawing_home, checkpoint, memory_budget=600_000, **ON_CPU)
    assert made.memory is not None
    assert made.memory.plan is not None
    assert made.memory.plan.phases
    assert made.record.machine.other_devices == {"text_encoder": "cpu", "vae": "cpu"}
    assert same_pixels(made, expected)
