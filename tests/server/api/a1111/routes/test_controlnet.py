"""The operations of A1111's ControlNet extension and of SD.Next's Control tab."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.api.a1111.routes.test_generate import encode_base64, generate
from tests.server.api.manual_worker import run_worker
from tests.tiny import controls, ip_adapters

from safelight.jobs.queue_service import QueueService

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
ENCODED = encode_base64(PHOTO)


@pytest.fixture
def control_name(service: QueueService, tiny: Callable[[str], Path]) -> str:
    folder = service.settings.home / "controlnet" / "tiny_canny"
    if not folder.exists():
        controls.controlnet(tiny("sd1"), folder)
    return folder.name


def test_units_become_controls_of_the_job(
    client: TestClient, service: QueueService, control_name: str
) -> None:
    unit = {"model": f"{control_name} [01234567]", "image": ENCODED, "module": "canny", "weight": 0.5}
    with run_worker(service) as begun:
        found = generate(client, alwayson_scripts={"controlnet": {"args": [unit]}})
    (echoed,) = found["parameters"]["alwayson_scripts"]["controlnet"]["args"]
    assert echoed == {name: value for name, value in unit.items() if name != "image"}
    (control,) = begun[0].request["control"]
    assert control["model"] == control_name
    assert control["weight"] == 0.5
    assert control["preprocessor"] == {"name": "canny"}
    assert set(control["image"]) == {"blob"}, "the picture travels with the job"


def test_lists_for_pages(client: TestClient, control_name: str) -> None:
    assert client.get("/controlnet/version").json() == {"version": 3}
    assert control_name in client.get("/controlnet/model_list?update=true").json()["model_list"]
    modules = client.get("/controlnet/module_list").json()
    assert modules["module_list"][:1] == ["none"]
    assert [slider["name"] for slider in modules["module_detail"]["canny"]["sliders"]] == ["Low", "High"]
    kinds = client.get("/controlnet/control_types").json()["control_types"]
    assert kinds["Canny"]["default_option"] == "canny"
    assert kinds["Canny"]["default_model"] == control_name
    assert kinds["All"]["module_list"] == modules["module_list"]
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 8}


def test_pictures_are_preprocessed(client: TestClient) -> None:
    sent = {
        "controlnet_module": "canny",
        "controlnet_input_images": [ENCODED],
        "controlnet_processor_res": 64,
    }
    found = client.post("/controlnet/detect", json=sent).json()
    assert found["info"] == "Success"
    edges = Image.open(io.BytesIO(base64.b64decode(found["images"][0])))
    assert edges.size == (64, 64)
    body = {"model": "Canny", "image": ENCODED, "params": {"low": 10}}
    single = client.post("/sdapi/v1/preprocess", json=body).json()
    assert single["model"] == "Canny"
    assert Image.open(io.BytesIO(base64.b64decode(single["image"]))).size == (64, 64)
    listed = {each["name"]: each for each in client.get("/sdapi/v1/preprocessors").json()}
    assert listed["canny"] == {"name": "canny", "group": "Canny", "params": {"low": 100, "high": 200}}


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("controlnet/detect", {"controlnet_module": "none", "controlnet_input_images": [ENCODED]}, 422),
        ("controlnet/detect", {"controlnet_module": "canny", "controlnet_input_images": []}, 422),
        ("controlnet/detect", {"controlnet_module": "nope", "controlnet_input_images": [ENCODED]}, 404),
        ("sdapi/v1/preprocess", {"model": "nope", "image": ENCODED}, 404),
        ("sdapi/v1/control", {"control": [{"model": "nope"}]}, 404),
        ("sdapi/v1/control", {"control": [{"model": ""}]}, 422),
        ("sdapi/v1/control", {"unit_type": "ip"}, 422),
    ],
)
def test_what_cannot_be_done_is_an_error(client: TestClient, path: str, sent: Any, status: int) -> None:
    response = client.post(f"/{path}", json=sent)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "detail", "errors"}


def test_sd_nexts_control(client: TestClient, service: QueueService, control_name: str) -> None:
    sent = {
        "prompt": "a cat",
        "inputs": [ENCODED],
        "control": [{"process": "Canny", "model": control_name, "strength": 0.4, "end": 0.5}],
        "width_before": 64,
        "height_before": 64,
    }
    with run_worker(service) as begun:
        response = client.post("/sdapi/v1/control", json=sent)
        assert response.status_code == 200, response.text
        again = client.post("/sdapi/v1/control", json=sent | {"input_type": 1, "denoising_strength": 0.5})
        assert again.status_code == 200, again.text
        look = {
            "prompt": "a cat",
            "unit_type": "reference",
            "inputs": [ENCODED],
            "control": [{"strength": 0.5}],
        }
        assert client.post("/sdapi/v1/control", json=look).status_code == 200
    assert begun[2].request["control"][0]["kind"] == "reference"
    found = response.json()
    assert len(found["images"]) == 1
    assert len(found["processed"]) == 1
    (control,) = begun[0].request["control"]
    assert control["weight"] == 0.4
    assert control["end"] == 0.5
    assert begun[0].request["width"] == 64
    assert "init_image" not in begun[0].request
    assert begun[1].request["strength"] == 0.5
    assert set(begun[1].request["init_image"]) == {"blob"}


@pytest.fixture
def adapter_name(service: QueueService, tiny: Callable[[str], Path]) -> str:
    path = service.settings.home / "ip_adapters" / "ip-adapter_sd15.safetensors"
    if not path.exists():
        ip_adapters.unet_adapter(tiny("sd1"), path)
        ip_adapters.clip_vision(service.settings.home / "image_encoders" / "tiny-clip")
    return path.stem


def test_ip_adapters_by_units_and_by_sd_nexts_field(
    client: TestClient, service: QueueService, adapter_name: str
) -> None:
    assert client.get("/sdapi/v1/ip-adapters").json() == [adapter_name]
    kinds = client.get("/controlnet/control_types").json()["control_types"]
    assert kinds["IP-Adapter"]["default_model"] == adapter_name
    assert kinds["IP-Adapter"]["module_list"][:2] == ["none", "ip-adapter-auto"]
    assert "ip-adapter_clip_sd15" in client.get("/controlnet/module_list").json()["module_list"]
    unit = {"model": adapter_name, "image": ENCODED, "module": "ip-adapter_clip_sd15", "control_mode": 1}
    item = {"adapter": "Base", "images": [ENCODED] * 2, "masks": [ENCODED] * 2, "scale": 0.7, "end": 0.8}
    with run_worker(service) as begun:
        generate(client, alwayson_scripts={"controlnet": {"args": [unit]}})
        found = generate(client, ip_adapter=[item, {"adapter": "None"}])
        sent = {
            "prompt": "a cat",
            "width": 64,
            "height": 64,
            "ip_adapter": [{"adapter": adapter_name, "image": ENCODED}],
        }
        assert client.post("/sdapi/v1/control", json=sent).status_code == 200
    (control,) = begun[0].request["control"]
    assert (control["kind"], control["model"]) == ("ip-adapter", adapter_name)
    first, second = begun[1].request["control"]
    assert first == second
    assert (first["kind"], first["model"], first["weight"], first["end"]) == (
        "ip-adapter",
        adapter_name,
        0.7,
        0.8,
    )
    assert set(first["image"]) == set(first["mask"]) == {"blob"}
    assert "images" not in found["parameters"]["ip_adapter"][0]
    assert begun[2].request["control"][0]["weight"] == 0.5, "SD.Next's default"
    for wrong, status in (
        ({**item, "crop": True}, 422),
        ({**item, "masks": [ENCODED]}, 422),
        ({**item, "images": []}, 422),
        ({**item, "adapter": "Light"}, 404),
    ):
        response = client.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "ip_adapter": [wrong]})
        assert response.status_code == status, response.text
