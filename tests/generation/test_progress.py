from __future__ import annotations

import pytest

from safelight.generation.progress import RunProgress, Stage


@pytest.mark.parametrize(
    ("stage", "step", "hires", "fraction"),
    [
        (Stage.FIRST_PASS, 5, False, 0.375),
        (Stage.FIRST_PASS, 10, False, 0.5),
        (Stage.FIRST_PASS, 5, True, 0.3125),
        (Stage.UPSCALING, 3, True, 0.375),
        (Stage.SECOND_PASS, 5, True, 0.4375),
        (Stage.SECOND_PASS, 10, True, 0.5),
    ],
)
def test_the_completed_fraction_of_a_request(stage: Stage, step: int, hires: bool, fraction: float) -> None:
    """In the second of four images; with a second pass each pass is half of an image."""
    assert RunProgress(1, 4, stage, step, 10).fraction(hires=hires) == pytest.approx(fraction)


def test_stages_are_the_strings_of_the_api() -> None:
    assert [str(stage) for stage in Stage] == ["first pass", "refiner", "upscaling", "second pass"]
    assert Stage.FIRST_PASS == "first pass"
