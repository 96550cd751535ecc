"""The documentation agrees with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.generation.fields import request_fields
from safelight.generation.request import DEFAULT_STRENGTH, GenerationRequest, Mode

REPOSITORY = Path(__file__).parents[1]


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/render_docs.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "moderation" / "index.html").is_file()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_to_existing_targets(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (REPOSITORY / page).read_text()):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target


def test_every_decision_is_in_the_navigation():
    menu = (REPOSITORY / "mkdocs.yml").read_text()
    for path in (REPOSITORY / "docs" / "decisions").glob("*.md"):
        assert f"decisions/{path.name}" in menu


def test_every_bench_command_is_named_in_the_docs():
    text = (REPOSITORY / "docs" / "performance.md").read_text()
    for path in (REPOSITORY / "bench").glob("*.py"):
        assert f"bench/{path.name}" in text, path.name


def test_every_field_of_a_request_is_in_the_docs():
    text = (REPOSITORY / "docs" / "generation.md").read_text()
    for field in request_fields(GenerationRequest):
        assert f"| `{field.path}` |" in text, field.path


def test_the_default_strengths_in_the_docs_are_those_of_the_code():
    strengths = f"{DEFAULT_STRENGTH[Mode.IMAGE]:g}, and {DEFAULT_STRENGTH[Mode.INPAINT]:g} with a mask"
    assert f"when not given, {strengths}" in (REPOSITORY / "docs" / "generation.md").read_text()
