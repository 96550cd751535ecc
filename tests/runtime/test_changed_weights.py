from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from safelight.runtime.changed_weights import KEPT_FORM, Keep, WeightPatch, keep_nothing
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.memory_plan.blocks import BlockOffload
from safelight.runtime.quantization.quantize import quantize_weight

KEY = ComponentKey("a" * 64, "fp32")


@dataclass
class Added:
    """A change that adds a row of numbers, and counts how often it was computed."""

    amount: float
    count: int = 0

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        self.count += 1
        return torch.linspace(-1, 1, weight.numel()).view(weight.shape) * (self.amount * strength)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(self.attention(x, x, x)[0] + self.table))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.blocks = nn.ModuleList([Block(), Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x * self.scale


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network().requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))


def keep_all(kept: list[ComponentSource]) -> Keep:
    def keep(source: ComponentSource) -> Component:
        kept.append(source)
        return source.load()

    return keep


def merged(network: Network, x: Tensor, patch: WeightPatch) -> Tensor:
    """The result with the deltas added by hand."""
    originals = {path: network.get_parameter(path).data for path in patch.deltas}
    for path, original in originals.items():
        added = sum(each.delta(original, strength) for each, strength in patch.deltas[path])
        network.get_parameter(path).data = original + added
    result: Tensor = network(x)
    for path, original in originals.items():
        network.get_parameter(path).data = original
    return result


PATHS = (
    "scale",
    "blocks.0.table",
    "blocks.1.attention.in_proj_weight",
    "blocks.1.attention.out_proj.weight",
    "blocks.2.linear.weight",
    "blocks.2.linear.bias",
    "blocks.0.norm.weight",
)


def patch_of(keep: Keep, paths: tuple[str, ...] = PATHS, amount: float = 0.5) -> WeightPatch:
    return WeightPatch(
        "p", {path: [(Added(amount), 0.5), (Added(-2 * amount), 1.0)] for path in paths}, KEY, keep
    )


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_every_kind_of_parameter_is_changed(keeps: bool, path: str, network: Network, x: Tensor) -> None:
    patch = patch_of(keep_all([]) if keeps else keep_nothing, (path,))
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    plain = network(x)
    with patch.apply(network):
        changed = network(x)
    assert not torch.allclose(changed, plain)
    assert torch.allclose(changed, merged(network, x, patch), atol=1e-6)
    assert all(torch.equal(parameter, before[name]) for name, parameter in network.named_parameters())


def test_kept_and_changed_weights_give_the_same_numbers(network: Network, x: Tensor) -> None:
    kept: list[ComponentSource] = []
    results = []
    for keep in (keep_all(kept), keep_nothing):
        with patch_of(keep).apply(network):
            results.append(network(x))
    assert torch.equal(*results)
    (source,) = kept
    assert (source.key.form, source.key.patches, source.key.digest) == (KEPT_FORM, ("p",), KEY.digest)
    assert source.nbytes == sum(network.get_parameter(path).nbytes for path in PATHS)


def test_kept_weights_are_computed_once(network: Network, x: Tensor) -> None:
    change = Added(1.0)
    patch = WeightPatch("p", {"scale": [(change, 1.0)]}, KEY, keep_all([]))
    patch.prepare(network)
    for _ in range(3):
        with patch.apply(network):
            network(x)
    assert change.count == 1


@pytest.mark.parametrize("keeps", [True, False])
def test_an_error_leaves_the_weights_as_they_were(keeps: bool, network: Network, x: Tensor) -> None:
    plain = network(x)
    with suppress(AssertionError), patch_of(keep_all([]) if keeps else keep_nothing).apply(network):
        network(x[..., :7])
    assert torch.equal(network(x), plain)


def test_without_room_the_weights_are_not_kept(network: Network, x: Tensor) -> None:
    with patch_of(lambda _: None).apply(network):
        changed = network(x)
    with patch_of(keep_nothing).apply(network):
        assert torch.equal(changed, network(x))


def test_offloaded_blocks_are_changed_as_they_compute(network: Network, x: Tensor) -> None:
    with patch_of(keep_nothing).apply(network):
        expected = network(x)
    BlockOffload(network, torch.device("cpu"), mapped=True)
    kept: list[ComponentSource] = []
    patch = WeightPatch(
        "p", patch_of(keep_nothing).deltas, ComponentKey("a" * 64, "fp32", form="disk"), keep_all(kept)
    )
    with patch.apply(network):
        assert torch.equal(network(x), expected)
    assert kept == []


def test_packed_weights_stay_packed(network: Network, x: Tensor) -> None:
    layer = network.blocks[2].linear
    layer._parameters["weight"] = nn.Parameter(
        quantize_weight(layer.weight.data, "int8"), requires_grad=False
    )
    kept: list[ComponentSource] = []
    weight = network.get_parameter("blocks.2.linear.weight")
    plain = network(x)
    patch = patch_of(keep_all(kept), ("blocks.2.linear.weight",))
    with patch.apply(network):
        changed = network(x)
    assert patch.unpacked
    assert not torch.allclose(changed, plain)
    assert network.get_parameter("blocks.2.linear.weight") is weight
    assert kept == []
    assert torch.equal(network(x), plain)
