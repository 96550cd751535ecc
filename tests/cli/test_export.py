from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.samples import sample_photographs

EXAMPLE = Path(__file__).parents[2] / "examples" / "run_exported_onnx.py"


def test_onnx_runs_without_torch_and_gives_the_same_score(safelight, tmp_path):
    body = safelight("export", "--out", "exported", "--json").json_body
    assert body["files"] == ["classifier.json", "classifier.onnx"]
    assert body["probability_error"] <= 1e-3
    assert body["embedding_error"] <= 1e-3
    photograph = sample_photographs()[0]
    blocked = "import sys; sys.modules['torch'] = sys.modules['safelight'] = None; import runpy; "
    run = f"sys.argv = ['x', {str(tmp_path / 'exported')!r}, {str(photograph)!r}]; runpy.run_path({str(EXAMPLE)!r})"
    done = subprocess.run([sys.executable, "-c", blocked + run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    (line,) = safelight("moderate", photograph, "--exact", "--json").json_lines
    assert scores["nsfw"] == pytest.approx(line["scores"]["nsfw"], abs=1e-3)


def test_the_example_has_at_most_ten_lines():
    code = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(("#", '"""'))]
    assert len(code) <= 10


def test_an_existing_folder_is_kept(safelight, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("keep me")
    ran = safelight("export", "--out", "mine", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "output.exists"
    assert (tmp_path / "mine" / "precious.txt").read_text() == "keep me"


def test_unknown_format(safelight, tmp_path):
    ran = safelight("export", "--format", "caffe", "--out", "x", "--json")
    assert ran.status == 2
    assert "onnx, openvino, torchscript" in ran.json_body["error"]["message"]
    assert not (tmp_path / "x").exists()


def test_overwrite_replaces_an_export_and_nothing_else(safelight, tmp_path):
    assert safelight("export", "--out", "exported").status == 0
    assert safelight("export", "--out", "exported", "--overwrite").status == 0
    (tmp_path / "exported" / "thesis.txt").write_text("years of work")
    refused = safelight("export", "--out", "exported", "--overwrite", "--json")
    assert refused.status == 2
    assert refused.json_body["error"]["code"] == "output.exists"
    assert (tmp_path / "exported" / "thesis.txt").read_text() == "years of work"


def test_the_working_folder_is_never_replaced(safelight, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    assert safelight("export", "--out", ".", "--overwrite").status == 2
    assert (tmp_path / "precious.txt").read_text() == "keep me"
