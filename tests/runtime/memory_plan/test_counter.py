"""The counter against what a process really takes, and against wrong devices; offload of blocks at real sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from safelight.runtime.memory_plan.blocks import BlockOffload, find_blocks, largest_block, module_bytes
from safelight.runtime.memory_plan.counter import FakeNetwork

VAE = {
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "latent_channels": 4,
}
SIDE = 320

_MEASURE = f"""
import ctypes, gc, json, torch
from diffusers import AutoencoderKL
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
def decode(vae, side):
    vae.decode(torch.randn(1, 4, side // 2, side // 2, dtype=vae.dtype))
found = {{}}
with torch.no_grad():
    for name in ("float32", "bfloat16"):
        vae = AutoencoderKL.from_config({VAE!r}).to(getattr(torch, name)).eval()
        decode(vae, 32)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        open("/proc/self/clear_refs", "w").write("5")  # the peak from now on
        before = status("VmRSS")
        decode(vae, {SIDE})
        found[name] = status("VmHWM") - before
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_counts_what_a_process_takes() -> None:
    """Within 15 %; glibc gives back what is freed at once, so that its own habits are not measured."""
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", _MEASURE], env=env, check=True, capture_output=True)
    measured = json.loads(done.stdout)
    for name, nbytes in measured.items():
        dtype = getattr(torch, name)
        network = FakeNetwork(AutoencoderKL.from_config(VAE), torch.device("cpu"), dtype, workspace=True)
        network.call("decode", torch.zeros(1, 4, SIDE // 2, SIDE // 2, dtype=dtype))
        assert network.peak == pytest.approx(nbytes, rel=0.15), name


class Attention(nn.Module):
    """Attention alone."""

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(query, query, query)


def test_attention_has_a_matrix_of_scores_only_without_a_fused_kernel() -> None:
    query = torch.zeros(2, 8, 4096, 64)
    peaks = {}
    for attention in ("fused", "sliced", "matrix"):
        network = FakeNetwork(Attention(), torch.device("cuda"), torch.float32, attention)
        assert network.call("__call__", query).shape == query.shape
        peaks[attention] = network.peak
    assert peaks["fused"] == query.nbytes
    assert peaks["matrix"] == query.nbytes + 2 * (2 * 8 * 4096 * 4096 * 4)
    assert query.nbytes < peaks["sliced"] < 0.3 * peaks["matrix"]


class Stack(nn.Module):
    """A network of equal blocks between two layers."""

    def __init__(self, width: int = 2048, count: int = 8) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 64)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(count))

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        data = self.first(data)
        for block in self.blocks:
            data = block(data)
        return self.last(data)


def test_a_tensor_on_the_wrong_device_raises() -> None:
    network = FakeNetwork(Stack(), torch.device("cpu"), torch.float16)
    network.device = torch.device("cuda")  # where its inputs are put
    with pytest.raises(RuntimeError, match=r"[Dd]evice"):
        network.call("__call__", torch.zeros(1, 64, dtype=torch.float16))


def test_offloaded_blocks_are_on_the_device_only_while_they_compute() -> None:
    stack = Stack()
    weights, block = module_bytes(stack) // 2, largest_block(stack) // 2
    network = FakeNetwork(stack, torch.device("cpu"), torch.float16)
    network.device = torch.device("cuda")
    with network.mode:
        BlockOffload(stack, network.device)
    network.call("__call__", torch.zeros(1, 64, dtype=torch.float16))
    assert block <= network.peak < 2.2 * block < weights
    assert {parameter.device.type for parameter in stack.blocks.parameters()} == {"cpu"}
    assert stack.first.weight.device.type == "cuda"


def test_offloading_changes_no_bit() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stack, data = Stack(64).eval(), torch.randn(2, 64)
    with torch.no_grad():
        expected = stack(data)
        BlockOffload(stack, torch.device("cpu"))
        assert torch.equal(stack(data), expected)


def test_large_blocks_are_divided_and_what_is_left_stays_outside() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList(nn.Linear(64, 64) for _ in range(10))
            self.norm = nn.LayerNorm(64)

    nested = nn.Module()
    nested.outer = nn.ModuleList([Outer(), Outer()])
    assert len(find_blocks(nested)) == 20
    assert len(find_blocks(Stack(64, 3))) == 3
