from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safelight.bench.batching import BatchingThroughput, measure_batching
from safelight.generation.engine import Engine
from safelight.settings import Settings


def test_both_modes_are_measured_and_reported(home: Path, tiny: Callable[[str], Path]) -> None:
    engine = Engine(Settings(home=home, device="cpu", checkpoint=str(tiny("sd1"))))
    told: list[str] = []
    found = measure_batching(engine, steps=2, rounds=2, threads=(1, 3), on_message=told.append)
    assert [each.threads for each in found] == [1, 3]
    for each in found:
        assert len(each.ratios) == len(each.seconds) == 2
        assert all(value > 0 for value in (*each.ratios, *each.seconds))
    assert told[1].startswith("3 together: ")


def test_the_median_is_reported() -> None:
    found = BatchingThroughput(8, [1.0, 9.0, 1.5004], [2.0, 3.0, 4.0])
    assert found.ratio == pytest.approx(1.5004)
    assert found.to_dict() == {
        "threads": 8,
        "ratio": 1.5,
        "ratios": [1.0, 9.0, 1.5004],
        "seconds": [2.0, 3.0, 4.0],
    }
