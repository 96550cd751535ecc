"""The command line made of the registered commands, and the handling of their errors."""

from __future__ import annotations

import traceback
from typing import Annotated

import typer

from safelight import __version__
from safelight.cli.commands import COMMANDS
from safelight.cli.console import print_json, print_stderr
from safelight.errors import InternalError, SafelightError, UsageError


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"safelight {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of safelight itself."""


def build_app() -> typer.Typer:
    """The command line with every registered command, in the registry's order.

    Raises:
        DuplicateNameError: Two plug-ins register a command of the same name.
    """
    app = typer.Typer(
        name="safelight",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Safelight: a local image studio. Makes and judges pictures on your own machine; "
        "nothing is sent anywhere.",
        epilog="Exit status: 0 nothing flagged, 1 something flagged, 2 wrong input, 3 a failure of Safelight.",
    )
    app.callback()(root)
    for name, command in COMMANDS.items():
        if isinstance(command.run, typer.Typer):
            app.add_typer(command.run, name=name, hidden=command.hidden)
        else:
            app.command(name, cls=command.cls, hidden=command.hidden)(command.run)
    return app


def run(arguments: list[str]) -> int:
    """Run a command and turn every error into one message and an exit status: 2 for input, 3 for Safelight itself.

    Args:
        arguments: The arguments after the program's name.
    """
    try:
        return int(build_app()(arguments or ["--help"], prog_name="safelight", standalone_mode=False) or 0)
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
