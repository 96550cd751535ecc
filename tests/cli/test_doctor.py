from __future__ import annotations

import re
from pathlib import Path

import pytest

from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.models.checkpoints import discovery
from safelight.runtime.compilation.speed import Speeds
from safelight.settings import Settings


def test_everything_works(safelight):
    ran = safelight("doctor", "--json")
    assert ran.status == 0
    assert {check["state"] for check in ran.json_body["checks"]} <= {"ok", "warning"}
    assert ran.json_body["machine"]["cores"] >= 1
    assert all(ran.json_body["packages"].values())
    assert {"torch", "diffusers", "transformers"} <= ran.json_body["packages"].keys()
    assert ran.json_body["settings"]["backend"] == "onnxruntime"
    found = {check["name"]: check["detail"] for check in ran.json_body["checks"]}
    assert re.fullmatch(r"on \S+ in (fp32|fp16), \d+ threads?", found["drawing"])
    assert re.match(
        r"eager runs the networks, as the setting .*; \d+ compiled forms? on disk", found["backend"]
    )
    assert re.match(r"Safelight's starter, \d+ MB in fp16, ", found["checkpoint starter"])
    assert re.match(
        r"starter at 128x128 fits: at most 0\.\d+ GB of .* on \S+ in fp\d+; all networks", found["memory"]
    )
    plan = ran.json_body["plan"]
    assert plan["fits"] is True
    assert [stage["name"] for stage in plan["stages"]] == ["text_encoder", "denoise", "decode"]
    cpu = ran.json_body["devices"][0]
    assert (cpu["name"], cpu["precisions"]) == ("cpu", ["fp32", "bf16", "fp16"])
    assert 0 < cpu["free"] <= cpu["total"]


def test_a_data_directory_that_is_not_writable_is_broken(inside, tmp_path: Path):
    (tmp_path / "file").write_text("")
    ran = inside("doctor", "--json", SAFELIGHT_HOME=str(tmp_path / "file"))
    assert ran.status == 3
    states = {check["name"]: check["state"] for check in ran.json_body["checks"]}
    assert states["data directory"] == "broken"


@pytest.mark.usefixtures("few_probe_images")
def test_the_probe_lists_every_backend_and_its_error(safelight):
    trials = safelight("doctor", "--probe", "--json").json_body["probe"]
    ways = {(trial["plan"]["backend"], trial["plan"]["precision"]) for trial in trials}
    assert ways == {("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")}
    exact = next(trial for trial in trials if trial["plan"]["backend"] == "onnxruntime")
    assert exact["probability_error"] == 0
    assert exact["milliseconds"] > 0


def test_a_paused_queue_is_a_warning(inside, tmp_path: Path):
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    service = QueueService.open(settings)
    service.store.pause("anna")
    service.close()
    checks = inside("doctor", "--json", SAFELIGHT_HOME=str(tmp_path)).json_body["checks"]
    (check,) = (check for check in checks if check["name"] == "queue")
    assert check["state"] == "warning"
    assert check["detail"].startswith("paused by anna since ")


def test_text_output(inside):
    ran = inside("doctor")
    assert "classifier: open-nsfw runs" in ran.out
    assert "drawing: on cpu in fp32" in ran.out
    assert "unet on the device" in ran.out
    assert re.search(
        r"^device  cpu: .* GB free; .* \(runs denoiser, text_encoders, vae\)$", ran.out, re.MULTILINE
    )


def test_the_cpu_in_the_place_of_a_device_is_a_warning(inside):
    ran = inside("doctor", "--json", SAFELIGHT_DEVICE="xpu", SAFELIGHT_DEVICE_FALLBACK="true")
    found = {check["name"]: (check["state"], check["detail"]) for check in ran.json_body["checks"]}
    assert found["drawing"][0] == "warning"
    assert "The CPU takes its place, as the setting device_fallback permits." in found["drawing"][1]
    assert found["memory"][0] == "ok"


def test_a_checkpoint_that_does_not_fit_is_a_warning(inside):
    limits = {"SAFELIGHT_MEMORY_BUDGET": str(10**6), "SAFELIGHT_MEMORY_STEPS": "[]"}
    ran = inside("doctor", "--json", SAFELIGHT_DEVICE="cpu", **limits)
    (memory,) = [check for check in ran.json_body["checks"] if check["name"] == "memory"]
    assert memory["state"] == "warning"
    assert "does not fit: at most" in memory["detail"]
    assert ran.json_body["plan"]["fits"] is False


def test_a_missing_classifier_is_one_finding_among_others(inside):
    ran = inside("doctor", "--probe", "--json", SAFELIGHT_CLASSIFIER="nosuch")
    assert ran.status == 3
    states = {check["name"]: check["state"] for check in ran.json_body["checks"]}
    assert states["classifier"] == "broken"
    assert states["packages"] == "ok"
    assert ran.json_body["probe"] == []


def test_the_generation_device_and_precision(inside, tiny):
    ran = inside("doctor", "--json", SAFELIGHT_DEVICE="cpu", SAFELIGHT_GENERATION_PRECISION="bf16")
    found = {check["name"]: check["detail"] for check in ran.json_body["checks"]}
    assert found["drawing"].startswith("on cpu in bf16, ")
    assert found[f"checkpoint {tiny('sd1')}"].endswith(str(tiny("sd1")))


@pytest.mark.parametrize(
    ("level", "precision", "why"),
    [("balanced", "bf16", "2.5 times as fast"), ("exact", "fp32", "exact says")],
)
def test_the_precision_is_that_of_a_picture_of_the_level(
    level: str, precision: str, why: str, inside, monkeypatch: pytest.MonkeyPatch
):
    measured = Speeds({"eager fp32": 200.0, "eager bf16": 500.0}, 20.0, 2)
    monkeypatch.setattr("safelight.runtime.compilation.speed.known_speeds", lambda _: measured)
    ran = inside("doctor", "--json", SAFELIGHT_DEVICE="cpu", SAFELIGHT_GENERATION_QUALITY=level)
    found = {check["name"]: check["detail"] for check in ran.json_body["checks"]}
    assert found["drawing"].startswith(f"on cpu in {precision}, ")
    assert why in found["precision"]
    assert f" on cpu in {precision}; all networks" in found["memory"]
    assert ran.json_body["plan"]["precision"] == precision


def test_a_missing_device_or_checkpoint_is_broken(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "STARTER_PATH", tmp_path / "no-starter")
    ran = inside("doctor", "--json", SAFELIGHT_DEVICE="nonsense", SAFELIGHT_CHECKPOINT="a/nowhere")
    assert ran.status == 3
    found = {check["name"]: (check["state"], check["detail"]) for check in ran.json_body["checks"]}
    assert [found[name][0] for name in ("drawing", "checkpoint starter", "checkpoint a/nowhere")] == [
        "broken"
    ] * 3
    assert "There is no device 'nonsense'" in found["drawing"][1]
    assert "did not come with this installation" in found["checkpoint starter"][1]
