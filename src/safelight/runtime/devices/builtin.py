"""The built-in kinds of devices."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.runtime.devices import CPU, DeviceKind


@hookimpl
def register_devices(registry: Registry[DeviceKind]) -> None:
    """Register the CPU and the accelerators that torch computes on."""
    for kind in (
        _kind(CPU, "CPU", "cpu:CpuDevice", fused_attention=True),
        _kind("cuda", "NVIDIA GPU", "cuda:CudaDevice", fused_attention=True),
        _kind("rocm", "AMD GPU", "cuda:RocmDevice", "cuda", fused_attention=True),
        _kind("xpu", "Intel GPU", "xpu:XpuDevice", fused_attention=True),
        _kind("mps", "Apple GPU", "mps:MpsDevice"),
        _kind("directml", "DirectX 12 GPU", "directml:DirectMLDevice", "privateuseone"),
    ):
        registry.register(kind.name, kind)


def _kind(
    name: str, title: str, implementation: str, torch_type: str = "", *, fused_attention: bool = False
) -> DeviceKind:
    module = f"safelight.runtime.devices.{implementation}"
    return DeviceKind(name, title, module, torch_type or name, fused_attention)
