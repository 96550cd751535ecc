"""A device that is missing, or fails: an error, unless the CPU may take its place, which is then said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.generation.conftest import SIDE

from safelight.errors import BackendError, DeviceBrokenError, MemoryExhaustedError
from safelight.generation.autoencoder import AutoencoderProxy
from safelight.generation.engine import Engine
from safelight.generation.memory_costs import CountedNetwork
from safelight.generation.request import GenerationRequest
from safelight.jobs.worker.capabilities import describe_generation
from safelight.settings import Settings

Tiny = Callable[[str], Path]


def request(checkpoint: Path) -> GenerationRequest:
    return GenerationRequest.parse(prompt="", steps=1, width=SIDE, height=SIDE, checkpoint=str(checkpoint))


def test_the_cpu_takes_the_place_of_a_missing_device_only_if_it_may(
    tiny: Tiny, drawing_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = {"home": drawing_home, "device": "xpu"}
    with pytest.raises(BackendError, match="'xpu' cannot be used"):
        Engine(Settings(**missing))
    settings = Settings(**missing, device_fallback=True)
    with caplog.at_level(logging.WARNING):
        engine = Engine(settings)
    assert engine.machine.device == "cpu"
    (note,) = engine.device_notes
    assert note.startswith("The device 'xpu' cannot be used: ")
    assert note.endswith("The CPU takes its place, as the setting device_fallback permits.")
    assert note in caplog.text
    (made,) = engine.generate(request(tiny("sd1")))
    assert note in made.record.notes
    assert made.record.machine.device == "cpu"
    told = describe_generation(settings, engine.machine)
    assert "on cpu, in the place of another device" in told
    assert Engine(Settings(home=drawing_home, device="cpu", device_fallback=True)).device_notes == ()


def test_the_cpu_takes_the_place_of_other_devices_too(drawing_home: Path) -> None:
    settings = Settings(home=drawing_home, device="cpu", vae_device="xpu", device_fallback=True)
    engine = Engine(settings)
    assert len(engine.device_notes) == 1
    assert engine._devices_in(settings).vae == torch.device("cpu")
    (cpu, *_) = engine.devices
    assert (cpu.name, cpu.used_for) == ("cpu", ("denoiser", "text_encoders", "vae"))
    assert cpu.total is not None
    assert cpu.free is not None
    assert " GB free; " in str(cpu)


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        ("CUDA error: illegal access\nCUDA …", DeviceBrokenError, "cpu failed: CUDA error: illegal access"),
        ("CUDA error: out of memory\nCUDA …", MemoryExhaustedError, "no memory left"),
    ],
)
def test_a_device_that_fails_is_named(
    message: str,
    kind: type[Exception],
    told: str,
    tiny: Tiny,
    drawing_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = AutoencoderProxy.decode

    def fail(self: AutoencoderProxy, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.network, CountedNetwork):
            return decode(self, *args, **kwargs)
        raise torch.AcceleratorError(message)

    monkeypatch.setattr(AutoencoderProxy, "decode", fail)
    engine = Engine(Settings(home=drawing_home, device="cpu", memory_budget=4 * 10**9, memory_steps=()))
    with pytest.raises(kind, match=told):
        list(engine.generate(request(tiny("sd1"))))
