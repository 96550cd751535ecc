"""The command line: one file per command; heavy modules are imported inside the commands that need them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``safelight`` and exit with the documented status."""
    from safelight.cli.app import run

    sys.exit(run(sys.argv[1:]))
