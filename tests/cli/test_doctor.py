from __future__ import annotations

from pathlib import Path


def test_all_is_well(safelight):
    ran = safelight("doctor", "--json")
    assert ran.status == 0
    assert {check["state"] for check in ran.body["checks"]} <= {"ok", "warning"}
    assert ran.body["machine"]["cores"] >= 1
    assert all(ran.body["packages"].values())
    assert ran.body["settings"]["backend"] == "onnxruntime"


def test_a_data_directory_that_cannot_be_written_is_broken(safelight, tmp_path: Path):
    (tmp_path / "file").write_text("")
    ran = safelight("doctor", "--json", SAFELIGHT_HOME=str(tmp_path / "file"))
    assert ran.status == 3
    states = {check["name"]: check["state"] for check in ran.body["checks"]}
    assert states["data directory"] == "broken"


def test_the_probe_names_every_way_and_its_error(safelight):
    trials = safelight("doctor", "--probe", "--json").body["probe"]
    ways = {(trial["plan"]["backend"], trial["plan"]["precision"]) for trial in trials}
    assert ways == {("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")}
    exact = next(trial for trial in trials if trial["plan"]["backend"] == "onnxruntime")
    assert exact["probability_error"] == 0
    assert exact["milliseconds"] > 0


def test_words_for_people(safelight):
    ran = safelight("doctor")
    assert "classifier: open-nsfw runs" in ran.out


def test_a_classifier_that_is_not_there_is_one_finding_among_others(safelight):
    ran = safelight("doctor", "--probe", "--json", SAFELIGHT_CLASSIFIER="nosuch")
    assert ran.status == 3
    states = {check["name"]: check["state"] for check in ran.body["checks"]}
    assert states["classifier"] == "broken"
    assert states["packages"] == "ok"
    assert ran.body["probe"] == []
