"""Give back the pages of mapped weights files as soon as their tensors have been copied.

Else, while a network is converted weight by weight, its file becomes resident beside the copies. The kernel takes such
pages when it needs them, but until then they count as memory of the process.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from torch.nn import Parameter

SUFFIXES = (".safetensors", ".sft", ".gguf")
_MAPS = Path("/proc/self/maps")
_DELETED = " (deleted)"
"""What Linux appends to the path of a mapped file that was deleted or replaced."""


class MappedPages:
    """The pages of the weights files that are mapped now (Linux; elsewhere nothing is given back)."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._libc = None
        if not _MAPS.exists() or not hasattr(mmap, "MADV_DONTNEED"):
            return
        self._libc = ctypes.CDLL(None, use_errno=True)
        for line in _MAPS.read_text(errors="replace").splitlines():
            # address, permissions, offset, device, inode, path
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].removesuffix(_DELETED).endswith(SUFFIXES):
                begin, end = (int(address, 16) for address in fields[0].split("-"))
                self._ranges.append((begin, end))

    def may_hold(self, tensor: Tensor) -> bool:
        """Whether a tensor on the CPU is a view of a file; true where that is not known."""
        if self._libc is None:
            return True
        begin = tensor.untyped_storage().data_ptr()
        return any(first <= begin < last for first, last in self._ranges)

    def release(self, tensor: Tensor) -> None:
        """Give back the pages of a tensor that nobody will read again soon; what is no view of a file is not touched.

        The tensor keeps its values: a page that is read again is read from the file.
        """
        is_plain = type(tensor) in (
            Tensor,
            Parameter,
        )  # others may have no memory of their own, as fake tensors
        if self._libc is None or not is_plain or tensor.device.type != "cpu" or not tensor.is_contiguous():
            return
        begin, page = tensor.data_ptr(), mmap.PAGESIZE
        end = begin + tensor.nbytes
        if any(first <= begin and end <= last for first, last in self._ranges):
            begin, end = -(-begin // page) * page, end // page * page  # neighbours share the outer pages
            if begin < end:
                self._libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def release_file(path: Path) -> None:
    """Give back the pages of a file that is mapped, and that nobody will read again soon (Linux; else nothing)."""
    for begin, end, _ in _mappings(path):
        _give_back(begin, end)


def release_appended(path: Path) -> None:
    """As ``release_file``, for weights that are appended to a shared library: the mapping that begins last in the file.

    The others are the library itself, whose written pages would be lost.
    """
    mappings = sorted(_mappings(path), key=lambda mapping: mapping[2])
    if len(mappings) > 1:
        _give_back(*mappings[-1][:2])


def _mappings(path: Path) -> Iterator[tuple[int, int, int]]:
    """The mappings of a file into this process: first and last address, and the offset in the file."""
    if not _MAPS.exists() or not hasattr(mmap, "MADV_DONTNEED"):
        return
    for line in _MAPS.read_text(errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == str(path.resolve()):
            begin, end = (int(address, 16) for address in fields[0].split("-"))
            yield begin, end, int(fields[2], 16)


def _give_back(begin: int, end: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
