"""The webuiapi package, unmodified, against a real server with a real worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
import webuiapi
from fastapi import FastAPI
from PIL import Image, ImageChops, ImageDraw
from tests.free_port import free_port

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2}
RUN = pytest.mark.timeout(600)


@pytest.fixture
def api(server: str) -> Iterator[webuiapi.WebUIApi]:
    client = webuiapi.WebUIApi(baseurl=f"{server}/sdapi/v1")
    yield client
    client.session.close()


@pytest.fixture(scope="module")
def apple(server: str) -> webuiapi.WebUIApiResult:
    """A generated image that other tests use as input."""
    client = webuiapi.WebUIApi(baseurl=f"{server}/sdapi/v1")
    result = client.txt2img(prompt="a red apple, 3d style", seed=7, **SMALL)
    client.session.close()
    return result


@RUN
def test_txt2img(api: webuiapi.WebUIApi, apple: webuiapi.WebUIApiResult) -> None:
    assert apple.image.size == (64, 64)
    assert apple.image.info["parameters"] == apple.info["infotexts"][0]
    assert (apple.info["seed"], apple.info["sampler_name"], apple.info["steps"]) == (7, "Euler a", 2)
    again = api.txt2img(prompt="a red apple, 3d style", seed=7, **SMALL)
    assert ImageChops.difference(apple.image, again.image).getbbox() is None
    assert again.parameters["prompt"] == "a red apple, 3d style"


@RUN
def test_batches_samplers_and_schedules_by_name(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(
        prompt="a cat", seed=1, n_iter=2, sampler_name="DPM++ 2M", scheduler="Karras", cfg_scale=3, **SMALL
    )
    assert len(result.images) == 2
    assert result.info["all_seeds"] == [1, 2]
    assert result.info["extra_generation_params"] == {"Schedule type": "Karras"}
    assert (result.info["sampler_name"], result.info["cfg_scale"]) == ("DPM++ 2M", 3.0)


@RUN
def test_a_second_pass(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(
        prompt="a cat",
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler=webuiapi.HiResUpscaler.Latent,
        hr_second_pass_steps=2,
        denoising_strength=0.6,
        **SMALL,
    )
    assert result.image.size == (96, 96)
    assert (result.info["width"], result.info["denoising_strength"]) == (64, 0.6)
    counted = result.info["extra_generation_params"]
    assert (counted["Hires steps"], counted["Hires all steps"]) == ("2", "True")


@RUN
def test_a_second_pass_of_one_step(api: webuiapi.WebUIApi) -> None:
    """All of it runs, as in A1111, and not the strength's fraction, which would be no step."""
    one = {"enable_hr": True, "hr_second_pass_steps": 1, "denoising_strength": 0.5}
    assert api.txt2img(prompt="a cat", **one, **SMALL).image.size == (128, 128)
    assert api.txt2img(prompt="a cat", **one | {"hr_scale": 1}, **SMALL).image.size == (64, 64)


@RUN
def test_variations(api: webuiapi.WebUIApi, apple: webuiapi.WebUIApiResult) -> None:
    result = api.txt2img(
        prompt="a red apple, 3d style", seed=7, subseed=1, subseed_strength=0.3, batch_size=2, **SMALL
    )
    assert (result.info["all_seeds"], result.info["all_subseeds"]) == ([7, 7], [1, 2])
    first, second = result.images
    assert ImageChops.difference(first, second).getbbox() is not None
    assert ImageChops.difference(first, apple.image).getbbox() is not None


@RUN
def test_img2img(api: webuiapi.WebUIApi, apple: webuiapi.WebUIApiResult) -> None:
    whole = api.img2img(
        images=[apple.image], prompt="a pear", denoising_strength=0.5, **(SMALL | {"steps": 4})
    )
    assert whole.image.size == (64, 64)
    mask = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), fill=255)
    part = api.img2img(
        images=[apple.image], mask_image=mask, mask_blur=0, prompt="a pear", inpaint_full_res=False, **SMALL
    )
    left, right = (0, 0, 31, 64), (33, 0, 64, 64)
    assert ImageChops.difference(part.image.crop(left), apple.image.crop(left)).getbbox() is None
    assert ImageChops.difference(part.image.crop(right), apple.image.crop(right)).getbbox() is not None


