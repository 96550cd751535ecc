"""A command of a plug-in is in --help, and runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated

import pytest
import typer
from tests.plugins.conftest import RunCommand

from safelight.cli.commands import COMMANDS, Command
from safelight.cli.console import JsonOption, print_json
from safelight.errors import RequestError, UsageError
from safelight.plugins import PLUGINS, Registry, hookimpl


def greet(name: Annotated[str, typer.Argument(metavar="NAME")], json: JsonOption = False) -> None:
    """Greet somebody."""
    if name == "nobody":
        raise RequestError("Nobody cannot be greeted.")
    print_json({"greeted": name})


class Toy:
    """A plug-in with one command, or a group of commands."""

    def __init__(self, name: str = "greet", *, group: bool = False) -> None:
        self.name = name
        self.run: typer.Typer | object = greet
        if group:
            self.run = typer.Typer(help="Commands about people.")
            self.run.command("greet")(greet)
            self.run.command("forget")(greet)

    @hookimpl
    def register_commands(self, registry: Registry[Command]) -> None:
        registry.register(self.name, Command(self.run))  # type: ignore[arg-type]


def test_help_lists_it_and_it_runs(command: RunCommand) -> None:
    assert "Greet somebody." not in command("--help")[1]
    with PLUGINS.registered(Toy(), "toy"):
        status, listed = command("--help")
        assert status == 0
        assert listed.index("Generate pictures") < listed.index("Greet somebody.")
        assert command("greet", "Ada") == (0, '{"greeted": "Ada"}\n')
    assert command("greet", "Ada")[0] == UsageError.exit_code


def test_its_errors_are_reported_as_others_are(command: RunCommand) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        status, out = command("greet", "nobody", "--json")
    assert (status, json.loads(out)["error"]["code"]) == (2, "request")


def test_a_group_has_its_own_help(command: RunCommand) -> None:
    with PLUGINS.registered(Toy("people", group=True), "toy"):
        assert "Commands about people." in command("--help")[1]
        assert command("people", "greet", "Ada")[0] == 0


def test_a_built_in_name_is_taken(command: RunCommand) -> None:
    with PLUGINS.registered(Toy("scan"), "toy"):
        status, out = command("doctor", "--json")
    assert (status, json.loads(out)["error"]["code"]) == (3, "plugin.duplicate")


def test_an_unknown_command_has_near_names() -> None:
    with pytest.raises(UsageError) as caught:
        COMMANDS["genrate"]
    assert caught.value.hint.startswith("Did you mean generate")


def test_help_fills_no_other_registry() -> None:
    code = (
        "import sys, safelight.cli.app as app; app.run(['--help']);"
        "sys.exit(any(name.startswith(('safelight.generation', 'safelight.models', 'safelight.jobs'))"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
