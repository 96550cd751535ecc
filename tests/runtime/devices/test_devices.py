"""Every kind of devices keeps to the protocol; for those that are not here, torch's functions are replaced."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from safelight.errors import BackendError
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.runtime import pool
from safelight.runtime.devices import (
    DEVICES,
    DeviceKind,
    cpu,
    device_of,
    find_device,
    present_devices,
    release_cached_memory,
)
from safelight.runtime.devices.cpu import CpuDevice
from safelight.runtime.devices.cuda import CudaDevice
from safelight.runtime.devices.device import Device
from safelight.runtime.devices.memory import MemoryInfo
from safelight.runtime.devices.mps import MpsDevice
from safelight.runtime.devices.xpu import XpuDevice

GB = 10**9
Patch = pytest.MonkeyPatch
ACCELERATORS = ("cuda", "rocm", "xpu", "mps", "directml")


class FakeModule:
    """Torch's module for accelerators of a type, of which there are two with 16 GB each.

    Attributes:
        called: The names of functions that were called with the device, in order.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.called: list[str] = []

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def get_device_name(self, device: torch.device) -> str:
        return f"{self.kind} card {device.index}"

    def get_device_properties(self, _: torch.device) -> SimpleNamespace:
        return SimpleNamespace(total_memory=16 * GB, driver_version="1.6", gcnArchName="gfx1100:sramecc-")

    def get_device_capability(self, _: torch.device) -> tuple[int, int]:
        return 8, 9

    def is_bf16_supported(self) -> bool:
        return True

    def mem_get_info(self, _: torch.device) -> tuple[int, int]:
        return 10 * GB, 16 * GB

    def memory_reserved(self, _: torch.device) -> int:
        return 4 * GB

    def memory_allocated(self, _: torch.device) -> int:
        return 3 * GB

    def max_memory_allocated(self, _: torch.device) -> int:
        return 5 * GB

    # torch.mps and torch_directml

    def recommended_max_memory(self) -> int:
        return 16 * GB

    def current_allocated_memory(self) -> int:
        return 3 * GB

    def driver_allocated_memory(self) -> int:
        return 4 * GB

    def get_rng_state(self, *_: torch.device) -> torch.Tensor:
        self.called.append("get_rng_state")
        return torch.zeros(1)

    def device_name(self, number: int) -> str:
        return f"directml card {number}\0"

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        self.called.append(f"on {device}")
        yield

    def device(self, which: Any) -> Any:
        return torch.device("privateuseone", which) if self.kind == "directml" else self.on(which)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Every function without a result is recorded."""
        assert name in (
            "empty_cache",
            "synchronize",
            "manual_seed",
            "set_rng_state",
            "reset_peak_memory_stats",
        ), name
        return lambda *_: self.called.append(name)


@pytest.fixture
def fake(monkeypatch: Patch) -> Callable[[str], tuple[Device, FakeModule]]:
    """Makes the second device of a kind, with torch's functions for it."""

    def make(kind: str) -> tuple[Device, FakeModule]:
        module = FakeModule(kind)
        torch_type = DEVICES[kind].torch_type
        monkeypatch.setattr(torch.version, "hip", "7.0" if kind == "rocm" else None)
        monkeypatch.setattr(torch, "get_device_module", lambda _: module)
        if hasattr(torch, torch_type):
            real = getattr(torch, torch_type)
            for name in {*dir(real)} & {*dir(FakeModule)} - {*dir(ModuleType), "device"}:
                monkeypatch.setattr(real, name, getattr(module, name))
            for name in ("empty_cache", "synchronize", "manual_seed", "set_rng_state"):
                monkeypatch.setattr(real, name, getattr(module, name))
        monkeypatch.setattr("safelight.runtime.devices.directml.import_module", lambda _: module)
        monkeypatch.setattr("safelight.runtime.devices.directml.find_spec", lambda _: module)
        monkeypatch.setattr("safelight.runtime.devices.mps.host_memory", lambda: MemoryInfo(24 * GB, 20 * GB))
        return device_of(torch.device(torch_type, 1)), module

    return make


@pytest.mark.parametrize("kind", DEVICES)
def test_a_class_has_all_that_the_protocol_has(kind: str) -> None:
    found = DEVICES[kind].load()
    names = [name for name in vars(Device) if not name.startswith("_") and name != "torch_device"]
    assert len(names) > 15
    for name in (*names, "fp32_by_default", "shares_host_memory", "has_streams"):
        wanted, own = getattr(Device, name, None), getattr(found, name)
        if callable(wanted):
            assert list(inspect.signature(own).parameters) == list(inspect.signature(wanted).parameters), name


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_an_accelerator_is_known_by_its_type_and_tells_of_itself(
    kind: str, fake: Callable[[str], tuple[Device, FakeModule]]
) -> None:
    device, _ = fake(kind)
    assert type(device) is DEVICES[kind].load()
    assert type(device).present() == [torch.device(DEVICES[kind].torch_type, n) for n in (0, 1)]
    assert device.title
    assert "\0" not in device.title
    assert device.details
    assert not device.fp32_by_default


