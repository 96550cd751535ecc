from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.api.manual_worker import generate_images, run_worker
from tests.tiny.checkpoint_files import write_vae

from safelight.errors import MemoryBudgetError
from safelight.images import DecodeLimits
from safelight.images.metadata.file_metadata import read_metadata
from safelight.jobs.job import Job, JobState
from safelight.jobs.queue_service import QueueService
from safelight.moderation.policy import Decision

LIMITS = DecodeLimits()


def encode_base64(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


RED = encode_base64(Image.new("RGB", (64, 32), "red"))


def generate(client: TestClient, path: str = "txt2img", **body: Any) -> dict[str, Any]:
    response = client.post(f"/sdapi/v1/{path}", json={"prompt": "a cat", **body})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found | {"info": json.loads(found["info"])}


def assert_refused(client: TestClient, path: str = "txt2img", **body: Any) -> tuple[int, dict[str, str]]:
    response = client.post(f"/sdapi/v1/{path}", json={"prompt": "a cat", **body})
    assert set(response.json()) == {"error", "detail", "errors"}, "the shape A1111's clients read"
    return response.status_code, response.json()


def test_pictures_come_with_their_info(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        found = generate(client, seed=5, batch_size=2, width=64, height=32)
    assert begun[0].request == {
        "prompt": "a cat",
        "seed": 5,
        "count": 2,
        "width": 64,
        "height": 32,
        "ignore_unsupported": True,
    }
    assert [Image.open(io.BytesIO(base64.b64decode(text))).size for text in found["images"]] == [(64, 32)] * 2
    first = base64.b64decode(found["images"][0])
    assert read_metadata(first, limits=LIMITS).infotext == found["info"]["infotexts"][0]
    assert found["info"]["all_seeds"] == [5, 6]
    assert (found["parameters"]["prompt"], found["parameters"]["steps"]) == ("a cat", 4)


def test_a_batch_with_a_subseed_is_about_one_seed(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        info = generate(client, seed=7, subseed=1, subseed_strength=0.2, batch_size=4)["info"]
    assert (info["all_seeds"], info["all_subseeds"]) == ([7] * 4, [1, 2, 3, 4])


def test_ignored_fields_are_reported(client: TestClient, service: QueueService) -> None:
    scripts = {"Sampler": {"args": [4, "Euler", "Automatic"]}, "Comments": {"args": []}}
    sent = {"image_similarity": 0.4, "sampler": "Euler", "distilled_cfg_scale": 3.5}
    with run_worker(service):
        found = generate(client, steps=4, sampler_name="Euler", alwayson_scripts=scripts, **sent)
    assert found["info"]["ignored_fields"] == [
        "image_similarity",
        "sampler",
        "alwayson_scripts.Sampler",
        "distilled_cfg_scale",
    ]


@pytest.mark.parametrize(
    "name", ["prompt", "override_settings", "alwayson_scripts", "styles", "seed", "steps", "enable_hr"]
)
def test_nulls_are_accepted(client: TestClient, service: QueueService, name: str) -> None:
    with run_worker(service):
        generate(client, **{name: None})


def test_an_empty_mask_is_no_mask(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        generate(client, "img2img", init_images=[RED], mask="")
    assert "mask" not in begun[0].request


def test_a_random_seed_is_chosen_once_and_stored(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        found = generate(client, seed=-1)
    assert found["info"]["seed"] == begun[0].request["seed"]


def test_without_send_images_they_are_only_in_the_gallery(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        found = generate(client, send_images=False)
    assert found["images"] == []
    (name,) = found["info"]["picture_ids"]
    assert client.get(f"/v1/gallery/{name}/file").status_code == 200


def test_blocked_pictures_are_left_out_and_reported(client: TestClient, service: QueueService) -> None:
    with run_worker(service, generate_images(Decision.BLOCK, Decision.ALLOW)):
        found = generate(client, seed=5, n_iter=2)
    assert (len(found["images"]), found["info"]["all_seeds"], found["info"]["blocked_seeds"]) == (1, [6], [5])


def test_if_all_are_blocked_the_response_is_an_error(client: TestClient, service: QueueService) -> None:
    with run_worker(service, generate_images(Decision.BLOCK)):
        status, body = assert_refused(client)
    assert (status, body["error"]) == (403, "blocked")
    assert "0.9000" in body["detail"]


def test_a_failed_job_responds_with_its_error(client: TestClient, service: QueueService) -> None:
    def fail(service: QueueService, job: Job) -> None:
        service.store.fail(job, MemoryBudgetError("It would be too large."))

    with run_worker(service, fail):
        status, body = assert_refused(client)
    assert (status, body["error"], body["detail"]) == (413, "memory.budget", "It would be too large.")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"restore_faces": True}, 422, "request.field"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny"}]}}}, 404, "control.missing"),
        ({"sampler_name": "Best"}, 404, "sampler.unknown"),
        ({"enable_hr": True, "hr_upscaler": "4x-UltraSharp"}, 404, "upscaler.unknown"),
        ({"sd_model_checkpoint": "/etc/passwd"}, 404, "checkpoint.missing"),
        ({"override_settings": {"sd_model_checkpoint": "../../x"}}, 404, "checkpoint.missing"),
        ({"override_settings": {"outdir_samples": "/tmp", "jpeg_quality": 0}}, 422, "request.field"),
        ({"steps": 0}, 422, "request.invalid"),
        ({"width": 8, "height": 64}, 422, "request.invalid"),
        ({"batch_size": 40, "n_iter": 40}, 422, "request.invalid"),
        ({"cfg_scale": "much"}, 422, "request.invalid"),
    ],
)
def test_unsupported_requests_are_refused_before_a_job_is_queued(
    standing: TestClient, body: dict[str, Any], status: int, code: str
) -> None:
    found, told = assert_refused(standing, **body)
    assert (found, told["error"]) == (status, code)
    assert standing.get("/v1/jobs").json()["jobs"] == []


def test_override_settings_apply_to_one_request_or_persist(client: TestClient, service: QueueService) -> None:
    once = {"override_settings": {"CLIP_stop_at_last_layers": 2}}
    with run_worker(service) as begun:
        generate(client, **once)
        generate(client)
        generate(client, **once, override_settings_restore_afterwards=False)
        generate(client)
    assert [job.request.get("clip_skip", 1) for job in begun] == [2, 1, 2, 2]


def test_pictures_have_the_format_of_the_clients_options(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        found = generate(client, override_settings={"samples_format": "jpg", "jpeg_quality": 80})
    data = base64.b64decode(found["images"][0])
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert (read_metadata(data, limits=LIMITS).infotext or "").startswith("a cat")


def test_a_task_is_found_by_its_id(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        found = generate(client, force_task_id="task(txt2img-1)")
    answer = client.post("/internal/progress", json={"id_task": "task(txt2img-1)"}).json()
    assert (answer["completed"], answer["job"]) == (True, found["info"]["job_id"])


def test_img2img_accepts_pictures_as_clients_send_them(client: TestClient, service: QueueService) -> None:
    mask = encode_base64(Image.new("L", (64, 32), 255))
    with run_worker(service) as begun:
        found = generate(client, "img2img", init_images=[f"data:image/png;base64,{RED}"], mask=mask)
        generate(client, "img2img", init_images=[RED], include_init_images=True)
    assert (begun.input_image(0, "init_image").size, begun.input_image(0, "mask").mode) == ((64, 32), "L")
    assert begun[0].request["strength"] == 0.75
    assert begun[0].request["inpaint"] == {
        "blur": 4,
        "padding": 0,
        "only_masked": True,
        "fill": "blur",
        "invert": False,
    }
    assert found["parameters"]["init_images"] is None
    assert "mask" not in begun[1].request


def test_img2img_shows_an_edit_checkpoint_the_pictures(
    client: TestClient, service: QueueService, tiny: Callable[[str], Path]
) -> None:
    (service.settings.home / "checkpoints").mkdir(exist_ok=True)
    for name in ("flux2", "sd1-instruct-pix2pix"):
        (service.settings.home / "checkpoints" / name).symlink_to(tiny(name))
    with run_worker(service) as begun:
        several = generate(
            client,
            "img2img",
            init_images=[RED, RED],
            denoising_strength=0.4,
            override_settings={"sd_model_checkpoint": "flux2"},
        )
        generate(
            client,
            "img2img",
            init_images=[RED],
            image_cfg_scale=2.0,
            override_settings={"sd_model_checkpoint": "sd1-instruct-pix2pix"},
        )
    assert len(begun[0].request["references"]) == 2  # type: ignore[arg-type]
    assert begun[0].request.keys().isdisjoint({"init_image", "strength"})
    assert "denoising_strength" in several["info"]["ignored_fields"]
    assert begun[1].request["image_guidance_scale"] == 2.0
    status, refused = assert_refused(client, "img2img", init_images=[RED, RED])
    assert (status, "one picture at a time" in str(refused)) == (422, True)


def test_img2img_resizes_the_picture(client: TestClient, service: QueueService) -> None:
    with run_worker(service) as begun:
        generate(client, "img2img", init_images=[RED], width=32, height=64, resize_mode=2)
    assert begun.input_image(0, "init_image").size == (32, 64)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"init_images": []}, 422),
        ({"init_images": [RED, RED]}, 422),
        ({"init_images": ["no base64!"]}, 422),
        ({"init_images": [base64.b64encode(b"no picture").decode()]}, 415),
        ({"init_images": ["http://127.0.0.1/cat.png"]}, 422),
        ({"init_images": [RED], "resize_mode": 3}, 422),
        ({"init_images": [RED], "mask": RED, "inpainting_fill": 3}, 422),
        ({}, 422),
    ],
)
def test_img2img_refuses_invalid_pictures(standing: TestClient, body: dict[str, Any], status: int) -> None:
    assert assert_refused(standing, "img2img", **body)[0] == status
    assert standing.get("/v1/jobs").json()["jobs"] == []


def test_the_job_continues_after_a_disconnect_and_is_stored(
    client: TestClient, service: QueueService
) -> None:
    with run_worker(service):
        found = generate(client)
    job = service.store.get(found["info"]["job_id"])
    assert (job.state, job.owner) == (JobState.SUCCEEDED, "local")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"prompt": "\\ud800"}', 422),
        (b'{"prompt": "x", "\\ud800": 1}', 422),
        (b'{"prompt": "x", "freeu_\\ud800": 1, "freeu_enabled": true}', 422),
        (b'{"prompt": "x", "override_settings": {"\\ud800": "\\ud800"}}', 422),
        (b'{"prompt": "x", "s_tmax": "\\ud800", "script_args": ["\\ud800", NaN]}', 422),
        (b'{"prompt": "x", "alwayson_scripts": {"\\ud800": {"args": []}}}', 422),
    ],
)
def test_invalid_strings_do_no_harm(
    client: TestClient, service: QueueService, body: bytes, status: int
) -> None:
    with run_worker(service):
        response = client.post(
            "/sdapi/v1/txt2img", content=body, headers={"Content-Type": "application/json"}
        )
    assert response.status_code == status, response.text