@RUN
def test_extras_and_png_info(api: webuiapi.WebUIApi, apple: webuiapi.WebUIApiResult) -> None:
    larger = api.extra_single_image(apple.image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=1.5)
    assert larger.image.size == (96, 96)
    assert "Postprocess upscaler: lanczos" in larger.image.info["parameters"]
    same = api.extra_single_image(apple.image)
    assert ImageChops.difference(same.image.convert("RGB"), apple.image.convert("RGB")).getbbox() is None
    several = api.extra_batch_images([apple.image, larger.image], upscaler_1=webuiapi.Upscaler.Nearest)
    assert [image.size for image in several.images] == [(128, 128), (192, 192)]
    assert api.png_info(apple.image).info == apple.info["infotexts"][0]


def generate_long(server: str) -> webuiapi.WebUIApiResult:
    """Generate an image that takes too long to wait for."""
    client = webuiapi.WebUIApi(baseurl=f"{server}/sdapi/v1")
    try:
        return client.txt2img(prompt="a cat", seed=3, width=64, height=64, steps=900)
    finally:
        client.session.close()


def wait_for_progress(api: webuiapi.WebUIApi) -> dict[str, Any]:
    """Wait for progress of the running job."""
    while (now := api.get_progress())["state"]["sampling_step"] < 2:
        time.sleep(0.1)
    return dict(now)


@RUN
def test_progress_and_skip(api: webuiapi.WebUIApi, server: str) -> None:
    assert api.get_progress()["progress"] == 0.0
    with ThreadPoolExecutor(1) as pool:
        picture = pool.submit(generate_long, server)
        now = wait_for_progress(api)
        assert 0 < now["progress"] < 1
        assert now["state"]["sampling_steps"] == 900
        assert api.skip() == {}
        with pytest.raises(RuntimeError, match="before there was a picture"):
            picture.result(60)
    api.util_wait_for_ready(check_interval=0.1)