@pytest.mark.parametrize("kind", ["cuda", "rocm", "xpu", "mps"])
def test_memory_is_the_devices_own(kind: str, fake: Callable[[str], tuple[Device, FakeModule]]) -> None:
    """16 GB, of which 3 are in use by this process, one is kept by torch, and 2 are taken by other programs."""
    device, module = fake(kind)
    free = 13 * GB if kind == "mps" else 11 * GB  # Metal does not tell what others take
    assert device.memory() == MemoryInfo(16 * GB, free)
    found = device.usable_memory(0, own=2 * GB)
    assert (found.kind, found.total) == (device.torch_device.type, 16 * GB)
    assert found.usable == min(int(0.9 * 16 * GB), free + 2 * GB)
    assert device.usable_memory(8 * GB).usable == 8 * GB
    assert device.weights_budget(0) == int(0.9 * 16 * GB)
    assert device.weights_budget(5) == 5
    assert device.allocated_bytes() == 3 * GB
    assert device.reset_peak() is (kind != "mps")
    assert device.peak_bytes() == (0 if kind == "mps" else 5 * GB)
    device.empty_cache()
    device.synchronize()
    assert [*module.called][-2:] == ["empty_cache", "synchronize"]


def test_what_the_host_has_left_limits_the_memory_that_is_shared_with_it(
    fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    device, _ = fake("mps")
    monkeypatch.setattr("safelight.runtime.devices.mps.host_memory", lambda: MemoryInfo(24 * GB, 2 * GB))
    assert device.memory() == MemoryInfo(16 * GB, 3 * GB)
    assert device.shares_host_memory


def test_a_gpu_in_an_intel_processor_does_not_tell_what_is_free(
    fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    device, module = fake("xpu")

    def refuse(_: torch.device) -> None:
        raise RuntimeError("The device doesn't support querying the available free memory.")

    monkeypatch.setattr(module, "mem_get_info", refuse)
    monkeypatch.setattr("safelight.runtime.devices.xpu.host_memory", lambda: MemoryInfo(24 * GB, 20 * GB))
    assert device.memory() == MemoryInfo(16 * GB, 13 * GB)
    monkeypatch.setattr("safelight.runtime.devices.xpu.host_memory", lambda: MemoryInfo(24 * GB, 2 * GB))
    assert device.memory() == MemoryInfo(16 * GB, 3 * GB)


def test_directml_tells_nothing_of_its_memory(fake: Callable[[str], tuple[Device, FakeModule]]) -> None:
    device, _ = fake("directml")
    memory = device.memory()
    assert 0 < memory.free <= memory.total
    assert (device.allocated_bytes(), device.peak_bytes(), device.reset_peak()) == (0, 0, False)
    assert "set memory_budget" in device.details


@pytest.mark.parametrize(
    ("capability", "name", "halves"),
    [
        ((9, 0), "NVIDIA H200", {"bf16", "fp16"}),
        ((8, 6), "NVIDIA GeForce RTX 3060", {"bf16", "fp16"}),
        ((7, 5), "NVIDIA GeForce RTX 2080", {"fp16"}),
        ((7, 5), "NVIDIA GeForce GTX 1660 Ti", set()),
        ((6, 1), "NVIDIA GeForce GTX 1080", {"fp16"}),
    ],
)
def test_what_an_nvidia_gpu_computes(
    capability: tuple[int, int], name: str, halves: set[str], monkeypatch: Patch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    device = CudaDevice(torch.device("cuda"))
    assert device.halves == halves
    assert f"compute capability {capability[0]}.{capability[1]}" in device.details


def test_what_other_accelerators_compute(
    fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    assert fake("rocm")[0].halves == fake("xpu")[0].halves == {"bf16", "fp16"}
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: False)
    assert fake("directml")[0].halves == XpuDevice(torch.device("xpu")).halves == {"fp16"}
    monkeypatch.setattr(MpsDevice, "holds", lambda _, name: name == "fp16")  # before macOS 14
    assert fake("mps")[0].halves == {"fp16"}


def test_there_are_no_tensors_on_what_is_not_here() -> None:
    assert not XpuDevice(torch.device("xpu")).holds("bf16")
    assert CpuDevice(torch.device("cpu")).holds("bf16")
    assert not CpuDevice(torch.device("cpu")).holds("fp8")


def test_fp32_on_a_gpu_is_fp32() -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        CudaDevice(torch.device("cuda")).prepare()
        assert not products.allow_tf32
        assert not convolutions.allow_tf32  # as torch.export asks, too
        assert "tf32" not in (convolutions.conv.fp32_precision, products.fp32_precision)
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps", "directml"])
def test_random_numbers_go_on_as_before(
    kind: str, fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    device, module = fake(kind)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices, device_type: nullcontext())
    with device.seeded(0):
        seeded = list(module.called)
    assert ("manual_seed" in seeded) == (kind != "directml")
    if kind == "mps":
        assert module.called == ["get_rng_state", "manual_seed", "set_rng_state"]
    elif kind != "directml":
        assert seeded == [f"on {device.torch_device}", "manual_seed"]


def test_the_random_numbers_of_the_cpu_go_on_as_before() -> None:
    device = CpuDevice(torch.device("cpu"))
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    with device.seeded(0):
        inside = torch.rand(1)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    assert torch.equal(inside, torch.rand(1, generator=torch.Generator().manual_seed(0)))


def test_copies_run_on_a_stream_of_their_own(
    fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    device, module = fake("xpu")
    waited: list[Any] = []
    computing = SimpleNamespace(wait_stream=waited.append)
    module_any: Any = module
    module_any.Stream = lambda on: f"stream on {on}"
    module_any.stream = nullcontext
    module_any.current_stream = lambda _: computing
    stream: Any = device.new_stream()
    assert stream == "stream on xpu:1"
    copied: Any = SimpleNamespace(record_stream=waited.append)
    with device.on_stream(stream) as entered:
        assert entered == stream
    device.wait_for(stream, [copied])
    assert waited == [stream, computing]
    monkeypatch.setattr(FakeModule, "is_available", lambda _: False)
    assert device.new_stream() is None


@pytest.mark.parametrize("kind", ["cpu", "mps", "directml"])
def test_others_copy_in_turn(kind: str) -> None:
    found: Any = DEVICES[kind].load()
    assert not found.has_streams
    device = found(torch.device("cpu"))
    assert device.new_stream() is None
    with device.on_stream(None):
        pass


# The CPU


def test_the_cpu_is_the_host(tmp_path: Any, monkeypatch: Patch) -> None:
    device = find_device("cpu")
    assert isinstance(device, CpuDevice)
    assert device.fp32_by_default
    found = device.usable_memory(0)
    assert found.usable == found.host <= 0.8 * found.total
    assert device.usable_memory(10).usable == 10
    assert device.weights_budget(0) == int(0.8 * found.total) == pool.host_budget(0)
    assert device.halves == {"bf16", "fp16"}
    for number in range(2):
        (tmp_path / f"node{number}").mkdir()
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.setattr(cpu, "NODES", tmp_path)
    monkeypatch.setattr(cpu, "HUGE_PAGES", tmp_path / "enabled")
    assert "2 memory nodes, huge pages madvise" in device.details
    monkeypatch.setattr(cpu, "NODES", tmp_path / "missing")
    monkeypatch.setattr(cpu, "HUGE_PAGES", tmp_path / "missing")
    assert "1 memory node, huge pages unknown" in device.details
    assert 1 <= cpu.physical_cores() <= cpu.usable_cores()


# Lookup


def test_the_devices_of_this_machine() -> None:
    assert str(present_devices()[0].torch_device) == "cpu"
    assert find_device("auto").torch_device == (
        torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    )


@pytest.mark.parametrize("name", ["xpu", "cuda:99", "rocm", "directml", "mps", "cuda:x"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(BackendError, match=f"The device '{name}' cannot be used: ") as caught:
        find_device(name)
    assert caught.value.hint.startswith("This machine has cpu")
    assert len(caught.value.message) < 200


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BackendError, match="There is no device 'cudo'") as caught:
        find_device("cudo:0")
    assert "Did you mean cuda?" in caught.value.hint
    with pytest.raises(BackendError, match="torch's hpu"):
        device_of(torch.device("hpu"))


def test_a_broken_device_is_found_at_once(monkeypatch: Patch) -> None:
    def fail(_: CpuDevice) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors …")

    monkeypatch.setattr(CpuDevice, "synchronize", fail)
    with pytest.raises(BackendError, match="'cpu' cannot be used: CUDA error: unspecified launch failure"):
        find_device("cpu")


def test_cached_memory_goes_back_to_the_driver_of_the_accelerator(
    fake: Callable[[str], tuple[Device, FakeModule]], monkeypatch: Patch
) -> None:
    _, module = fake("xpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    release_cached_memory()
    assert not module.called
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("xpu"))
    pool.release_freed_memory()
    assert module.called == ["empty_cache"]


class MetaDevice(CpuDevice):
    """Computes only shapes, on torch's meta device."""

    @classmethod
    def named(cls, number: str) -> MetaDevice:  # type: ignore[override]
        return cls(torch.device("meta"))


class Plugin:
    """A plug-in with one kind of devices."""

    @hookimpl
    def register_devices(self, registry: Registry[DeviceKind]) -> None:
        registry.register("shapes", DeviceKind("shapes", "Shapes", f"{__name__}:MetaDevice", "meta"))


def test_a_plugin_adds_a_kind() -> None:
    with PLUGINS.registered(Plugin(), "shapes"):
        assert find_device("shapes").torch_device == torch.device("meta")
        assert isinstance(device_of(torch.device("meta")), MetaDevice)
    with pytest.raises(BackendError):
        find_device("shapes")
