"""What a new field of a request costs: one declaration in request.py makes it appear everywhere.

The test declares a field in a copy of request.py, beside symbolic links to all other modules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(str(files("safelight")))
SCRIPTS = Path(__file__).parents[2] / "scripts"
FIELD = """
    toy_fraction: Annotated[
        Fraction,
        RequestField(
            form=FormField(step=0.05),
            infotext="Toy fraction",
            cli=CliOption("--toy-fraction", metavar="X"),
            omitted_at_default=True,
        ),
    ] = Field(0.25, description="A field of a test.")
"""
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import render_docs
from typer.testing import CliRunner
from safelight.cli.app import build_app
from safelight.generation.infotext import infotext_from_record, parse_infotext
from safelight.generation.recall.field_builder import AvailableModels, FieldBuilder
from safelight.generation.recall.infotext_fields import set_fields_from_infotext
from safelight.generation.recall.safelight_fields import set_fields_from_record
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import SamplingOptions
from safelight.server.api.native.schemas.jobs import GenerateJob
from safelight.ui.form_fields import form_controls

def record(**fields):
    return ReproductionRecord(
        versions={"safelight": "1", "torch": "2", "diffusers": "0", "transformers": "5"},
        machine={"device": "cpu", "precision": "fp32", "backend": "eager", "threads": 2},
        mode="text-to-image",
        checkpoint={"name": "starter", "family": "sd1", "digest": "a" * 64},
        prompt="a", expanded_prompt="a", seed=1, width=64, height=64, steps=2, sampler="Euler", guidance_scale=4,
        **fields,
    )

def recalled(setter, source):
    builder = FieldBuilder(AvailableModels([], str))
    setter(builder, source)
    return builder.fields.get("toy_fraction")

given, usual = record(toy_fraction=0.5), record()
text = infotext_from_record(given)
print(json.dumps({
    "help": CliRunner().invoke(build_app(), ["generate", "--help"], terminal_width=100).output,
    "control": [vars(each) for each in form_controls() if each.name == "toy_fraction"],
    "infotexts": [text, infotext_from_record(usual)],
    "records": [given.to_dict().get("toy_fraction"), usual.to_dict().get("toy_fraction")],
    "recorded": "toy_fraction" in SamplingOptions.model_fields,
    "reproduced": given.to_request().toy_fraction,
    "from_record": recalled(set_fields_from_record, given),
    "from_infotext": recalled(set_fields_from_infotext, parse_infotext(text)),
    "row": [line for line in render_docs.generation_page().splitlines() if "toy_fraction" in line],
    "api": GenerateJob.model_json_schema()["properties"].get("toy_fraction"),
}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Safelight says of the new field."""
    root = tmp_path_factory.mktemp("patched")
    package = root / "safelight"
    (package / "generation").mkdir(parents=True)
    for path in [*SOURCE.iterdir(), *(SOURCE / "generation").iterdir()]:
        if path.name not in ("generation", "request.py", "__pycache__"):
            (package / path.relative_to(SOURCE)).symlink_to(path)
    text = (SOURCE / "generation" / "request.py").read_text()
    before, mark, after = text.partition("\n\nclass GenerationRequest(")
    (package / "generation" / "request.py").write_text(f"{before}{FIELD}{mark}{after}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SCRIPTS)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root)]), "COLUMNS": "100", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_command_line_has_an_option(shown: dict[str, Any]) -> None:
    assert "--toy-fraction" in shown["help"]
    assert "A field of a test. [default: 0.25]" in " ".join(shown["help"].split())


def test_the_form_has_a_control(shown: dict[str, Any]) -> None:
    [control] = shown["control"]
    ends = (control["minimum"], control["maximum"], control["step"])
    assert (control["control"], ends) == ("slider", (0, 1, 0.05))
    assert (control["initial"], control["unset"], control["group"]) == (0.25, 0.25, "fine")


def test_infotext_and_record_have_it_where_it_is_not_at_its_default(shown: dict[str, Any]) -> None:
    given, usual = shown["infotexts"]
    assert "Toy fraction: 0.5" in given
    assert "Toy fraction" not in usual
    assert shown["records"] == [0.5, None]
    assert shown["recorded"]


def test_it_comes_back_from_both(shown: dict[str, Any]) -> None:
    assert (shown["reproduced"], shown["from_record"], shown["from_infotext"]) == (0.5, 0.5, 0.5)


def test_the_docs_and_the_api_have_it(shown: dict[str, Any]) -> None:
    assert shown["row"] == ["| `toy_fraction` | number, 0 to 1 | `0.25` | A field of a test. |"]
    assert (shown["api"]["default"], shown["api"]["maximum"]) == (0.25, 1)
