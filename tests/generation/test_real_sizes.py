"""Offload at real sizes: every published family on a card that is not there, with fake tensors.

A family's own pipeline runs with its networks in the forms that the plan chose, on torch's device cuda, in the
precisions of the table. A tensor on the wrong device raises, as do most wrong data types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from safelight.generation import memory_costs
from safelight.generation.memory_costs import meta_copy, precision_of
from safelight.generation.memory_planning import plan_memory, planned_precisions, published_checkpoint
from safelight.generation.plan import make_plan
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.empty_networks import published_families
from safelight.models.families import TEXT
from safelight.runtime.devices.memory import assumed_device
from safelight.runtime.memory_plan.blocks import largest_block
from safelight.runtime.memory_plan.counter import Attention, FakeNetwork
from safelight.runtime.memory_plan.forms import NetworkForm
from safelight.runtime.memory_plan.planner import StagePlan
from safelight.settings import Settings

GB = 10**9
CUDA = torch.device("cuda")
CASES = [
    pytest.param("sd1", 1, id="sd1 on 1 GB"),
    *(
        pytest.param(name, 8, marks=(pytest.mark.slow, pytest.mark.timeout(1800)), id=name)
        for name in published_families()
    ),
]
"""Families and gigabytes of the card; the first also without ``make test-slow``."""


class PlacedNetwork(FakeNetwork):
    """A fake network as a plan places it: what is offloaded is on the CPU, the rest on the device."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, stages: list[StagePlan]) -> None:
        super().__init__(network, torch.device("cpu"), dtype)
        steps = {step for stage in stages for step in stage.steps}
        placement: Any = "" if stages[0].placement == "device" else stages[0].placement
        form = NetworkForm("int8" in steps, placement, stages[0].weights)
        with torch.no_grad(), self.mode:
            form.keep(network, dtype, CUDA)
        self.device = CUDA
        self.on_device = sum(
            each.nbytes for each in {id(t): t for t in self.tensors}.values() if each.device.type == "cuda"
        )
        for tensor in (*network.parameters(), *network.buffers()):
            assert not tensor.is_floating_point() or tensor.dtype == dtype


@pytest.mark.parametrize(("family", "card"), CASES)
def test_a_family_fits_a_card_as_planned(
    family: str, card: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = published_checkpoint(family)
    side = checkpoint.family.side
    white = {} if TEXT in checkpoint.family.modes else {"init_image": Image.new("RGB", (side, side), "white")}
    request = GenerationRequest(prompt="", width=side, height=side, **white)
    plan = make_plan(request, checkpoint.family, checkpoint.scheduler, native_side=side)
    settings = Settings(home=tmp_path)
    made = plan_memory(checkpoint, plan, assumed_device("cuda", card * GB, 64 * GB), settings)
    assert made.fits
    placed: dict[str, PlacedNetwork] = {}
    precisions = planned_precisions(settings, checkpoint.family, "cuda")
    expected = {
        part: getattr(checkpoint.family.precision, part) for part in ("denoiser", "text_encoders", "vae")
    }
    for part, allowed in expected.items():
        assert getattr(precisions, part) in (*allowed, "fp32")

    def place(_: Any, name: str, network: nn.Module, _attention: Attention) -> FakeNetwork:
        stages = [stage for stage in made.stages if stage.component == name]
        twin = meta_copy(network)
        if getattr(twin.config, "force_upcast", False):
            twin.register_to_config(force_upcast=False)
        dtype = precision_of(name, network, precisions)
        if not stages:  # such as a text encoder for quoted text
            return FakeNetwork(twin, CUDA, dtype)
        placed[name] = PlacedNetwork(twin, dtype, stages)
        return placed[name]

    monkeypatch.setattr(memory_costs._Counted, "_fake", place)
    counted = memory_costs._Counted(
        checkpoint.family, False, precisions, checkpoint.scheduler, checkpoint.options
    )
    peaks = counted.peaks(checkpoint.networks(), plan, "fused")
    resident = 0 if made.phases else sum(network.on_device for network in placed.values())
    for stage in made.stages:
        method = {"encode": "encode", "decode": "decode"}.get(stage.name, "__call__")
        tiled = counted.tiled.get((stage.component, method)) if "tiling" in stage.steps else None
        activations = peaks[stage.component, method] if tiled is None else tiled
        peak = (resident or placed[stage.component].on_device) + activations
        # Blocks are as they are: one less of them may be on the device than there is room for.
        block = largest_block(placed[stage.component].network) if stage.placement != "device" else 0
        assert 0.85 * stage.peak - block <= peak <= 1.001 * stage.peak, (stage, peak)
        assert peak <= card * GB
