"""The choice of steps: none where all fits, then the harmless ones first, and only in the stages that need them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.memory_plan.planner import (
    STEPS,
    ComponentCost,
    PictureCost,
    StageCost,
    Step,
    make_memory_plan,
)
from safelight.settings import MemoryStep

GB = 10**9


def component(size: float, **changes: int | None) -> ComponentCost:
    """A network of so many gigabytes, in blocks of a twentieth."""
    nbytes = int(size * GB)
    cost = ComponentCost(nbytes, nbytes // 2, nbytes // 20, nbytes // 20, nbytes // 100)
    return replace(cost, **changes)


COST = PictureCost(
    "fp32",
    {"text_encoder": component(2), "unet": component(10), "vae": component(0.3, int8_nbytes=None)},
    (
        StageCost("text_encoder", "text_encoder", GB // 10),
        StageCost("denoise", "unet", 1 * GB, sliced=GB // 2, calls=20),
        StageCost("decode", "vae", 4 * GB, tiled=1 * GB),
    ),
)
HALF = replace(
    COST,
    precision="bf16",
    components={name: component(cost.nbytes / 2 / GB) for name, cost in COST.components.items()},
)


def gpu(usable: float, host: float = 64) -> DeviceMemory:
    return DeviceMemory("cuda", int(usable * GB), int(usable * GB), int(host * GB))


def cpu(usable: float) -> DeviceMemory:
    return DeviceMemory("cpu", int(usable * GB), int(usable * GB), int(usable * GB))


def costs(precision: str) -> PictureCost:
    return HALF if precision == "bf16" else COST


def test_nothing_is_done_where_everything_fits() -> None:
    plan = make_memory_plan(costs, gpu(17))
    assert plan.fits
    assert not plan.phases
    assert plan.steps == ()
    assert plan.peak == 12.3 * GB + 4 * GB


@pytest.mark.parametrize(
    ("usable", "steps"),
    [
        (11.5, ("phases",)),
        (6, ("phases", "blocks")),
        (3, ("phases", "blocks", "tiling")),
        (2.1, ("phases", "blocks", "sliced-attention", "tiling")),
    ],
)
def test_an_accelerator_gets_harmless_steps_first(usable: float, steps: tuple[Step, ...]) -> None:
    plan = make_memory_plan(costs, gpu(usable))
    assert plan.fits
    assert plan.steps == steps
    assert plan.peak <= usable * GB


@pytest.mark.parametrize(
    ("usable", "steps"),
    [
        (11.5, ("phases",)),
        (6.5, ("phases", "bf16")),
        (4.5, ("phases", "bf16", "int8")),
        (2.2, ("phases", "tiling", "bf16", "disk")),
    ],
)
def test_a_cpu_changes_the_precision_only_where_it_is_open(usable: float, steps: tuple[Step, ...]) -> None:
    plan = make_memory_plan(costs, cpu(usable), free_precision=True)
    assert plan.fits
    assert plan.steps == steps
    fixed = make_memory_plan(costs, cpu(usable))
    assert "bf16" not in fixed.steps
    assert fixed.precision == "fp32"


def test_only_the_stages_that_need_it_are_changed() -> None:
    stages = {stage.name: stage for stage in make_memory_plan(costs, gpu(6)).stages}
    assert {name: stage.placement for name, stage in stages.items()} == {
        "text_encoder": "device",
        "denoise": "blocks",
        "decode": "device",
    }
    assert stages["denoise"].weights > COST.components["unet"].nbytes // 10  # blocks stay while there is room
    assert stages["denoise"].copied < 20 * COST.components["unet"].nbytes


def test_weights_are_quantized_where_the_host_has_no_room_for_them() -> None:
    plan = make_memory_plan(costs, gpu(6, host=7))
    assert plan.fits
    assert "int8" in plan.steps
    assert plan.host <= 7 * GB


def test_steps_that_are_forbidden_are_not_taken() -> None:
    assert not make_memory_plan(costs, gpu(6), ()).fits
    plan = make_memory_plan(costs, gpu(7), ("phases", "int8"))
    assert plan.fits
    assert plan.steps == ("phases", "int8")


def test_what_cannot_fit_says_so() -> None:
    plan = make_memory_plan(costs, gpu(0.5))
    assert not plan.fits
    assert plan.peak > 0.5 * GB
    body = plan.to_dict()
    assert body["fits"] is False
    assert body["peak_bytes"] == plan.peak
    assert [stage["name"] for stage in body["stages"]] == ["text_encoder", "denoise", "decode"]


def test_the_setting_has_the_planners_steps() -> None:
    assert set(get_args(MemoryStep)) == set(STEPS)
