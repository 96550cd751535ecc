"""Where components are, and a network that is elsewhere."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from safelight.runtime.devices.elsewhere import NetworkElsewhere
from safelight.runtime.devices.placement import ComponentDevices, group_of
from safelight.runtime.memory_plan.phases import in_memory

CPU, GPU, META = torch.device("cpu"), torch.device("cuda:0"), torch.device("meta")


def test_what_is_on_each_device() -> None:
    devices = ComponentDevices(GPU, CPU, CPU)
    assert [devices.of(name) for name in ("unet", "text_encoder_2", "vae")] == [GPU, CPU, CPU]
    assert [devices.elsewhere(name) for name in ("unet", "text_encoder", "vae")] == ["", "cpu", "cpu"]
    assert devices.others == {"cpu": (CPU, ("text_encoders", "vae"))}
    assert devices.uses == [(GPU, ("denoiser",)), (CPU, ("text_encoders", "vae"))]
    assert group_of("transformer_2") == "denoiser"


def test_a_device_without_a_number_is_the_first_one() -> None:
    devices = ComponentDevices(torch.device("cuda"), GPU, torch.device("cuda:1"))
    assert devices.others == {"cuda:1": (torch.device("cuda:1"), ("vae",))}
    assert ComponentDevices.uniform(CPU).others == {}
    assert ComponentDevices.uniform(CPU).uses == [(CPU, ("denoiser", "text_encoders", "vae"))]


class Output(OrderedDict[str, Any]):
    """As the outputs of transformers and diffusers: a mapping that is built from its parts."""


class Distribution:
    def __init__(self, parameters: Tensor, deterministic: bool) -> None:
        self.parameters, self.deterministic = parameters, deterministic


class Network(nn.Module):
    """Remembers where its input is."""

    scale = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    @property
    def device(self) -> torch.device:
        return self.linear.weight.device

    def forward(self, value: Tensor, *, more: list[Tensor]) -> Output:
        self.seen = value.device, more[0].device
        return Output(states=(self.linear(value), None), count=3)

    def encode(self, value: Tensor) -> Distribution:
        return Distribution(self.linear(value), True)


def test_calls_are_moved_to_a_network_and_its_results_back() -> None:
    """The callers are on the meta device, and the network on the CPU gets tensors of its own in their place."""
    network = Network().to(META)
    stand_in: Any = NetworkElsewhere(network, META, CPU)
    assert isinstance(stand_in, Network)
    assert (stand_in.device, stand_in.scale, in_memory(stand_in)) == (CPU, 0.5, network)
    assert stand_in.to(CPU) is stand_in
    assert not list(stand_in.parameters())
    assert network.linear is stand_in.linear
    given = torch.ones(1, 2)
    moved: list[Any] = []
    network.register_forward_pre_hook(lambda *_: moved.append(True))
    try:
        stand_in(given, more=[given])
    except NotImplementedError:  # nothing can be copied from the meta device
        assert network.seen == (META, META)
    assert moved


def test_results_keep_their_classes() -> None:
    stand_in: Any = NetworkElsewhere(Network(), CPU, META)
    result = stand_in(torch.ones(1, 2), more=[torch.ones(1)])
    assert (type(result), result["count"], result["states"][1]) == (Output, 3, None)
    assert result["states"][0].device == META
    found = stand_in.encode(torch.ones(1, 2))
    assert (type(found), found.parameters.device, found.deterministic) == (Distribution, META, True)
