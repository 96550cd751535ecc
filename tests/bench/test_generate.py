"""One real comparison on a tiny checkpoint, in new processes, which several tests check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safelight.bench.generate import (
    GatedMeasurement,
    GenerationComparison,
    ProcessMeasurement,
    _measure_process,
    compare_generation,
)
from safelight.bench.timed_studio import TimedStudio
from safelight.errors import BlockedError, InternalError
from safelight.settings import Settings

ANYTHING = (
    'name = "anything"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 1.0, block = 1.0 }\n'
)


@pytest.fixture(scope="module")
def drawing(home: Path, tiny: Callable[[str], Path]) -> Settings:
    policy = home / "anything.toml"
    policy.write_text(ANYTHING)
    return Settings(
        home=home,
        backend="onnxruntime",
        precision="fp32",
        device="cpu",
        checkpoint=str(tiny("sd1")),
        policy=str(policy),
    )


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def found(drawing: Settings, tiny: Callable[[str], Path], told: list[str]) -> GenerationComparison:
    with pytest.MonkeyPatch.context() as patch:  # for the new processes
        for name in ("home", "backend", "precision", "device", "policy"):
            patch.setenv(f"SAFELIGHT_{name.upper()}", str(getattr(drawing, name)))
        return compare_generation(
            TimedStudio(drawing), tiny("sd1"), steps=2, rounds=3, on_message=told.append
        )


def test_both_sides_generate_the_same_pixels(found: GenerationComparison) -> None:
    assert found.largest_difference == 0


def test_every_round_is_measured_and_reported(found: GenerationComparison, told: list[str]) -> None:
    assert len(found.ours) == len(found.edits) == len(found.peer_seconds) == len(told) == 3
    assert all(seconds > 0 for seconds in found.peer_seconds)
    assert told[0].startswith("round 1: safelight ")


def test_the_gate_is_a_part_of_an_images_time(found: GenerationComparison) -> None:
    for each in (*found.ours, *found.edits):
        assert 0 < each.gate_seconds < each.seconds
    assert 0 < found.gate_share < 1
    assert 0 < found.edit_gate_share < 1


def test_a_new_process_takes_longer_and_its_memory_is_measured(found: GenerationComparison) -> None:
    for start in (found.cold, found.peer_cold):
        assert start is not None
        assert start.seconds > found.our_median
        assert 200 < start.peak_mb < 10_000


def test_the_json_output(found: GenerationComparison) -> None:
    body = found.to_dict()
    assert body["steps"] == 2
    assert body["ours"][0] == {"seconds": found.ours[0].seconds, "gate_seconds": found.ours[0].gate_seconds}
    assert body["gate_share"] == round(found.gate_share, 4)
    assert body["cold"].keys() == {"seconds", "peak_mb"}


def test_medians_over_the_rounds() -> None:
    ours = [GatedMeasurement(1.1, 0.11), GatedMeasurement(4.0, 0.2), GatedMeasurement(2.4, 0.12)]
    edits = [GatedMeasurement(1.0, 0.1), GatedMeasurement(1.0, 0.4), GatedMeasurement(1.0, 0.3)]
    comparison = GenerationComparison(
        "x", 20, ours, edits, [1.0, 2.0, 2.0], None, ProcessMeasurement(1, 2), 0
    )
    assert (comparison.our_median, comparison.peer_median) == (2.4, 2.0)
    assert comparison.overhead == pytest.approx(0.2)
    assert comparison.gate_share == pytest.approx(0.05)
    assert comparison.edit_gate_share == pytest.approx(0.3)
    assert comparison.to_dict()["overhead"] == 0.2
    assert comparison.to_dict()["cold"] is None


def test_a_failed_process_is_no_measurement() -> None:
    with pytest.raises(InternalError, match="ended with status 1"):
        _measure_process(["-c", "raise SystemExit(1)"])
    assert _measure_process(["-c", "raise SystemExit(1)"], success_statuses=(0, 1)).peak_mb > 1


def test_blocked_images_are_not_measured(
    drawing: Settings, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = tmp_path / "nothing.toml"
    policy.write_text(ANYTHING.replace("1.0", "0.0"))
    studio = TimedStudio(drawing.model_copy(update={"policy": str(policy)}))
    with pytest.raises(BlockedError):
        compare_generation(studio, tiny("sd1"), steps=1, rounds=1, cold=False)
