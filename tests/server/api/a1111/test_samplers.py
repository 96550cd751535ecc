from __future__ import annotations

import pytest

from safelight.errors import SamplerIncompatibleError, SamplerUnknownError
from safelight.generation.solvers.registry import SAMPLERS, PredictionProcess
from safelight.generation.solvers.samplers import SCHEDULES, resolve_sampler
from safelight.server.api.a1111.samplers import (
    DEFAULT_SCHEDULES,
    eta_for,
    hires_sampler,
    names_match,
    sampler_row,
    schedule_name,
    scheduler_rows,
    select_sampler,
)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "expected"),
    [
        ("Euler a", "automatic", ("Euler a", None)),
        ("Euler a", None, ("Euler a", None)),
        ("k_euler_a", "Automatic", ("Euler a", None)),
        ("DPM++ 2M Karras", None, ("DPM++ 2M", "karras")),
        ("DPM++ 2M Karras", "Karras", ("DPM++ 2M", "karras")),
        ("DPM++ 2M", "sgm_uniform", ("DPM++ 2M", "sgm-uniform")),
        ("DPM++ 2M", "SGM Uniform", ("DPM++ 2M", "sgm-uniform")),
        ("DPM++ 2M", "Automatic", ("DPM++ 2M", "karras")),
        ("DPM++ 3M SDE", None, ("DPM++ 3M SDE", "exponential")),
        ("Default", None, (None, None)),
        ("", "karras", (None, "karras")),
        (None, None, (None, None)),
    ],
)
def test_names_as_clients_send_them(
    sampler: str | None, scheduler: str | None, expected: tuple[str | None, str | None]
) -> None:
    assert select_sampler(sampler, scheduler, PredictionProcess.DIFFUSION) == expected


def test_default_schedules_are_used_where_they_fit() -> None:
    assert select_sampler("DPM++ 2M", None, PredictionProcess.FLOW) == ("DPM++ 2M FlowMatch", None)
    assert select_sampler("DPM++ 2M", None, None) == ("DPM++ 2M", None)
    assert select_sampler("DPM++ 2M", None, PredictionProcess.DIFFUSION, use_defaults=False) == (
        "DPM++ 2M",
        None,
    )


def test_names_of_samplers_for_other_families() -> None:
    assert select_sampler("Euler EDM", None, PredictionProcess.DIFFUSION) == ("Euler EDM", None), (
        "families do not tell them apart"
    )
    assert select_sampler("Euler FlowMatch", None, None) == ("Euler FlowMatch", None)
    for sampler, kind in (("Euler FlowMatch", PredictionProcess.DIFFUSION), ("DDIM", PredictionProcess.FLOW)):
        with pytest.raises(SamplerIncompatibleError, match=f"kind {kind}"):
            select_sampler(sampler, None, kind)


def test_every_default_schedule_fits_its_sampler() -> None:
    for name, schedule in DEFAULT_SCHEDULES.items():
        assert resolve_sampler(name, schedule).schedule == schedule


def test_unknown_and_contradicting_names_are_refused() -> None:
    with pytest.raises(SamplerUnknownError):
        select_sampler("Best sampler", None, PredictionProcess.DIFFUSION)
    with pytest.raises(SamplerUnknownError):
        select_sampler("Euler", "align_your_steps", PredictionProcess.DIFFUSION)
    with pytest.raises(SamplerIncompatibleError):
        select_sampler("DPM++ 2M Karras", "exponential", PredictionProcess.DIFFUSION)


def test_every_listed_name_is_accepted() -> None:
    for row in scheduler_rows():
        for name in (row["name"], row["label"], *row["aliases"]):  # type: ignore[misc]
            assert schedule_name(str(name)) in SCHEDULES
    for sampler in SAMPLERS.values():
        row = sampler_row(sampler)
        kind = next(iter(sampler.prediction_processes))
        assert select_sampler(str(row["name"]), None, kind)[0] == sampler.name
        for alias in row["aliases"]:  # type: ignore[attr-defined]
            assert select_sampler(alias, None, kind)[0] == sampler.name
        assert all(isinstance(value, str) for value in row["options"].values())  # type: ignore[attr-defined]


def test_a_second_pass_takes_the_schedule_in_the_samplers_name() -> None:
    assert hires_sampler("DDIM", "Karras", None, PredictionProcess.DIFFUSION) == "DDIM karras"
    assert hires_sampler("DDIM", None, None, PredictionProcess.DIFFUSION) == "DDIM"
    assert hires_sampler("DPM++ 2M", None, None, PredictionProcess.DIFFUSION) == "DPM++ 2M karras"
    joined = hires_sampler("DPM++ 2M", "SGM Uniform", "karras", PredictionProcess.DIFFUSION)
    assert resolve_sampler(joined).schedule == "sgm-uniform"


def test_the_first_passs_schedule_is_inherited_where_the_second_sampler_accepts_it() -> None:
    assert hires_sampler("DDIM", None, "karras", PredictionProcess.DIFFUSION) == "DDIM karras"
    assert hires_sampler("LCM", None, "karras", PredictionProcess.DIFFUSION) == "LCM"
    with pytest.raises(SamplerIncompatibleError):
        hires_sampler("LCM", "karras", None, PredictionProcess.DIFFUSION)


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("DPM++ 2M", "dpm++ 2m ", True),
        ("Automatic", "Karras", True),
        (None, "Euler", True),
        ("Euler", "Euler a", False),
        (["Euler"], "Euler", False),
    ],
)
def test_consistent_names(name: object, other: object, same: bool) -> None:
    assert names_match(name, other) is same


@pytest.mark.parametrize(
    ("sampler", "eta", "expected"),
    [
        ("DDIM", 1.0, 1.0),
        ("DDIM", None, None),
        ("Euler a", 1.0, None),
        ("Euler a", 0.5, 0.5),
        ("Euler", 0.5, None),
        (None, 1.0, None),
        (None, 0.4, 0.4),
    ],
)
def test_eta_is_passed_only_to_samplers_that_use_it(
    sampler: str | None, eta: float | None, expected: float | None
) -> None:
    assert eta_for(sampler, eta) == expected