@RUN
def test_interrupt_returns_partial_images(api: webuiapi.WebUIApi, server: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        picture = pool.submit(generate_long, server)
        wait_for_progress(api)
        assert api.interrupt() == {}
        assert picture.result(60).image.size == (64, 64)
    assert api.interrupt() == {}, "there is nothing left to stop"


def test_options(api: webuiapi.WebUIApi) -> None:
    before = api.get_options()
    api.util_set_model("starter")
    assert api.util_get_current_model() == api.get_options()["sd_model_checkpoint"]
    api.set_options({"CLIP_stop_at_last_layers": 2})
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2
    api.set_options(before | {"sd_checkpoint_hash": api.get_options()["sd_checkpoint_hash"]})
    assert api.get_options()["CLIP_stop_at_last_layers"] == 1


def test_an_unknown_option_does_not_keep_others_from_changing(api: webuiapi.WebUIApi) -> None:
    answer = api.set_options({"live_previews_enable": False, "jpeg_quality": 60})
    assert answer["unknown"] == ["live_previews_enable"]
    assert api.get_options()["jpeg_quality"] == 60
    api.set_options({"jpeg_quality": 95})


@RUN
def test_unsupported_parts_of_a_prompt_are_removed_and_reported(
    api: webuiapi.WebUIApi, apple: webuiapi.WebUIApiResult
) -> None:
    result = api.txt2img(
        prompt="a red apple<net:ink:0.8>, 3d style",
        negative_prompt="",
        seed=7,
        save_images=True,
        override_settings={"live_previews_enable": True},
        **SMALL,
    )
    assert ImageChops.difference(apple.image, result.image).getbbox() is None
    assert result.info["ignored_fields"] == [
        "save_images",
        "override_settings.live_previews_enable",
        "<net:ink:0.8>",
    ]
    assert result.info["notes"] == [
        "<net:ink:0.8> was left out: it asks for a network, and none is loaded here."
    ]
    assert result.info["prompt"] == "a red apple<net:ink:0.8>, 3d style"
    assert result.info["all_prompts"] == ["a red apple, 3d style"]
    assert 'Left out: "<net:ink:0.8>"' in result.image.info["parameters"]
    again = api.img2img(images=[apple.image], prompt="a cat AND a dog :0.5", denoising_strength=1, **SMALL)
    assert "ignored_fields" not in again.info or again.info["ignored_fields"] == []
    assert again.info["all_prompts"] == ["a cat AND a dog :0.5"]


def test_lists(api: webuiapi.WebUIApi) -> None:
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert api.util_get_model_names()[0].startswith("starter")
    scales = {each["name"]: each["scale"] for each in api.get_upscalers()}
    assert (scales["None"], scales["Lanczos"], scales["starter-2x"]) == (1.0, 4.0, 2.0)
    assert api.get_latent_upscale_modes() == [{"name": "Latent"}]
    nothing = (
        api.get_sd_vae,
        api.get_hypernetworks,
        api.get_face_restorers,
        api.get_realesrgan_models,
        api.get_prompt_styles,
        api.get_artists,
        api.get_artist_categories,
    )
    assert [each["name"] for each in api.get_loras()] == ["starter-few-steps"]
    assert [ask() for ask in nothing] == [[]] * len(nothing)
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_scripts()["txt2img"] == []
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags()["api"] is True
    assert api.refresh_checkpoints() == {}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda api, image: api.txt2img(restore_faces=True), "no face restoration"),
        (lambda api, image: api.txt2img(script_name="X/Y/Z plot"), "no scripts"),
        (
            lambda api, image: api.txt2img(controlnet_units=[webuiapi.ControlNetUnit()], alwayson_scripts={}),
            "ControlNet unit 0 has no model",
        ),
        (
            lambda api, image: api.txt2img(adetailer=[webuiapi.ADetailer()], alwayson_scripts={}),
            "no script .*ADetailer",
        ),
        (lambda api, image: api.txt2img(sampler_name="DPM adaptive"), "no sampler"),
        (lambda api, image: api.txt2img(enable_hr=True, hr_upscaler="LDSR"), "no upscaler"),
        (
            lambda api, image: api.img2img(images=[image], inpainting_fill=3, mask_image=image),
            "latent nothing",
        ),
        (lambda api, image: api.img2img(images=[image], resize_mode=3), "upscaling latents is not supported"),
        (lambda api, image: api.extra_single_image(image, gfpgan_visibility=1), "no face restoration"),
        (lambda api, image: api.extra_single_image(image, upscaler_1="R-ESRGAN 4x+"), "no upscaler"),
        (lambda api, image: api.interrogate(image), "Captioning is not supported"),
        (lambda api, image: api.controlnet_detect([image]), "give the name of a preprocessor"),
        (lambda api, image: api.prompt_gen(), "404"),
        (lambda api, image: webuiapi.RemBGInterface(api).rembg(input_image=image), "404"),
    ],
)
def test_unsupported_features_raise_with_the_reason(api: webuiapi.WebUIApi, call: Any, reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason) as caught:
        call(api, Image.new("RGB", (64, 64)))
    assert caught.value.args[0] in (404, 422, 501)


@contextmanager
def run_app(app: FastAPI) -> Iterator[int]:
    """The port of an application that listens in this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.config.port
    server.should_exit = True
    thread.join()


def test_users_and_passwords(service: QueueService) -> None:
    key = KeyStore(service.engine).add("anna")
    with run_app(create_app(service, service.settings)) as port:
        for password, seen in ((key, "sd_model_checkpoint"), ("wrong", "error")):
            api = webuiapi.WebUIApi(port=port, username="anna", password=password)
            assert seen in api.get_options()
            api.session.close()