def test_another_autoencoder_by_option_field_and_forge_s_modules(
    client: TestClient, service: QueueService, server_home: Path
) -> None:
    write_vae(server_home / "checkpoints" / "vae" / "other.safetensors")
    with run_worker(service) as begun:
        generate(client, override_settings={"sd_vae": "other.safetensors"})
        generate(client, sd_vae="other")
        modules = [r"C:\forge\models\VAE\other.safetensors"]
        generate(client, override_settings={"forge_additional_modules": modules})
        generate(client, override_settings={"sd_vae": "Automatic"})
    assert [job.request.get("vae") for job in begun] == ["other.safetensors", "other", None, None]
    assert begun[2].request["text_encoders"] == ["other.safetensors"]
    assert client.get("/sdapi/v1/sd-vae").json()[0]["model_name"] == "other.safetensors"
    assert [each["model_name"] for each in client.get("/sdapi/v1/sd-modules").json()] == ["other.safetensors"]


@pytest.mark.parametrize("name", ["gone.safetensors", "../../etc/passwd", "/etc/passwd"])
def test_autoencoders_that_are_not_listed_are_refused(name: str, client: TestClient) -> None:
    status, _ = assert_refused(client, override_settings={"sd_vae": name})
    assert status == 404
    assert client.post("/sdapi/v1/options", json={"sd_vae": name}).status_code == 404
