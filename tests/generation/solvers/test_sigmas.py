from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SamplerIncompatibleError
from safelight.generation.solvers.sigmas import (
    DIFFUSION_SCHEDULES,
    Levels,
    SigmaGrid,
    beta_quantiles,
    spaced_timesteps,
)


def training_sigmas() -> Levels:
    """Stable Diffusion's training sigmas."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    return np.sqrt((1 - alphas) / alphas)


LOW, HIGH = float(training_sigmas()[0]), float(training_sigmas()[-1])


@given(steps=st.integers(1, 1000), schedule=st.sampled_from(DIFFUSION_SCHEDULES), open_end=st.booleans())
def test_sigmas_fall_and_stay_in_the_trained_range(steps: int, schedule: str, open_end: bool) -> None:
    sigmas, timesteps = SigmaGrid(training_sigmas(), schedule, "leading", 1, open_end).levels(steps)
    assert len(sigmas) == len(timesteps) == steps
    assert (np.diff(sigmas) < 0).all()
    assert sigmas[0] <= HIGH * (1 + 1e-9)
    assert sigmas[-1] >= LOW * (1 - 1e-9)
    assert timesteps[0] <= 999
    assert timesteps[-1] >= 0


@given(steps=st.integers(2, 200), schedule=st.sampled_from(DIFFUSION_SCHEDULES))
def test_sigmas_and_timesteps_correspond(steps: int, schedule: str) -> None:
    grid = SigmaGrid(training_sigmas(), schedule)
    sigmas, timesteps = grid.levels(steps)
    np.testing.assert_allclose(grid.to_sigmas(timesteps), sigmas, rtol=1e-9)
    np.testing.assert_allclose(grid.to_timesteps(sigmas), timesteps, atol=1e-6)


def test_schedules_differ() -> None:
    levels = {
        schedule: SigmaGrid(training_sigmas(), schedule, "leading", 1).levels(8)[0]
        for schedule in DIFFUSION_SCHEDULES
    }
    same = [(a, b) for a in levels for b in levels if a < b and np.allclose(levels[a], levels[b], rtol=1e-3)]
    assert same == [("automatic", "leading")]


def test_the_spacings_of_lin_et_al() -> None:
    """Table 2 of the paper, for ten steps of a thousand; timesteps are counted from 0 here."""
    assert spaced_timesteps("leading", 1000, 10, 0).tolist() == [
        900,
        800,
        700,
        600,
        500,
        400,
        300,
        200,
        100,
        0,
    ]
    assert spaced_timesteps("leading", 1000, 10, 1)[0] == 901
    assert spaced_timesteps("trailing", 1000, 10, 0).tolist() == [
        999,
        899,
        799,
        699,
        599,
        499,
        399,
        299,
        199,
        99,
    ]
    assert spaced_timesteps("linspace", 1000, 10, 0).round().tolist() == [
        999,
        888,
        777,
        666,
        555,
        444,
        333,
        222,
        111,
        0,
    ]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("open_end", [False, True])
def test_a_single_step_starts_at_the_largest_sigma(spacing: str, open_end: bool) -> None:
    assert SigmaGrid(training_sigmas(), "automatic", spacing, 1, open_end).levels(1)[1].tolist() == [999]


def test_an_open_end_stops_one_sigma_early() -> None:
    for schedule in ("automatic", "normal", "leading"):
        whole = SigmaGrid(training_sigmas(), schedule, "leading", 1).levels(11)[0]
        stopped = SigmaGrid(training_sigmas(), schedule, "leading", 1, open_end=True).levels(10)[0]
        np.testing.assert_array_equal(stopped, whole[:-1])
    for schedule in ("sgm-uniform", "karras", "beta"):
        one, other = (
            SigmaGrid(training_sigmas(), schedule, "leading", 1, open_end).levels(10)[0]
            for open_end in (False, True)
        )
        np.testing.assert_array_equal(one, other)


def test_curves_run_from_the_largest_sigma_to_the_smallest() -> None:
    for schedule in ("karras", "exponential", "kl-optimal"):
        sigmas, _ = SigmaGrid(training_sigmas(), schedule).levels(12)
        assert sigmas[[0, -1]] == pytest.approx([HIGH, LOW])
    karras, _ = SigmaGrid(training_sigmas(), "karras").levels(3)
    assert karras[1] == pytest.approx(((HIGH ** (1 / 7) + LOW ** (1 / 7)) / 2) ** 7)
    exponential, _ = SigmaGrid(training_sigmas(), "exponential").levels(3)
    assert exponential[1] == pytest.approx((HIGH * LOW) ** 0.5)


def test_beta_is_dense_at_both_ends() -> None:
    places = beta_quantiles(20)
    gaps = -np.diff(places)
    assert places[0] == 1
    assert places[10] == pytest.approx(0.5)
    assert gaps[0] < gaps[9] > gaps[-1]


def test_invalid_grids() -> None:
    with pytest.raises(SamplerIncompatibleError, match="1001 steps are more than the 1000"):
        SigmaGrid(training_sigmas()).levels(1001)
    with pytest.raises(SamplerIncompatibleError, match="'odd'"):
        SigmaGrid(training_sigmas(), spacing="odd").levels(4)
