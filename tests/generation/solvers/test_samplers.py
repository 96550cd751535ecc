from __future__ import annotations

import subprocess
import sys
from typing import Any

import diffusers
import pytest
import torch

from safelight.errors import RequestError, SamplerIncompatibleError, SamplerUnknownError
from safelight.generation.solvers.samplers import (
    SAMPLERS,
    SCHEDULES,
    PredictionProcess,
    SamplerChoice,
    build_scheduler,
    compatible_names,
    prediction_process_of,
    resolve_sampler,
    schedule_label,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_:DeprecationWarning"
)  # diffusers converts tensors to numpy

SD15 = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
FLUX = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": True}
EDM = {"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_max": 80.0, "prediction_type": "epsilon"}


def test_all_samplers_that_users_know() -> None:
    known = "Euler|Euler a|Heun|LMS|DPM2|DPM2 a|DPM++ 2S a|DPM++ 2M|DPM++ SDE|DPM++ 2M SDE|DPM++ 2M SDE Heun"
    known += "|DDIM|PLMS|UniPC|LCM|DDPM|TCD|DEIS|SA Solver|DPM++ 3M|DPM++ 3M SDE|DPM++ 2M FlowMatch|Euler FlowMatch"
    names = list(SAMPLERS)
    assert set(known.split("|")) <= set(names)
    assert len(names) == len(set(names)) >= 30


@pytest.mark.parametrize(
    ("given", "name", "schedule"),
    [
        ("Euler", "Euler", "automatic"),
        ("euler A", "Euler a", "automatic"),
        ("k_euler_a", "Euler a", "automatic"),
        ("euler_ancestral", "Euler a", "automatic"),
        ("sample_euler_ancestral", "Euler a", "automatic"),
        ("DPM++ 2M Karras", "DPM++ 2M", "karras"),
        ("dpm++ 2m karras", "DPM++ 2M", "karras"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "exponential"),
        ("DPM++ 2M SDE Heun Karras", "DPM++ 2M SDE Heun", "karras"),
        ("k_dpmpp_2m", "DPM++ 2M", "automatic"),
        ("k_dpmpp_2m_ka", "DPM++ 2M", "karras"),
        ("k_dpmpp_2s_a_ka", "DPM++ 2S a", "karras"),
        ("k_dpmpp_2m_sde_exp", "DPM++ 2M SDE", "exponential"),
        ("dpmpp_2m_sde_gpu", "DPM++ 2M SDE", "automatic"),
        ("dpmpp_2s_ancestral", "DPM++ 2S a", "automatic"),
        ("k_dpm_2_a", "DPM2 a", "automatic"),
        ("DPM2 a Karras", "DPM2 a", "karras"),
        ("uni_pc_bh2", "UniPC", "automatic"),
        ("PNDM", "PLMS", "automatic"),
        ("DDIM Parallel", "DDIM", "automatic"),
        ("LMS Karras", "LMS", "karras"),
        ("SA-Solver", "SA Solver", "automatic"),
        ("Euler simple", "Euler", "sgm-uniform"),
    ],
)
def test_names_as_other_programs_write_them(given: str, name: str, schedule: str) -> None:
    choice = resolve_sampler(given)
    assert (choice.sampler.name, choice.schedule) == (name, schedule)


@pytest.mark.parametrize("kind", list(PredictionProcess))
def test_every_name_and_alias_is_found_for_its_process(kind: PredictionProcess) -> None:
    for sampler in SAMPLERS.values():
        if kind in sampler.prediction_processes:
            assert all(
                resolve_sampler(name, None, kind).sampler is sampler
                for name in (sampler.name, *sampler.aliases)
            )


def test_an_ambiguous_name_is_the_sampler_that_fits() -> None:
    assert [resolve_sampler("Euler", None, kind).sampler.name for kind in ("diffusion", "flow", "edm")] == [
        "Euler",
        "Euler FlowMatch",
        "Euler EDM",
    ]


