"""Pictures in processes with a hard limit on their memory, which plan by themselves what they do to keep it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
if sys.platform == "linux":
    from bench.memory_limit import (
        Limited,
        child_command,
        has_control_groups,
        planned_and_measured,
        run_limited,
        write_checkpoint,
    )

needs_groups = pytest.mark.skipif(
    sys.platform != "linux" or not has_control_groups(), reason="no control groups for memory here"
)
TAKE_1_GB = "taken = [bytearray(10**7) for _ in range(100)]"


@needs_groups
def test_the_kernel_ends_what_exceeds_its_control_group() -> None:
    command = [sys.executable, "-c", TAKE_1_GB]
    assert run_limited(command, 2 * 10**8, "group").killed
    found = run_limited(command, 2 * 10**9, "group")
    assert found.status == 0
    assert found.group is not None
    assert 10**9 < found.group < 2 * 10**9


def test_allocations_fail_beyond_a_limit_on_data() -> None:
    found = run_limited([sys.executable, "-c", TAKE_1_GB], 2 * 10**8, "data")
    assert found.status == 1
    assert "MemoryError" in found.errors


def picture(found: Limited) -> dict[str, Any]:
    """What a process tells of its picture, which it must have made."""
    assert found.status == 0, found.errors[-2000:] or "killed by the kernel"
    results: dict[str, Any] = json.loads(found.output)
    return results


@needs_groups
def test_the_starter_plans_with_the_limit_of_its_process(tmp_path: Path) -> None:
    limit = 9 * 10**8
    command = child_command("starter", "--size", "64", "--folder", str(tmp_path))
    found = run_limited(command, limit, "group")
    results = picture(found)
    assert 0 < results["planned_peak"] < results["usable"] < limit - results["libraries"] / 2
    assert found.group is not None
    assert found.group <= limit


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A folder with random weights of a family's published size."""
    folder = tmp_path_factory.mktemp("weights")

    def write(family: str) -> Path:
        if not (folder / family).exists():
            write_checkpoint(family, folder / family)
        return folder

    yield write
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_groups
@pytest.mark.parametrize(
    ("family", "side", "limit", "precision", "steps"),
    [
        ("sd1", 512, 3_500_000_000, "bf16", set()),
        ("sd1", 512, 2_000_000_000, "auto", {"phases", "int8"}),
        ("sdxl", 1024, 6_000_000_000, "auto", {"phases", "int8"}),
    ],
)
def test_pictures_within_hard_limits(
    family: str, side: int, limit: int, precision: str, steps: set[str], weights: Callable[[str], Path]
) -> None:
    """Random weights of the published size, one step; what is planned is within 15 % of what is measured."""
    folder = weights(family)
    command = child_command(family, "--size", str(side), "--precision", precision, "--folder", str(folder))
    found = run_limited(command, limit, "group", folder / family)
    results = picture(found)
    assert steps <= set(results["steps"])
    planned, measured = planned_and_measured(results)
    assert found.peak < limit
    assert planned == pytest.approx(measured, rel=0.15)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_groups
def test_a_limit_does_not_change_the_picture(weights: Callable[[str], Path], tmp_path: Path) -> None:
    """In phases it is the same to the bit; in eight bits it is close."""
    folder, pictures = weights("sd1"), []
    for number, limit in enumerate((16 * 10**9, 3_000_000_000, 2_000_000_000)):
        saved = tmp_path / f"{number}.png"
        command = child_command("sd1", "--precision", "bf16", "--folder", str(folder), "--save", str(saved))
        results = picture(run_limited(command, limit, "group", folder / "sd1"))
        assert ("phases" in results["steps"]) == (number > 0)
        pictures.append(np.asarray(Image.open(saved), dtype=np.float64))
    whole, phased, quantized = pictures
    assert np.array_equal(whole, phased)
    assert 10 * np.log10(255**2 / ((whole - quantized) ** 2).mean()) > 30
