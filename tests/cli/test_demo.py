from __future__ import annotations

import json
import shutil

from PIL import Image

from safelight.samples import sample_photographs


def test_the_tour_leaves_pictures_to_look_at(safelight, tmp_path):
    ran = safelight("demo")
    folder = tmp_path / "safelight-demo"
    assert ran.status == 0
    assert "astronaut.jpg" in ran.out
    assert len(list((folder / "heat").glob("*.png"))) == len(sample_photographs())
    with Image.open(folder / "verdicts.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000
    rows = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    assert {row["decision"] for row in rows} == {"allow"}


def test_own_pictures_are_judged_too(safelight, tmp_path):
    (tmp_path / "mine").mkdir()
    shutil.copy(sample_photographs()[0], tmp_path / "mine" / "holiday.jpg")
    (tmp_path / "mine" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    body = safelight("demo", tmp_path / "mine", "--out", "tour", "--json").body
    assert body["folder"] == "tour"
    own = {row["path"].rsplit("/", 1)[-1]: row["decision"] for row in body["verdicts"]}
    assert own["holiday.jpg"] == "allow"
    assert own["torn.jpg"] == "error"


def test_a_large_folder_shows_only_the_most_remarkable(safelight, tmp_path):
    (tmp_path / "mine").mkdir()
    for number in range(30):
        Image.new("RGB", (64, 64), (number * 8, 90, 90)).save(tmp_path / "mine" / f"{number:02}.png")
    ran = safelight("demo", tmp_path / "mine")
    assert "and 11 less remarkable ones" in ran.out
    assert len(list((tmp_path / "safelight-demo" / "heat").iterdir())) == 24
    assert len((tmp_path / "safelight-demo" / "verdicts.jsonl").read_text().splitlines()) == 35
