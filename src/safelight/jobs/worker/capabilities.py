"""A worker's device, precision and backend with the reasons for them, in sentences for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from safelight.runtime.backends import AUTO, BACKENDS, EAGER
from safelight.runtime.probe import candidate_plans
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.generation.record import Machine
    from safelight.moderation.classifiers.classifier import ClassifierInfo
    from safelight.studio import Studio


def describe_worker(studio: Studio) -> Mapping[str, str]:
    """A worker's device, precision and backend, and the reasons for them.

    Args:
        studio: Generates and judges pictures in this worker; its classifier is loaded if it is not yet.

    Raises:
        SafelightError: Generation or moderation cannot be used.
    """
    engine, classifier = studio.engine, studio.classifier().info
    machine = engine.machine
    reasons = [
        describe_generation(studio.settings, machine),
        describe_moderation(studio.settings, classifier),
    ]
    return {
        "device": machine.device,
        "precision": machine.precision,
        "backend": machine.backend,
        "why": " ".join(reasons),
    }


def describe_generation(settings: Settings, machine: Machine) -> str:
    """A sentence on the device, precision and backend of generation.

    Args:
        settings: All settings.
        machine: What generates: another device than the setting's where the CPU has taken its place.
    """
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    return (
        f"Generates on {machine.device}, {_device_reason(settings, machine)}, "
        f"in {_precision(settings, machine)}; {_runs(settings, machine)}, "
        f"with {threads}."
    )


def describe_moderation(settings: Settings, classifier: ClassifierInfo) -> str:
    """A sentence on the classifier and its backend."""
    name = classifier.name.rpartition("/")[2]
    return f"Judges with {name} ({classifier.arithmetic}), {_backend_reason(settings)}."


def _runs(settings: Settings, machine: Machine) -> str:
    """What computes which networks of a checkpoint."""
    if machine.backend == AUTO or BACKENDS[machine.backend].forms:
        from safelight.generation.backend_choice import explain_choice
        from safelight.runtime.compilation.speed import known_speeds
        from safelight.runtime.devices import find_device

        speeds = known_speeds(settings.cache_folder)
        device = find_device(machine.device).torch_device
        return explain_choice(machine.backend, machine.precision, device, speeds)
    eager = "PyTorch runs {} as they are (eager)"
    if machine.backend == EAGER:
        return eager.format("the networks")
    components = BACKENDS[machine.backend].components
    if "*" in components:
        return f"{machine.backend} runs the networks, as the setting generation_backend says"
    return (
        f"{machine.backend} runs {' and '.join(components)}, as the setting generation_backend says, "
        f"and {eager.format('the other networks')}"
    )


def _device_reason(settings: Settings, machine: Machine) -> str:
    if settings.device.partition(":")[0] not in ("auto", machine.device.partition(":")[0]):
        return "in the place of another device"
    if settings.device != "auto":
        return "as the setting device says"
    return "since no accelerator was found" if machine.device == "cpu" else "the accelerator that was found"


def _precision(settings: Settings, machine: Machine) -> str:
    """In which precision denoisers compute, and why."""
    if machine.precision == "auto" and settings.generation_quality != "exact":
        return "bf16, fp16 or fp32, as each component of a checkpoint's family computes right"
    from safelight.generation.backend_choice import explain_precision
    from safelight.runtime.compilation.speed import known_speeds

    return explain_precision(
        settings.generation_quality,
        settings.generation_precision,
        machine.backend,
        machine.device,
        known_speeds(settings.cache_folder),
    )


def _backend_reason(settings: Settings) -> str:
    if settings.moderation_device != "cpu":
        return "as the setting moderation_device says"
    if settings.exact:
        return "in reference arithmetic, as the setting exact says"
    if len(candidate_plans(settings.backend, settings.precision, settings.threads)) > 1:
        return "the fastest of what was measured here and keeps to the reference"
    return "as the settings backend and precision say"
