"""Take from a process what reading a file does not need: network, other programs, and unlimited memory.

The kernel's part is a seccomp filter (https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html),
installed without privileges and for all threads of the process; it cannot be removed again.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_TSYNC = 1, 1
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # REFUSE: the call fails with EPERM
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32_CALLS = 0x40000000
"""Numbers from here on are x86-64's calls with 32-bit pointers, which the list below does not name."""

_CALLS = {
    # audit architecture, number of seccomp(2), then: socket, connect, execve, execveat, ptrace, io_uring_setup,
    # process_vm_writev, pidfd_getfd
    "x86_64": (0xC000003E, 317, (41, 42, 59, 322, 101, 425, 311, 438)),
    "aarch64": (0xC00000B7, 277, (198, 203, 221, 281, 117, 425, 271, 438)),
}


def forbid_network_and_programs() -> bool:
    """Forbid this process to open sockets, to start programs, and to look into other processes, for good.

    Returns:
        Whether it is forbidden now: the kernel must be Linux on x86-64 or ARM64, with seccomp.
    """
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return False
    architecture, number, forbidden = _CALLS[platform.machine()]
    program = _filter_program(architecture, forbidden)
    buffer = ctypes.create_string_buffer(program, len(program))
    arguments = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return int(libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _FILTER_FLAG_TSYNC, arguments)) == 0


def _filter_program(architecture: int, forbidden: tuple[int, ...]) -> bytes:
    """The filter in BPF: each instruction is a code, the distances of its two jumps, and an operand."""
    checks = len(forbidden)
    instructions = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_EQUAL, 0, checks + 4, architecture),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_JUMP_AT_LEAST, checks + 1, 0, _X32_CALLS),
        *((_JUMP_EQUAL, checks - index, 0, call) for index, call in enumerate(forbidden)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _KILL),
    ]
    return b"".join(struct.pack("HBBI", *each) for each in instructions)


def limit_resources(further_memory: int, output: int, seconds: int) -> bool:
    """Limit what this process may take from now on.

    Args:
        further_memory: Bytes of address space beyond what it has now.
        output: The largest file that it may write, in bytes.
        seconds: Processor time in seconds.

    Returns:
        Whether the limits hold: the system must be Linux.
    """
    if sys.platform != "linux":
        return False
    import resource

    present = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for kind, limit in (
        (resource.RLIMIT_AS, present + further_memory),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        highest = resource.getrlimit(kind)[1]
        wanted = limit if highest == resource.RLIM_INFINITY else min(limit, highest)
        resource.setrlimit(kind, (wanted, wanted))
    return True
