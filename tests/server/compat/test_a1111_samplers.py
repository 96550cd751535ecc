from __future__ import annotations

import pytest

from safelight.errors import SamplerUnfitError, SamplerUnknownError
from safelight.generation.sampler_table import SAMPLERS, Kind
from safelight.generation.samplers import SCHEDULES, resolve
from safelight.server.compat.a1111_samplers import (
    USUAL,
    alike,
    chosen,
    eta_for,
    for_hires,
    sampler_row,
    schedule_named,
    scheduler_rows,
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
    assert chosen(sampler, scheduler, Kind.DIFFUSION) == expected


def test_usual_schedules_count_where_they_are_known_to_fit() -> None:
    assert chosen("DPM++ 2M", None, Kind.FLOW) == ("DPM++ 2M FlowMatch", None)
    assert chosen("DPM++ 2M", None, None) == ("DPM++ 2M", None)
    assert chosen("DPM++ 2M", None, Kind.DIFFUSION, usual=False) == ("DPM++ 2M", None)


def test_names_of_samplers_for_other_checkpoints() -> None:
    assert chosen("Euler EDM", None, Kind.DIFFUSION) == ("Euler EDM", None), "families do not tell them apart"
    assert chosen("Euler FlowMatch", None, None) == ("Euler FlowMatch", None)
    for sampler, kind in (("Euler FlowMatch", Kind.DIFFUSION), ("DDIM", Kind.FLOW)):
        with pytest.raises(SamplerUnfitError, match=f"kind {kind}"):
            chosen(sampler, None, kind)


def test_every_usual_schedule_fits_its_sampler() -> None:
    for name, schedule in USUAL.items():
        assert resolve(name, schedule).schedule == schedule


def test_unknown_and_contradicting_names_are_refused() -> None:
    with pytest.raises(SamplerUnknownError):
        chosen("Best sampler", None, Kind.DIFFUSION)
    with pytest.raises(SamplerUnknownError):
        chosen("Euler", "align_your_steps", Kind.DIFFUSION)
    with pytest.raises(SamplerUnfitError):
        chosen("DPM++ 2M Karras", "exponential", Kind.DIFFUSION)


def test_every_listed_name_can_be_sent_back() -> None:
    for row in scheduler_rows():
        for name in (row["name"], row["label"], *row["aliases"]):  # type: ignore[misc]
            assert schedule_named(str(name)) in SCHEDULES
    for sampler in SAMPLERS:
        row = sampler_row(sampler)
        kind = next(iter(sampler.kinds))
        assert chosen(str(row["name"]), None, kind)[0] == sampler.name
        for alias in row["aliases"]:  # type: ignore[attr-defined]
            assert chosen(alias, None, kind)[0] == sampler.name
        assert all(isinstance(value, str) for value in row["options"].values())  # type: ignore[attr-defined]


def test_a_second_pass_takes_the_schedule_within_the_name() -> None:
    assert for_hires("DDIM", "Karras", None, Kind.DIFFUSION) == "DDIM karras"
    assert for_hires("DDIM", None, None, Kind.DIFFUSION) == "DDIM"
    assert for_hires("DPM++ 2M", None, None, Kind.DIFFUSION) == "DPM++ 2M karras"
    joined = for_hires("DPM++ 2M", "SGM Uniform", "karras", Kind.DIFFUSION)
    assert resolve(joined).schedule == "sgm-uniform"


def test_a_schedule_of_the_first_pass_counts_where_the_second_ones_sampler_takes_it() -> None:
    assert for_hires("DDIM", None, "karras", Kind.DIFFUSION) == "DDIM karras"
    assert for_hires("LCM", None, "karras", Kind.DIFFUSION) == "LCM"
    with pytest.raises(SamplerUnfitError):
        for_hires("LCM", "karras", None, Kind.DIFFUSION)


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
def test_names_that_agree(name: object, other: object, same: bool) -> None:
    assert alike(name, other) is same


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
def test_eta_reaches_only_samplers_that_it_means_something_to(
    sampler: str | None, eta: float | None, expected: float | None
) -> None:
    assert eta_for(sampler, eta) == expected
