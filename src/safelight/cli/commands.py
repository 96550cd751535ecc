"""What a command is, and the registry of commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import typer
from typer.core import TyperCommand

from safelight.errors import UsageError
from safelight.plugins import Registry


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands.

    The module that has it is imported for ``safelight --help`` too, so what is slow to import is imported in the
    function.

    Args:
        run: A function as typer takes it, whose docstring is the help; or a ``Typer`` with subcommands.
        hidden: Whether --help leaves it out.
        cls: The class of a function's command; the usual one if None.
    """

    run: Callable[..., None] | typer.Typer
    hidden: bool = False
    cls: type[TyperCommand] | None = None


COMMANDS = Registry[Command]("command", "register_commands", UsageError, ("safelight.cli.builtin",))
"""Every command by its name, in the order of --help."""
