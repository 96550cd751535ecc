"""GPUs that torch calls cuda: NVIDIA's, and with a build for ROCm AMD's."""

from __future__ import annotations

from typing import ClassVar

import torch

from safelight.runtime.devices.device import HALVES, TorchAccelerator

_WRONG_IN_FP16 = ("GTX 16", "MX550", "MX450", "T500", "T550", "T600", "T1000", "T1200", "T2000", "CMP 30HX")
"""NVIDIA's Turing GPUs without tensor cores, by their names: their fp16 gives NaN for usual networks, so that other
programs compute in fp32 on them as well."""
_AMPERE = (8, 0)
"""The first compute capability with bf16 and TF32."""


class CudaDevice(TorchAccelerator):
    """A GPU of NVIDIA."""

    torch_type: ClassVar[str] = "cuda"

    @classmethod
    def is_built(cls) -> bool:
        """See ``Device``; a build without CUDA counts too, for plans."""
        return torch.version.hip is None

    @property
    def capability(self) -> tuple[int, int]:
        """Its compute capability."""
        major, minor = torch.cuda.get_device_capability(self.torch_device)
        return major, minor

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``."""
        found = {"bf16"} if self.capability >= _AMPERE else set()
        if not any(name in torch.cuda.get_device_name(self.torch_device) for name in _WRONG_IN_FP16):
            found.add("fp16")
        return frozenset(found)

    @property
    def details(self) -> str:
        """See ``Device``."""
        major, minor = self.capability
        tf32 = "fp32 without TF32" if self.capability >= _AMPERE else "no TF32"
        return f"CUDA {torch.version.cuda}, compute capability {major}.{minor}, {tf32}"

    def prepare(self) -> None:
        """Compute fp32 as fp32: TF32, with ten bits after the point, would be used in convolutions.

        fp32 is what exact pictures are generated in, and what networks run in that compute wrong in less. By torch's
        older names: ``torch.export`` reads them, an error once only some operations were set by the newer ones.
        """
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


class RocmDevice(CudaDevice):
    """A GPU of AMD; torch's names for it are those of CUDA."""

    @classmethod
    def is_built(cls) -> bool:
        """See ``Device``."""
        return torch.version.hip is not None

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``."""
        return frozenset(HALVES)

    @property
    def details(self) -> str:
        """See ``Device``."""
        architecture = torch.cuda.get_device_properties(self.torch_device).gcnArchName.partition(":")[0]
        return f"ROCm {torch.version.hip}, {architecture}"
