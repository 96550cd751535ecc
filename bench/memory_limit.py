"""Generate a picture with random weights of a family's published size in a process with a hard limit on its memory.

The weights are written once, as a diffusers folder. The process runs under the limit from its first instruction, so
that its libraries count, and plans by itself what it does to keep the limit. What the limit counts depends on ``--by``:

- ``group``: a control group of its own (Linux, as root; version 1 or 2). All memory of the process counts, and the
  cache of the files that it reads, which the kernel frees when it needs the memory. Beyond it, the kernel ends the
  process. What the weights' files have in the cache is dropped before, so that it is charged to this group.
- ``data``: RLIMIT_DATA (Linux, for every user): the size of all private memory that can be written to, used or not:
  also the stacks of threads, and weights files that a library maps privately. Beyond it, allocations fail.
- ``auto``: ``group`` where it can be had, else ``data``.

    python bench/memory_limit.py sd1 --size 512 --limit 3.5GB --folder /var/tmp/weights --precision bf16
    python bench/memory_limit.py sd1 --size 512 --limit 2GB --folder /var/tmp/weights
    python bench/memory_limit.py sdxl --size 1024 --limit 6GB --folder /var/tmp/weights
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CONTROL_GROUPS = Path("/sys/fs/cgroup")
SAMPLED_EVERY = 0.005
"""Seconds between two looks at the memory of the process."""


@dataclass(frozen=True)
class Limited:
    """What came of a process under a limit.

    Args:
        status: Its exit status; negative: the signal that ended it.
        output: What it printed.
        errors: What it wrote to standard error.
        peak: The most bytes of anonymous memory, sampled: its own, without the files that it mapped.
        resident: The most bytes that were resident, with mapped files.
        group: The most bytes that its control group was charged, with cached files; None under RLIMIT_DATA.
    """

    status: int
    output: str
    errors: str
    peak: int
    resident: int
    group: int | None

    @property
    def killed(self) -> bool:
        """Whether the kernel ended it."""
        return self.status == -signal.SIGKILL


def write_checkpoint(family: str, folder: Path) -> None:
    """Write a checkpoint of the published size with random weights in bf16."""
    import torch
    from tests.tiny import build_tiny

    from safelight.models.checkpoints.empty_networks import published_networks
    from safelight.runtime.memory_plan.counter import replace_tensors

    build_tiny(family, folder)
    published = published_networks(family)
    torch.manual_seed(0)
    for name, network in list(published.items()):
        if name.startswith("text_encoder"):  # the tiny tokenizer has words of its own
            vocabulary = json.loads((folder / name / "config.json").read_text())
            size = {key: vocabulary[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}
            kind = type(network)
            published[name] = kind(kind.config_class.from_dict({**network.config.to_dict(), **size}))
        replace_tensors(published[name], random_weights)
        published.pop(name).save_pretrained(folder / name)


def random_weights(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape: small random numbers in bf16, or positions where it has whole numbers."""
    import torch

    if not tensor.is_floating_point():
        return torch.arange(tensor.numel()).view(tensor.shape)
    return (torch.randn(tensor.shape) * 0.02).to(torch.bfloat16)


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A control group whose processes are ended by the kernel beyond a limit in bytes.

    Raises:
        OSError: There are no control groups for memory here, or this user may not make any.
    """
    first_version = (CONTROL_GROUPS / "memory").is_dir()
    root = CONTROL_GROUPS / "memory" if first_version else CONTROL_GROUPS
    group = root / f"safelight-limit-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        if first_version:
            (group / "memory.limit_in_bytes").write_text(str(limit))
        else:
            (group / "memory.max").write_text(str(limit))
            with suppress(OSError):  # there is no swap
                (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        for _ in range(100):  # the kernel takes a moment to forget a process that has ended
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


def run_limited(command: list[str], limit: int, by: str = "auto", weights: Path | None = None) -> Limited:
    """Run a command under a limit on its memory from its first instruction.

    Args:
        command: The command.
        limit: The limit in bytes.
        by: group, data or auto; see the head of this file.
        weights: A folder with weights that it reads, which are dropped from the kernel's cache.

    Raises:
        OSError: ``by`` is group, and there is none.
    """
    if weights is not None:
        forget_cached(weights)
    if by == "data" or (by == "auto" and not has_control_groups()):
        return _watch(["sh", "-c", f'ulimit -d {limit // 1024}; exec "$@"', "sh", *command])
    with control_group(limit) as group:
        found = _watch(["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command])
        files = (group / name for name in ("memory.max_usage_in_bytes", "memory.peak"))
        highest = next((file for file in files if file.exists()), None)  # older kernels lack the second
        return replace(found, group=None if highest is None else int(highest.read_text()))


def has_control_groups() -> bool:
    """Whether this user can make control groups with limits on memory."""
    try:
        with control_group(10**9):
            return True
    except OSError:
        return False


def _watch(command: list[str]) -> Limited:
    """Run a command, and sample its memory meanwhile."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks = {"RssAnon": 0, "VmHWM": 0}
    ended = threading.Event()

    def sample() -> None:
        status = Path(f"/proc/{process.pid}/status")
        while not ended.wait(SAMPLED_EVERY):
            with suppress(OSError, ValueError, IndexError):
                for line in status.read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name in peaks:
                        peaks[name] = max(peaks[name], int(value.split()[0]) * 1024)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    output, errors = process.communicate()
    ended.set()
    sampler.join()
    return Limited(process.returncode, output, errors, peaks["RssAnon"], peaks["VmHWM"], None)


