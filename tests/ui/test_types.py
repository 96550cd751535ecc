"""The types of the studio's scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_types_of_a_request_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/render_types.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
