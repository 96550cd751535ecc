"""What a stage took of the memory is measured: without what loading takes, and without networks that nobody uses."""

from __future__ import annotations

import sys

import pytest
import torch

from safelight.runtime.memory_plan.meter import StageMeter

CPU = torch.device("cpu")
UNIT = 100 * 2**20


def take(units: int) -> torch.Tensor:
    return torch.ones(units * UNIT, dtype=torch.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="what /proc has")
def test_stages_are_measured_where_networks_replace_each_other() -> None:
    idle = 0
    meter = StageMeter(CPU, 0, lambda: idle)
    meter.begin("encode")
    with meter.paused():  # three are read and become one
        take(3)
        network = take(1)
    take(1)
    meter.begin("decode")  # the network of the stage before is still there
    with meter.paused():
        idle, other = UNIT, take(1)
    take(2)
    meter.begin("")
    assert meter.peaks["encode"] == pytest.approx(2 * UNIT, rel=0.2)
    assert meter.peaks["decode"] == pytest.approx(3 * UNIT, rel=0.2)
    assert network.nbytes == other.nbytes == UNIT
