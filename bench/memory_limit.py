"""Generate a picture with random weights of a family's published size in a process with a hard limit on its memory.

The weights are written once, as a diffusers folder. The limit is that of a control group of its own (Linux, as root):
beyond it, the kernel ends the process. Files that are mapped count only as far as nothing else needs their memory.

    python bench/memory_limit.py sd1 --size 512 --limit 3.5GB --folder /var/tmp/weights
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch


def write_checkpoint(family: str, folder: Path) -> None:
    """Write a checkpoint of the published size with random weights in bf16."""
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
        published[name].save_pretrained(folder / name)


def random_weights(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape: small random numbers in bf16, or zeros where it has whole numbers."""
    if not tensor.is_floating_point():
        return torch.arange(tensor.numel()).view(tensor.shape)  # positions
    return (torch.randn(tensor.shape) * 0.02).to(torch.bfloat16)


def enter_control_group(limit: int) -> None:
    """Move this process into a control group with a limit on its memory, in bytes."""
    old = Path("/sys/fs/cgroup/memory")
    root, name = (old, "memory.limit_in_bytes") if old.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    group = root / f"safelight-bench-{os.getpid()}"
    group.mkdir()
    (group / name).write_text(str(limit))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def generate(folder: Path, limit: int, side: int, steps: int, settings: dict[str, str]) -> dict[str, object]:
    """Generate one picture within a limit; to be called in a process of its own."""
    from safelight.generation.engine import Engine
    from safelight.generation.request import GenerationRequest
    from safelight.settings import Settings

    enter_control_group(limit)
    engine = Engine(Settings(device="cpu", home=folder.parent / "home", **settings))
    request = GenerationRequest(
        prompt="red", checkpoint=str(folder), width=side, height=side, steps=steps, seed=1
    )
    started = time.perf_counter()
    artifact = next(iter(engine.generate(request)))
    assert artifact.memory is not None
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "memory": artifact.memory.to_dict(),
        "notes": artifact.record.notes,
    }


def main() -> None:
    """Parse the arguments and run."""
    from safelight.runtime.memory_plan.device import parse_bytes

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--limit", default="3.5GB")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--child", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder / arguments.family
    if not arguments.child:
        if not (folder / "model_index.json").exists():
            write_checkpoint(arguments.family, folder)
        raise SystemExit(subprocess.call([sys.executable, __file__, *sys.argv[1:], "--child"]))
    found = generate(
        folder,
        parse_bytes(arguments.limit),
        arguments.size,
        arguments.steps,
        {"generation_precision": arguments.precision},
    )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
