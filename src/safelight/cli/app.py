"""The list of commands, and the handling of their errors."""

from __future__ import annotations

import traceback
from typing import Annotated

import typer

from safelight import __version__
from safelight.cli import (
    api,
    bench,
    demo,
    doctor,
    edit,
    export,
    generate,
    info,
    jobs,
    keys,
    models,
    moderate,
    reproduce,
    samplers,
    scan,
    serve,
    upscale,
    worker,
)
from safelight.cli.console import print_json, print_stderr
from safelight.errors import InternalError, SafelightError, UsageError

app = typer.Typer(
    name="safelight",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Safelight: a local image studio. Makes and judges pictures on your own machine; nothing is sent anywhere.",
    epilog="Exit status: 0 nothing flagged, 1 something flagged, 2 wrong input, 3 a failure of Safelight.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"safelight {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of safelight itself."""


app.command("demo")(demo.demo)
app.command("generate")(generate.generate)
app.command("edit")(edit.edit)
app.command("upscale")(upscale.upscale)
app.command("info")(info.info)
app.command("reproduce")(reproduce.reproduce)
app.command("samplers")(samplers.samplers)
app.command("moderate")(moderate.moderate)
app.command("scan")(scan.scan)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("api", hidden=True)(api.api)
app.add_typer(keys.app, name="keys")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)


def run(arguments: list[str]) -> int:
    """Run a command and turn every error into one message and an exit status: 2 for input, 3 for Safelight itself.

    Args:
        arguments: The arguments after the program's name.
    """
    try:
        return int(app(arguments or ["--help"], prog_name="safelight", standalone_mode=False) or 0)
    except SafelightError as error:
        return _report_error(error, arguments)
    except typer.TyperException as error:
        return _report_error(UsageError(error.format_message()), arguments)
    except typer.Abort:
        return 130
    except Exception as error:  # noqa: BLE001  top level: a bug gets an error code, not a traceback
        from safelight.settings import debug_enabled  # takes 0.2 s to import

        if debug_enabled():
            traceback.print_exc()
        return _report_error(InternalError(f"{type(error).__name__}: {error}"), arguments)


def _report_error(error: SafelightError, arguments: list[str]) -> int:
    if "--json" in arguments:
        print_json({"error": error.to_dict()})
    print_stderr(f"error [{error.code}]: {error.message}")
    if error.hint:
        print_stderr(f"  {error.hint}")
    return error.exit_code