@pytest.mark.parametrize(
    ("given", "schedule"),
    [
        ("Karras", "karras"),
        ("SGM Uniform", "sgm-uniform"),
        ("sgm_uniform", "sgm-uniform"),
        ("trailing", "sgm-uniform"),
        ("Uniform", "normal"),
        ("polyexponential", "exponential"),
        ("KL Optimal", "kl-optimal"),
        ("Leading", "leading"),
        ("DDIM", "leading"),
        ("DDIM Uniform", "leading"),
        ("Automatic", "automatic"),
    ],
)
def test_schedules_as_other_programs_write_them(given: str, schedule: str) -> None:
    assert resolve_sampler("Euler", given).schedule == schedule


def test_labels_are_those_that_infotexts_have_had() -> None:
    assert {name: schedule_label(name) for name in SCHEDULES} == {
        "automatic": "Automatic",
        "normal": "Normal",
        "karras": "Karras",
        "exponential": "Exponential",
        "sgm-uniform": "SGM Uniform",
        "leading": "Leading",
        "beta": "Beta",
        "kl-optimal": "KL Optimal",
    }
    assert all(resolve_sampler("Euler", schedule_label(name)).schedule == name for name in SCHEDULES)


def test_a_schedule_given_twice() -> None:
    assert resolve_sampler("DPM++ 2M Karras", "Automatic").schedule == "karras"
    assert resolve_sampler("DPM++ 2M Karras", "karras").schedule == "karras"
    with pytest.raises(SamplerIncompatibleError, match="two schedules"):
        resolve_sampler("DPM++ 2M Karras", "beta")


@pytest.mark.parametrize(
    ("name", "likely"),
    [("DPM+ 2M", "DPM++ 2M"), ("Eular a", "Euler a"), ("UniPCC", "UniPC"), ("DPM++ 2M Karas", "DPM++ 2M")],
)
def test_a_misspelt_name_gets_a_suggestion(name: str, likely: str) -> None:
    with pytest.raises(SamplerUnknownError) as caught:
        resolve_sampler(name)
    assert caught.value.message == f"There is no sampler {name!r}."
    assert caught.value.hint.startswith("Did you mean")
    assert likely in caught.value.hint.split("?")[0]


@pytest.mark.parametrize("name", ["", "Restart", "karras", "2M", "sampler"])
def test_an_unknown_name_lists_the_samplers(name: str) -> None:
    with pytest.raises(SamplerUnknownError) as caught:
        resolve_sampler(name, None, PredictionProcess.FLOW)
    assert ", ".join(compatible_names(PredictionProcess.FLOW)) in caught.value.hint


def test_an_unknown_schedule_lists_the_schedules() -> None:
    with pytest.raises(SamplerUnknownError) as caught:
        resolve_sampler("Euler", "karas")
    assert caught.value.hint == f"Did you mean karras? There are {', '.join(SCHEDULES)}."


def test_a_sampler_for_another_process_lists_those_that_fit() -> None:
    with pytest.raises(SamplerIncompatibleError) as caught:
        resolve_sampler("LMS", None, PredictionProcess.FLOW)
    assert caught.value.message == "LMS does not fit this checkpoint, which is of the kind flow."
    assert caught.value.hint == f"These fit: {', '.join(compatible_names(PredictionProcess.FLOW))}."
    with pytest.raises(SamplerIncompatibleError):
        resolve_sampler("Euler FlowMatch", None, PredictionProcess.DIFFUSION)


def test_a_schedule_that_the_sampler_does_not_accept() -> None:
    for name, schedule, kind in (
        ("PLMS", "karras", "diffusion"),
        ("LCM", "karras", "diffusion"),
        ("Euler", "normal", "flow"),
    ):
        with pytest.raises(SamplerIncompatibleError) as caught:
            resolve_sampler(name, schedule, kind)
        assert "It takes automatic" in caught.value.hint


@pytest.mark.parametrize(("name", "most"), [("Euler", 1000), ("LCM", 50), ("TCD", 50)])
def test_the_number_of_steps_is_limited(name: str, most: int) -> None:
    choice = resolve_sampler(name)
    choice.check_steps(1)
    choice.check_steps(most)
    for steps in (0, most + 1):
        with pytest.raises(SamplerIncompatibleError) as caught:
            choice.check_steps(steps)
        assert caught.value.hint == f"Give 1 to {most} steps."
    with pytest.raises(SamplerIncompatibleError):
        choice.check_steps(21, trained_timesteps=20)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (SD15, "diffusion"),
        (FLUX, "flow"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "flow"),
        (
            {
                "_class_name": "UniPCMultistepScheduler",
                "prediction_type": "flow_prediction",
                "beta_start": 0.1,
            },
            "flow",
        ),
        (EDM, "edm"),
    ],
)
def test_the_prediction_process_of_a_checkpoint(config: dict[str, Any], kind: str) -> None:
    assert prediction_process_of(config) == kind


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "DDPMWuerstchenScheduler"},
        {"_class_name": "NoSuchScheduler"},
        {"_class_name": "DiffusionPipeline"},
        {},
        {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
    ],
)
def test_a_checkpoint_without_a_fitting_sampler(config: dict[str, Any]) -> None:
    with pytest.raises(SamplerIncompatibleError, match="No sampler is known"):
        prediction_process_of(config)


