"""The command line: one file for each command; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``safelight`` and leave with the exit status of the contract."""
    from safelight.cli.app import run

    sys.exit(run(sys.argv[1:]))
