"""The protocol of devices, and what is the same for all accelerators that torch has a module for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.devices.memory import ACCELERATOR_SHARE, DeviceMemory, MemoryInfo, host_memory

HALVES = ("bf16", "fp16")
"""The precisions below fp32 that a device may compute in."""


class Device(Protocol):
    """A device that torch computes on. Making one touches no hardware, so a device need not be in this machine.

    Attributes:
        torch_device: It, as torch names it.
        fp32_by_default: Whether networks run in fp32 where the settings leave it open, whatever their family prefers.
        shares_host_memory: Whether its memory is the host's.
        has_streams: Whether copies run beside computations, and the host does not wait for either.
    """

    torch_device: torch.device
    fp32_by_default: ClassVar[bool]
    shares_host_memory: ClassVar[bool]
    has_streams: ClassVar[bool]

    def __init__(self, torch_device: torch.device) -> None: ...

    @classmethod
    def named(cls, number: str) -> Self:
        """The device with a number, empty for the first one.

        Raises:
            RuntimeError, AssertionError, ValueError: There is none.
        """

    @classmethod
    def is_built(cls) -> bool:
        """Whether this build of torch computes on such devices, if there are any."""

    @classmethod
    def present(cls) -> list[torch.device]:
        """Those of this machine."""

    @property
    def title(self) -> str:
        """Its product name."""

    @property
    def details(self) -> str:
        """What it has and how it is used, for people."""

    @property
    def halves(self) -> frozenset[str]:
        """The precisions below fp32 that it computes natively and right."""

    def holds(self, precision: str) -> bool:
        """Whether there can be tensors of a precision on it."""

    def memory(self) -> MemoryInfo:
        """Its memory, and what of it this process can still take."""

    def usable_memory(self, budget: int, own: int = 0) -> DeviceMemory:
        """What of its memory networks and a picture may take now.

        Args:
            budget: The setting memory_budget: bytes, or 0 for most of the memory.
            own: Bytes that networks of this process take on it already, which may be evicted.
        """

    def weights_budget(self, setting: int) -> int:
        """Bytes that networks and pictures may take: the setting memory_budget, or if it is 0 most of the memory."""

    def allocated_bytes(self) -> int:
        """Bytes that this process has allocated on it."""

    def peak_bytes(self) -> int:
        """The most bytes that it had allocated since ``reset_peak``."""

    def reset_peak(self) -> bool:
        """Count the peak from now on; returns whether that can be measured."""

    def empty_cache(self) -> None:
        """Give back what torch keeps of freed memory."""

    def synchronize(self) -> None:
        """Wait until everything is computed.

        Raises:
            RuntimeError: Something that was computed failed.
        """

    def prepare(self) -> None:
        """Choose the process's arithmetic on it; called before the first network is computed."""

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Its own random numbers begin with a seed within the block, and go on as before afterwards."""

    def new_stream(self) -> torch.Stream | None:
        """A stream for copies beside the computations; None without streams, or without the device."""

    def on_stream(self, stream: torch.Stream | None) -> AbstractContextManager[Any]:
        """Within the block, what is queued goes to a stream; None changes nothing."""

    def wait_for(self, stream: torch.Stream, copies: Iterable[Tensor]) -> None:
        """Let the computations that are queued next wait for a stream, which has made the tensors that they use."""


class TorchAccelerator:
    """What torch's modules for accelerators, such as ``torch.cuda`` and ``torch.xpu``, have in common.

    Subclasses say what differs. Where the calling thread has several of them, each call names its device.
    """

    torch_type: ClassVar[str]
    fp32_by_default: ClassVar[bool] = False
    shares_host_memory: ClassVar[bool] = False
    has_streams: ClassVar[bool] = True

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    @classmethod
    def named(cls, number: str) -> Self:
        """See ``Device``."""
        return cls(torch.device(f"{cls.torch_type}:{number}" if number else cls.torch_type))

    @classmethod
    def is_built(cls) -> bool:
        """See ``Device``."""
        return True

    @classmethod
    def present(cls) -> list[torch.device]:
        """See ``Device``."""
        module = torch.get_device_module(cls.torch_type)
        count = module.device_count() if module.is_available() else 0
        return [torch.device(cls.torch_type, number) for number in range(count)]

    @property
    def module(self) -> Any:
        """Torch's module for it."""
        return torch.get_device_module(self.torch_device)

    @property
    def title(self) -> str:
        """See ``Device``."""
        return str(self.module.get_device_name(self.torch_device))

    @property
    def halves(self) -> frozenset[str]:
        """See ``Device``; those in which there are tensors, where torch cannot tell more."""
        return frozenset(filter(self.holds, HALVES))

    def holds(self, precision: str) -> bool:
        """See ``Device``."""
        try:
            torch.ones(1, dtype=DTYPES[precision], device=self.torch_device)
        except (RuntimeError, TypeError, AssertionError, KeyError):
            return False
        return True

    def memory(self) -> MemoryInfo:
        """See ``Device``: what the driver says, and what torch keeps there without using it."""
        free, total = self.module.mem_get_info(self.torch_device)
        return MemoryInfo(total, free + self._cached_bytes())

    def _cached_bytes(self) -> int:
        reserved = self.module.memory_reserved(self.torch_device)
        return int(reserved - self.module.memory_allocated(self.torch_device))

    def usable_memory(self, budget: int, own: int = 0) -> DeviceMemory:
        """See ``Device``."""
        memory, host = self.memory(), host_memory()
        usable = int(min(ACCELERATOR_SHARE * memory.total, memory.free + own))
        on_host = host.usable(own if self.shares_host_memory else 0)
        return DeviceMemory(
            self.torch_device.type, memory.total, min(budget, usable) if budget else usable, on_host
        )

    def weights_budget(self, setting: int) -> int:
        """See ``Device``."""
        return setting or int(ACCELERATOR_SHARE * self.memory().total)

    def allocated_bytes(self) -> int:
        """See ``Device``."""
        return int(self.module.memory_allocated(self.torch_device))

    def peak_bytes(self) -> int:
        """See ``Device``."""
        return int(self.module.max_memory_allocated(self.torch_device))

    def reset_peak(self) -> bool:
        """See ``Device``."""
        self.module.reset_peak_memory_stats(self.torch_device)
        return True

    def empty_cache(self) -> None:
        """See ``Device``."""
        if self.module.is_initialized():
            self.module.empty_cache()

    def synchronize(self) -> None:
        """See ``Device``."""
        self.module.synchronize(self.torch_device)

    def prepare(self) -> None:
        """See ``Device``: nothing."""

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """See ``Device``."""
        kind = self.torch_device.type
        with (
            torch.random.fork_rng([self.torch_device], device_type=kind),
            self.module.device(self.torch_device),
        ):
            self.module.manual_seed(seed)
            yield

    def new_stream(self) -> torch.Stream | None:
        """See ``Device``."""
        stream: torch.Stream | None = None
        if self.module.is_available():
            stream = self.module.Stream(self.torch_device)
        return stream

    def on_stream(self, stream: torch.Stream | None) -> AbstractContextManager[Any]:
        """See ``Device``."""
        context: AbstractContextManager[Any] = self.module.stream(stream)
        return context

    def wait_for(self, stream: torch.Stream, copies: Iterable[Tensor]) -> None:
        """See ``Device``."""
        computing = self.module.current_stream(self.torch_device)
        computing.wait_stream(stream)
        for copied in copies:
            copied.record_stream(computing)


class WithoutStreams:
    """The part of ``Device`` for those that compute and copy one after the other."""

    has_streams: ClassVar[bool] = False

    def new_stream(self) -> torch.Stream | None:
        """See ``Device``."""
        return None

    def on_stream(self, stream: torch.Stream | None) -> AbstractContextManager[Any]:  # noqa: ARG002  there are none
        """See ``Device``."""
        return nullcontext()

    def wait_for(self, stream: torch.Stream, copies: Iterable[Tensor]) -> None:
        """See ``Device``; it is never called."""
