"""The built-in samplers, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from safelight.generation.solvers.registry import NO_OPTIONS, Option, PredictionProcess, Sampler
from safelight.generation.solvers.sigmas import AUTOMATIC, EDM_SCHEDULES, FLOW_SCHEDULES
from safelight.plugins import Registry, hookimpl

_DATA_PREDICTION: Mapping[str, Option] = MappingProxyType({"algorithm_type": "data_prediction"})
NOISE_PREDICTION_TYPES = frozenset({"epsilon", "v_prediction"})
_EVEN_SCHEDULES = (AUTOMATIC, "normal", "leading", "sgm-uniform")


def _dpm_options(order: int, *, sde: bool = False, heun: bool = False) -> Mapping[str, Option]:
    algorithm = "sde-dpmsolver++" if sde else "dpmsolver++"
    return MappingProxyType(
        {"solver_order": order, "algorithm_type": algorithm, "solver_type": "heun" if heun else "midpoint"}
    )


def _unipc_options(order: int, variant: str) -> Mapping[str, Option]:
    return MappingProxyType({"solver_order": order, "solver_type": variant, "predict_x0": True})


def _order_options(order: int) -> Mapping[str, Option]:
    return MappingProxyType({"solver_order": order})


_DIFFUSION = (
    Sampler("Euler", ".diffusion:Euler", note="DDIM at eta 0 in other coordinates: nearly the same picture."),
    Sampler(
        "Euler a",
        ".diffusion:EulerAncestral",
        ("Euler ancestral",),
        prediction_types=NOISE_PREDICTION_TYPES,
        stochastic=True,
        note="DDPM in other coordinates: nearly the same picture.",
    ),
    Sampler("Heun", ".diffusion:Heun", calls_per_step=2),
    Sampler("LMS", ".diffusion:LMS", ("LMS Discrete",)),
    Sampler("DPM2", ".diffusion:DPM2", ("KDPM2",), prediction_types=NOISE_PREDICTION_TYPES, calls_per_step=2),
    Sampler(
        "DPM2 a",
        ".diffusion:DPM2Ancestral",
        ("DPM2 ancestral", "KDPM2 a"),
        prediction_types=NOISE_PREDICTION_TYPES,
        stochastic=True,
        calls_per_step=2,
    ),
    Sampler(
        "DPM++ 2S a",
        ".diffusion:DPMpp2SAncestral",
        ("DPM++ 2S ancestral",),
        prediction_types=NOISE_PREDICTION_TYPES,
        stochastic=True,
        calls_per_step=2,
    ),
    Sampler(
        "DPM++ SDE",
        ".diffusion:DPMppSDE",
        prediction_types=NOISE_PREDICTION_TYPES,
        stochastic=True,
        calls_per_step=2,
    ),
    Sampler(
        "DPM++ 2S",
        ".diffusion:DPMppSinglestep",
        options=_dpm_options(2),
        open_end=True,
        note="Steps are taken in twos.",
    ),
    Sampler(
        "DPM++ 3S",
        ".diffusion:DPMppSinglestep",
        options=_dpm_options(3),
        open_end=True,
        note="Steps are taken in threes.",
    ),
    Sampler(
        "DPM++ 2S SDE",
        ".diffusion:DPMppSinglestep",
        options=_dpm_options(2, sde=True),
        open_end=True,
        stochastic=True,
        note="Steps are taken in twos.",
    ),
    Sampler("DPM++ 2M", ".diffusion:DPMppMultistep", options=_dpm_options(2), open_end=True),
    Sampler("DPM++ 2M Heun", ".diffusion:DPMppMultistep", options=_dpm_options(2, heun=True), open_end=True),
    Sampler(
        "DPM++ 2M SDE",
        ".diffusion:DPMppMultistep",
        options=_dpm_options(2, sde=True),
        open_end=True,
        stochastic=True,
    ),
    Sampler(
        "DPM++ 2M SDE Heun",
        ".diffusion:DPMppMultistep",
        options=_dpm_options(2, sde=True, heun=True),
        open_end=True,
        stochastic=True,
    ),
    Sampler("DPM++ 3M", ".diffusion:DPMppMultistep", options=_dpm_options(3), open_end=True),
    Sampler(
        "DPM++ 3M SDE",
        ".diffusion:DPMppMultistep",
        options=_dpm_options(3, sde=True),
        open_end=True,
        stochastic=True,
    ),
    Sampler("UniPC", ".diffusion:UniPC", ("UniPC BH2",), options=_unipc_options(2, "bh2"), open_end=True),
    Sampler("UniPC BH1", ".diffusion:UniPC", options=_unipc_options(2, "bh1"), open_end=True),
    Sampler("UniPC 3", ".diffusion:UniPC", options=_unipc_options(3, "bh2"), open_end=True),
    Sampler("DEIS", ".diffusion:DEIS", ("DEIS 2M",), options=_order_options(2), open_end=True),
    Sampler("DEIS 3M", ".diffusion:DEIS", options=_order_options(3), open_end=True),
    Sampler("SA Solver", ".diffusion:SASolver", options=_DATA_PREDICTION, open_end=True, stochastic=True),
    Sampler(
        "DDIM",
        ".ddim:DDIM",
        ("DDIM Parallel",),
        eta=0.0,
        note="Gives the same picture as DDIM Parallel.",
    ),
    Sampler(
        "DDPM",
        ".ddim:DDPM",
        ("DDPM Parallel",),
        stochastic=True,
        note="Gives the same picture as DDPM Parallel.",
    ),
    Sampler(
        "PLMS",
        ".ddim:PLMS",
        ("PNDM", "iPNDM"),
        schedules=_EVEN_SCHEDULES,
        note="Warmed up by lower orders, as iPNDM.",
    ),
    Sampler(
        "LCM",
        "diffusers:LCMScheduler",
        schedules=(AUTOMATIC,),
        stochastic=True,
        max_steps=50,
        note="For checkpoints and LoRAs distilled for it.",
    ),
    Sampler(
        "TCD",
        "diffusers:TCDScheduler",
        schedules=(AUTOMATIC,),
        eta=0.3,
        stochastic=True,
        max_steps=50,
        note="For checkpoints and LoRAs distilled for it.",
    ),
)


def _flow(
    name: str,
    solver: str,
    *aliases: str,
    options: Mapping[str, Option] = NO_OPTIONS,
    stochastic: bool = False,
    calls: int = 1,
    note: str = "",
) -> Sampler:
    """Return a row for flow-matching checkpoints; the name without FlowMatch is an alias."""
    return Sampler(
        f"{name} FlowMatch",
        f".flow:{solver}",
        (name, *aliases, *(f"{alias} FlowMatch" for alias in aliases)),
        prediction_processes=frozenset({PredictionProcess.FLOW}),
        schedules=FLOW_SCHEDULES,
        options=options,
        prediction_types=frozenset({"flow_prediction"}),
        stochastic=stochastic,
        calls_per_step=calls,
        open_end=bool(options),
        note=note,
    )


_FLOW = (
    _flow("Euler", "FlowEuler"),
    _flow("Euler a", "FlowEulerAncestral", "Euler ancestral", stochastic=True),
    _flow("Heun", "FlowHeun", calls=2),
    _flow("LCM", "FlowLCM", stochastic=True, note="For checkpoints distilled for few steps."),
    _flow("DPM++ 2S", "FlowDPMppSinglestep", options=_dpm_options(2), note="Steps are taken in twos."),
    _flow("DPM++ 2M", "FlowDPMppMultistep", options=_dpm_options(2)),
    _flow("DPM++ 2M SDE", "FlowDPMppMultistep", options=_dpm_options(2, sde=True), stochastic=True),
    _flow("DPM++ 3M", "FlowDPMppMultistep", options=_dpm_options(3)),
    _flow("DPM++ 3M SDE", "FlowDPMppMultistep", options=_dpm_options(3, sde=True), stochastic=True),
    _flow("UniPC", "FlowUniPC", "UniPC BH2", options=_unipc_options(2, "bh2")),
    _flow("UniPC BH1", "FlowUniPC", options=_unipc_options(2, "bh1")),
    _flow("DEIS", "FlowDEIS", options=_order_options(2)),
    _flow("SA Solver", "FlowSASolver", options=_DATA_PREDICTION, stochastic=True),
)


def _edm(name: str, solver: str, options: Mapping[str, Option], stochastic: bool = False) -> Sampler:
    """Return a row for checkpoints with EDM preconditioning; the name without EDM is an alias."""
    return Sampler(
        f"{name} EDM",
        f"diffusers:{solver}",
        (name, f"EDM {name}"),
        prediction_processes=frozenset({PredictionProcess.EDM}),
        schedules=EDM_SCHEDULES,
        options=options,
        prediction_types=NOISE_PREDICTION_TYPES,
        stochastic=stochastic,
    )


_EDM = (
    _edm("Euler", "EDMEulerScheduler", NO_OPTIONS),
    _edm("DPM++ 2M", "EDMDPMSolverMultistepScheduler", _dpm_options(2)),
    _edm("DPM++ 3M", "EDMDPMSolverMultistepScheduler", _dpm_options(3)),
    _edm("DPM++ 2M SDE", "EDMDPMSolverMultistepScheduler", _dpm_options(2, sde=True), stochastic=True),
)


_TRIGFLOW = (
    Sampler(
        "SCM",
        ".trigflow:SCM",
        prediction_processes=frozenset({PredictionProcess.TRIGFLOW}),
        schedules=(AUTOMATIC,),
        prediction_types=frozenset({"trigflow"}),
        stochastic=True,
        max_steps=50,
        note="For Sana Sprint.",
    ),
)


@hookimpl
def register_samplers(registry: Registry[Sampler]) -> None:
    """Register every built-in sampler, grouped by kind of checkpoint."""
    for sampler in (*_DIFFUSION, *_FLOW, *_EDM, *_TRIGFLOW):
        registry.register(sampler.name, sampler)
