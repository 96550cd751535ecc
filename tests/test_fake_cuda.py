"""The CUDA device of the tests raises where a real one does, and computes the same as the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.fake_cuda import GB, FakeCuda, UnknownValueError, fake_cuda
from torch import nn

from safelight.generation.noise import slerp
from safelight.runtime.devices import find_device
from safelight.runtime.memory_plan.counter import FakeNetwork

Call = Callable[[], Any]


def on_cuda(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, device="cuda")


def test_what_is_computed_on_it_is_what_the_cpu_computes(cuda: FakeCuda) -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(1, 4, 8, 8, generator=generator)
    layer = nn.Conv2d(4, 4, 3)
    with torch.no_grad():
        expected = layer(data)
        moved = layer.to("cuda")(data.to("cuda"))
    assert moved.device == torch.device("cuda", 0)
    assert torch.equal(moved.cpu(), expected)
    heads = torch.randn(1, 2, 5, 8, generator=generator)
    attend = nn.functional.scaled_dot_product_attention
    assert torch.equal(attend(*[heads.to("cuda")] * 3).cpu(), attend(heads, heads, heads))
    positions = (heads.to("cuda") > 1).nonzero()  # its shape depends on values
    assert torch.equal(positions.cpu(), (heads > 1).nonzero())
    target = torch.zeros(3)
    target[1:] = on_cuda(2)
    assert target.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "mixed",
    [
        pytest.param(lambda: on_cuda(2) + torch.ones(2), id="sum"),
        pytest.param(lambda: on_cuda(2, 2) @ torch.ones(2, 2), id="product"),
        pytest.param(lambda: torch.cat([on_cuda(2), torch.ones(2)]), id="cat"),
        pytest.param(lambda: nn.Linear(2, 2)(on_cuda(2, 2)), id="layer"),
        pytest.param(lambda: nn.Embedding(2, 2).to("cuda")(torch.tensor([1])), id="embedding"),
        pytest.param(
            lambda: nn.functional.scaled_dot_product_attention(
                on_cuda(1, 1, 2, 2), torch.ones(1, 1, 2, 2), on_cuda(1, 1, 2, 2)
            ),
            id="attention",
        ),
        pytest.param(lambda: on_cuda(2).numpy(), id="numpy"),
        pytest.param(lambda: torch.randn(2, device="cuda", generator=torch.Generator()), id="generator"),
        pytest.param(lambda: torch.equal(on_cuda(2), torch.ones(2)), id="equal"),
    ],
)
def test_tensors_on_several_devices_raise(mixed: Call, cuda: FakeCuda) -> None:
    with pytest.raises((RuntimeError, TypeError)), torch.no_grad():
        mixed()


@pytest.mark.parametrize("known", [True, False], ids=["values", "sizes"])
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(lambda: nn.Linear(4, 4), id="linear"),
        pytest.param(lambda: nn.Conv2d(4, 4, 1), id="convolution"),
        pytest.param(lambda: nn.GroupNorm(2, 4), id="group normalization"),
        pytest.param(lambda: nn.LayerNorm(4), id="layer normalization"),
    ],
)
def test_several_types_raise(layer: Callable[[], nn.Module], known: bool, cuda: FakeCuda) -> None:
    """Normalization takes two types on CPUs."""
    data = on_cuda(1, 4, 4, 4, dtype=torch.bfloat16) if known else cuda.empty((1, 4, 4, 4), torch.bfloat16)
    with pytest.raises(RuntimeError, match="type"), torch.no_grad():
        layer().to("cuda")(data)


def test_a_number_is_taken_from_either_device(cuda: FakeCuda) -> None:
    assert (on_cuda(2) * torch.tensor(3.0)).tolist() == [3, 3]


def test_sizes_have_no_values(cuda: FakeCuda) -> None:
    with torch.device("meta"):
        layer = nn.Linear(10**5, 10**5)
    result = cuda.sizes_of(layer, torch.bfloat16)(on_cuda(2, 10**5, dtype=torch.bfloat16))
    assert (result.shape, result.dtype) == ((2, 10**5), torch.bfloat16)
    assert cuda.allocated > 20 * GB
    assert bool(result.isfinite().all())
    assert result.cpu().tolist()[0][:2] == [1, 1]
    with pytest.raises(UnknownValueError):
        float(result[0, 0])
    changed = on_cuda(2, 10**5, dtype=torch.bfloat16)
    view = changed[0]
    changed += result
    with pytest.raises(UnknownValueError):
        float(view[0])


def test_its_memory_is_counted_and_ends() -> None:
    with fake_cuda(total=8000) as cuda:
        device = find_device("auto")
        assert (device.torch_device.type, device.memory().free) == ("cuda", 8000)
        half = on_cuda(10, 100)
        assert torch.cuda.mem_get_info() == (4000, 8000)
        view = half[1:]
        with pytest.raises(torch.OutOfMemoryError):
            half.double()
        assert cuda.allocated == 4000
        cuda.foreign = 3000
        assert device.memory().free == 1000
        del half, view
        assert (cuda.allocated, cuda.peak) == (0, 4000)


def test_waiting_for_it_is_counted_by_the_line_of_our_code(cuda: FakeCuda) -> None:
    slerp(on_cuda(4), on_cuda(4), 0.5)
    assert list(cuda.syncs.items()) == [("generation/noise.py:slerp: if float(angle.sin()) < 1e-4:", 1)]


def test_other_threads_use_it_too(cuda: FakeCuda) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append((on_cuda(2) + 1).tolist()))
    thread.start()
    thread.join()
    assert found == [[2, 2]]


def test_what_is_counted_without_computing_is_not_touched(cuda: FakeCuda) -> None:
    network = FakeNetwork(nn.Linear(4, 4), torch.device("cpu"), torch.float32)
    assert network.call("__call__", torch.ones(2, 4)).device.type == "cpu"
    assert network.peak


def test_it_is_gone_afterwards() -> None:
    with fake_cuda():
        pass
    assert find_device("auto").torch_device.type == "cpu"
    assert not torch.cuda.is_available()
