from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from safelight.samples import sample_photographs

KEYS = {
    "path",
    "decision",
    "scores",
    "unsafe",
    "embedding_dim",
    "classifier",
    "policy",
    "frame",
    "tile",
    "notes",
    "error",
}


def test_json_line_for_each_picture_in_order(process):
    photographs = sample_photographs()
    ran = process("moderate", *photographs, "--json")
    assert ran.status == 0
    assert [line["path"] for line in ran.json_lines] == [str(path) for path in photographs]
    for line in ran.json_lines:
        assert set(line) == KEYS
        assert line["decision"] == "allow"
        assert set(line["scores"]) == {"sfw", "nsfw"}
        assert abs(sum(line["scores"].values()) - 1) < 1e-5
        assert line["unsafe"] == line["scores"]["nsfw"]
        assert line["embedding_dim"] == 1024
        assert line["classifier"]["name"] == "open-nsfw"
        assert line["policy"] == {"name": "standard", "version": "1", "digest": line["policy"]["digest"]}


def test_a_bad_file_gets_its_line_and_the_run_continues(safelight, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear reader, this is no picture.")
    good = sample_photographs()[0]
    ran = safelight("moderate", "letter.jpg", "missing.png", good, "--json")
    first, second, third = ran.json_lines
    assert first["decision"] == second["decision"] == "error"
    assert first["error"]["code"] == "image.not_recognised"
    assert second["error"]["code"] == "file.missing"
    assert set(first) == set(third) == KEYS
    assert third["decision"] == "allow"
    assert ran.status == 2


def test_flagged_images_exit_with_one_whatever_else_failed(process, nothing_goes):
    ran = process("moderate", sample_photographs()[0], "missing.png", "--policy", nothing_goes, "--json")
    assert ran.status == 1
    assert ran.json_lines[0]["decision"] == "block"
    assert ran.json_lines[0]["policy"]["name"] == "nothing-goes"
    assert ran.json_lines[0]["policy"]["version"] == "7"


def test_a_folder_and_standard_input(safelight, tmp_path):
    shutil.copy(sample_photographs()[1], tmp_path / "one.jpg")
    ran = safelight("moderate", tmp_path, "-", "--json", stdin=sample_photographs()[1].read_bytes())
    folder, stdin = ran.json_lines
    assert folder["path"].endswith("one.jpg")
    assert stdin["path"] == "-"
    assert stdin["scores"] == folder["scores"]


def test_all_files_of_a_folder_are_judged(safelight, tmp_path):
    shutil.copy(sample_photographs()[1], tmp_path / "thumbs.db")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "page").write_bytes(b"%PDF-1.7")
    ran = safelight("moderate", tmp_path, "--json")
    page, picture = ran.json_lines
    assert (page["error"]["code"], picture["decision"], ran.status) == ("image.format", "allow", 2)
    assert "Not judged: not a picture (1) (--list-skipped names them).\n" in ran.err
    ran = safelight("moderate", tmp_path, "--only-known")
    assert (ran.out, ran.status) == ("", 0)
    assert "Not judged: other name (3) (--list-skipped names them).\nNo pictures found.\n" in ran.err


def test_embeddings_only_on_request(safelight):
    (line,) = safelight("moderate", sample_photographs()[0], "--embeddings", "--json").json_lines
    assert len(line["embedding"]) == 1024


def test_heat_maps_with_equal_names_are_kept_apart(safelight, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(sample_photographs()[0], tmp_path / name / "same.jpg")
    ran = safelight("moderate", "a/same.jpg", "b/same.jpg", "--explain", "heat")
    assert ran.status == 0
    assert sorted(p.name for p in (tmp_path / "heat").iterdir()) == [
        "same.jpg-2.heat.png",
        "same.jpg.heat.png",
    ]
    with Image.open(tmp_path / "heat" / "same.jpg.heat.png") as heat:
        assert heat.format == "PNG"
        assert float(heat.text["unsafe"]) < 0.1


def test_text_output(safelight):
    ran = safelight("moderate", sample_photographs()[0])
    assert ran.out.startswith("allow")
    assert "astronaut.jpg" in ran.out
    assert "Loading open-nsfw" in ran.err


def test_tiles_are_in_the_verdict(safelight, tmp_path):
    galaxies, astronaut = (Image.open(sample_photographs()[i]) for i in (3, 0))
    wide = galaxies.resize((1800, 300))
    wide.paste(astronaut.resize((300, 300)), (1500, 0))
    wide.save(tmp_path / "wide.png")
    (plain,) = safelight("moderate", "wide.png", "--json").json_lines
    (tiled,) = safelight("moderate", "wide.png", "--tiles", "--json").json_lines
    assert plain["tile"] is None
    assert tiled["tile"] == 5
    assert tiled["unsafe"] > plain["unsafe"]


def test_a_model_that_is_not_pulled_names_the_pull_command(safelight):
    ran = safelight("moderate", "-c", "nsfw-image-detection-384", "x.jpg", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "model.not_pulled"
    assert "safelight models pull nsfw-image-detection-384" in ran.json_body["error"]["hint"]


def test_pickles_are_refused_by_name(safelight, tmp_path: Path):
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04.")
    ran = safelight("moderate", "-c", "./model.ckpt", "x.jpg", "--json")
    assert ran.json_body["error"]["code"] == "model.pickle_refused"


def test_a_heat_map_of_standard_input(safelight, tmp_path):
    photograph = sample_photographs()[0].read_bytes()
    assert safelight("moderate", "-", "--explain", "heat", stdin=photograph).status == 0
    assert [path.name for path in (tmp_path / "heat").iterdir()] == ["stdin.heat.png"]


def test_standard_input_is_limited(safelight):
    ran = safelight("moderate", "-", "--json", stdin=b"x" * 2000, SAFELIGHT_MAX_BYTES="1000")
    assert ran.json_body["error"]["code"] == "image.too_many_bytes"


def test_names_too_long_to_be_files_get_their_line(safelight):
    ran = safelight("moderate", "x" * 300, sample_photographs()[0], "--json")
    assert [line["decision"] for line in ran.json_lines] == ["error", "allow"]
    assert ran.status == 2


def test_a_closed_pipe_is_not_a_flagged_image(environment, tmp_path):
    shell = f"'{sys.executable}' -m safelight moderate '{sample_photographs()[0].parent}' --json | head -c 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", f"{shell}; exit ${{PIPESTATUS[0]}}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode in (0, 141)  # 0 where all was written before the reader closed the pipe
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