def forget_cached(folder: Path) -> None:
    """Drop what the kernel has of a folder's files in its cache: it would be charged to who wrote them."""
    for file in folder.rglob("*.safetensors"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def generate(
    folder: Path, side: int, steps: int, settings: dict[str, Any], saved: Path | None = None
) -> dict[str, Any]:
    """Generate one picture; to be called in a process under a limit.

    Args:
        folder: The checkpoint.
        side: Width and height of the picture.
        steps: The number of steps.
        settings: Settings beside the device and the data directory.
        saved: Where to save the picture.

    Returns:
        What was planned and measured, in bytes.
    """
    from safelight.generation.engine import Engine
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    engine = Engine(Settings(device="cpu", home=folder.parent / "home", **settings))
    before = _anonymous()
    request = GenerationRequest(
        prompt="red",
        checkpoint=str(folder) if folder.exists() else folder.name,
        width=side,
        height=side,
        steps=steps,
        seed=1,
    )
    started = time.perf_counter()
    artifact = next(iter(engine.generate(request)))
    assert artifact.memory is not None
    plan = artifact.memory.plan
    if saved is not None:
        artifact.image.save(saved)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "libraries": before,
        "usable": None if plan is None else plan.usable,
        "planned_peak": None if plan is None else plan.peak,
        **artifact.memory.to_dict(),
        "notes": list(artifact.record.notes),
    }


def _anonymous() -> int:
    """Bytes of this process's own memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def planned_and_measured(results: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the libraries, and of the stage that takes the most: as planned, and as measured.

    Networks that stay in memory after their stage, as long as there is room, are in neither.
    """
    libraries = results["libraries"]
    return libraries + results["planned_peak"], libraries + max(results["measured"].values())


def child_command(*arguments: str) -> list[str]:
    """The command of the process under the limit; the arguments are those of the command line."""
    return [sys.executable, __file__, *arguments, "--child"]


def main() -> None:
    """Parse the arguments and run."""
    from safelight.runtime.devices.memory import parse_bytes

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--limit", default="3.5GB")
    parser.add_argument("--by", choices=("auto", "group", "data"), default="auto")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--save", type=Path, help="where to save the picture, as PNG")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder / arguments.family
    if arguments.child:
        settings = {"generation_precision": arguments.precision}
        print(json.dumps(generate(folder, arguments.size, arguments.steps, settings, arguments.save)))
        return
    if not (folder / "model_index.json").exists():
        write_checkpoint(arguments.family, folder)
    found = run_limited(child_command(*sys.argv[1:]), parse_bytes(arguments.limit), arguments.by, folder)
    print(found.errors, file=sys.stderr, end="")
    print(f"status {found.status}{', killed by the kernel' if found.killed else ''}")
    print(
        f"peak: {found.peak / 1e9:.2f} GB of its own, {found.resident / 1e9:.2f} GB with mapped files", end=""
    )
    print("" if found.group is None else f", {found.group / 1e9:.2f} GB of its group with cached files")
    if found.status == 0:
        results = json.loads(found.output)
        print(json.dumps(results, indent=1))
        if results["planned_peak"] is not None:
            planned, measured = planned_and_measured(results)
            print(
                f"with the libraries, without idle networks: planned {planned / 1e9:.2f} GB, "
                f"measured {measured / 1e9:.2f} GB ({100 * (planned / measured - 1):+.0f} %)"
            )
    raise SystemExit(found.status != 0)


if __name__ == "__main__":
    main()