def test_an_unsupported_prediction_type() -> None:
    sample = SD15 | {"prediction_type": "sample"}
    build_scheduler(resolve_sampler("Euler"), sample, [1])
    for name in ("Euler a", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ SDE"):
        with pytest.raises(SamplerIncompatibleError) as caught:
            build_scheduler(resolve_sampler(name), sample, [1])
        assert caught.value.message == f"{name} does not fit this checkpoint, which predicts sample."
        assert "Euler, Heun" in caught.value.hint
        assert "Euler a" not in caught.value.hint


def test_a_choice_for_one_process_is_not_built_for_another() -> None:
    for config in (FLUX, EDM):
        with pytest.raises(SamplerIncompatibleError):
            build_scheduler(resolve_sampler("Euler"), config, [1])
    with pytest.raises(SamplerIncompatibleError):
        build_scheduler(
            resolve_sampler("Euler", None, PredictionProcess.FLOW), FLUX | {"invert_sigmas": True}, [1]
        )


def test_a_seed_is_required() -> None:
    with pytest.raises(RequestError, match="one seed for each picture"):
        build_scheduler(resolve_sampler("Euler"), SD15, [])


def test_each_run_has_its_own_solver() -> None:
    choice = resolve_sampler("DPM++ 2M Karras")
    one, other = build_scheduler(choice, SD15, [1]), build_scheduler(choice, SD15, [1])
    one.set_timesteps(5)
    assert one is not other
    assert one.grid is not other.grid
    assert len(other.timesteps) == 1000


@pytest.mark.parametrize(
    "sampler",
    [each for each in SAMPLERS.values() if PredictionProcess.DIFFUSION in each.prediction_processes],
    ids=lambda each: each.name,
)
def test_the_checkpoints_configuration_is_kept(sampler: Any) -> None:
    config = SD15 | {
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    }
    kept = build_scheduler(SamplerChoice(sampler), config, [1]).config
    assert {key: kept[key] for key in config if not key.startswith("_")} == {
        key: value for key, value in config.items() if not key.startswith("_")
    }


@pytest.mark.parametrize(
    ("own", "first"), [("PNDMScheduler", 901.0), ("DDIMScheduler", 901.0), ("EulerDiscreteScheduler", 999.0)]
)
def test_missing_configuration_values_are_the_own_schedulers_defaults(own: str, first: float) -> None:
    scheduler = build_scheduler(resolve_sampler("Euler"), SD15 | {"_class_name": own}, [1])
    scheduler.set_timesteps(10)
    assert float(scheduler.timesteps[0]) == first
    loaded = getattr(diffusers, own).from_config(SD15)
    again = build_scheduler(resolve_sampler("Euler"), loaded.config, [1])
    again.set_timesteps(10)
    assert torch.equal(again.timesteps, scheduler.timesteps)


def test_zero_terminal_snr_affects_every_grid() -> None:
    """Also of solvers whose diffusers class does not know it."""
    for name in ("Euler", "LMS", "Heun", "DPM2", "DPM++ SDE", "DPM++ 2M", "DEIS", "DDIM"):
        scheduler = build_scheduler(
            resolve_sampler(name, "karras"), SD15 | {"rescale_betas_zero_snr": True}, [1]
        )
        scheduler.set_timesteps(10)
        assert float(scheduler.sigmas[0]) == pytest.approx(4096, rel=1e-3), name


def test_listing_needs_no_torch() -> None:
    code = "import sys, safelight.generation.solvers.samplers as s\n"
    code += "s.resolve_sampler('Euler a'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
