from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safelight.errors import UnsupportedFieldError
from safelight.generation.request import GenerationRequest, Refiner
from safelight.generation.upscaling.registry import find_upscalers
from safelight.models.families import FAMILIES
from safelight.server.api.a1111.options import OptionValues, option_values
from safelight.server.api.a1111.requests import (
    check_body,
    ignored_fields,
    img2img_fields,
    requested_size,
    txt2img_fields,
)
from safelight.server.api.a1111.schemas import Img2ImgBody, Txt2ImgBody
from safelight.server.api.checkpoint_names import SelectedCheckpoint

CHOSEN = SelectedCheckpoint(None, FAMILIES["sd1"])
UPSCALERS = find_upscalers(Path("/nowhere"))
CHOICES = option_values({})


def txt2img_request(options: OptionValues = CHOICES, **sent: Any) -> GenerationRequest:
    drawing = Txt2ImgBody(**sent)
    check_body(drawing)
    return GenerationRequest.parse(**txt2img_fields(drawing, options, CHOSEN, UPSCALERS))


def img2img_request(**sent: Any) -> GenerationRequest:
    drawing = Img2ImgBody(**{"init_images": ["aGk="], **sent})
    check_body(drawing)
    fields = img2img_fields(drawing, CHOICES, CHOSEN)
    pictures = {"init_image": b"x"} | ({"mask": b"y"} if drawing.mask else {})
    return GenerationRequest.parse(**fields, **pictures)


def test_an_empty_request_uses_the_checkpoints_defaults() -> None:
    assert txt2img_fields(Txt2ImgBody(), CHOICES, CHOSEN, UPSCALERS) == {
        "prompt": "",
        "ignore_unsupported": True,
    }
    assert txt2img_request(prompt="a cat") == GenerationRequest(prompt="a cat", ignore_unsupported=True)


def test_every_txt2img_field_is_mapped() -> None:
    request = txt2img_request(
        prompt="a cat",
        negative_prompt="dogs",
        styles=["oil"],
        seed=5,
        subseed=9,
        subseed_strength=0.25,
        sampler_name="DPM++ 2M Karras",
        sampler_index="Euler",
        batch_size=2,
        n_iter=3,
        steps=12,
        cfg_scale=6.5,
        cfg_end=0.8,
        diffusers_guidance_rescale=0.3,
        pag_scale=2,
        pag_adaptive=0.25,
        clip_skip=2,
        width=256,
        height=128,
    )
    assert request == GenerationRequest(
        prompt="a cat",
        ignore_unsupported=True,
        pag_adaptive=0.25,
        negative_prompt="dogs",
        styles=("oil",),
        seed=5,
        variation={"seed": 9, "strength": 0.25, "same_seed": True},
        sampler="DPM++ 2M",
        schedule="karras",
        count=6,
        steps=12,
        guidance_scale=6.5,
        guidance_end=0.8,
        guidance_rescale=0.3,
        pag_scale=2,
        clip_skip=2,
        width=256,
        height=128,
    )


def test_a_seed_of_minus_one_is_random() -> None:
    assert txt2img_request(prompt="x", seed=-1).seed is None
    drawn = [txt2img_request(prompt="x", subseed=-1, subseed_strength=0.1).variation for _ in range(3)]
    assert len({each.seed for each in drawn if each}) == 3
    assert txt2img_request(prompt="x", subseed=4).variation is None


def test_the_clients_options_are_defaults_of_the_request() -> None:
    options = option_values({"CLIP_stop_at_last_layers": 2, "schedulers_sigma": "karras"})
    request = txt2img_request(options, prompt="x", sampler_name="Euler")
    assert (request.clip_skip, request.schedule) == (2, "karras")
    assert (
        txt2img_request(options, prompt="x", sampler_name="Euler", scheduler="beta", clip_skip=3).schedule
        == "beta"
    )


def test_sd_nexts_default_schedule_is_the_checkpoints_own() -> None:
    assert txt2img_request(prompt="x", sampler_name="DPM++ 2M", schedulers_sigma="default").schedule is None
    assert txt2img_request(prompt="x", sampler_name="DPM++ 2M").schedule == "karras"


def test_a_second_pass() -> None:
    hires = txt2img_request(
        prompt="x",
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler="Lanczos",
        hr_second_pass_steps=7,
        denoising_strength=0.4,
        hr_sampler_name="DDIM",
        hr_scheduler="Karras",
        hr_prompt="x",
    ).hires
    assert hires is not None
    assert hires.model_dump(exclude_unset=True) == {
        "scale": 1.5,
        "upscaler": "lanczos",
        "steps": 7,
        "all_steps": True,
        "strength": 0.4,
        "sampler": "DDIM karras",
    }
    usual = txt2img_request(prompt="x", enable_hr=True, hr_sampler_name="Use same sampler").hires
    assert usual is not None
    assert (usual.upscaler, usual.strength, usual.steps, usual.sampler) == ("latent", 0.75, None, None)
    assert usual.all_steps
    assert txt2img_request(prompt="x", hr_scale=3, hr_sampler_name="nonsense").hires is None


@pytest.mark.parametrize(
    "size", [{"hr_scale": 1}, {"width": 64, "height": 64, "hr_resize_x": 64, "hr_resize_y": 64}]
)
def test_a_second_pass_of_the_same_size_is_dropped(size: dict[str, Any]) -> None:
    assert txt2img_request(prompt="x", enable_hr=True, **size).hires is None


@pytest.mark.parametrize(
    ("sampler", "second", "scheduler", "joined"),
    [
        ({"sampler_name": "Euler"}, None, "Karras", "Euler karras"),
        ({}, "Use same sampler", "Karras", f"{CHOSEN.family.sampler} karras"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "DDIM", None, "DDIM karras"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "DDIM", "Use same scheduler", "DDIM karras"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "DDIM", "Automatic", "DDIM"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "LCM", None, "LCM"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "", "", None),
    ],
)
def test_omitted_fields_of_a_second_pass_are_the_firsts(
    sampler: dict[str, str], second: str | None, scheduler: str | None, joined: str | None
) -> None:
    hires = txt2img_request(
        prompt="x", enable_hr=True, hr_sampler_name=second, hr_scheduler=scheduler, **sampler
    ).hires
    assert hires is not None
    assert hires.sampler == joined


def test_a_second_passs_schedule_needs_a_known_sampler() -> None:
    drawing = Txt2ImgBody(prompt="x", enable_hr=True, hr_scheduler="Karras")
    with pytest.raises(UnsupportedFieldError, match="default sampler is unknown"):
        txt2img_fields(drawing, CHOICES, SelectedCheckpoint(None, None), UPSCALERS)


def test_forges_distilled_guidance_is_used_by_checkpoints_that_support_it() -> None:
    flux = SelectedCheckpoint(None, FAMILIES["flux"])
    sent = {"prompt": "x", "distilled_cfg_scale": 3.5, "cfg_scale": 1, "hr_cfg": 1, "hr_distilled_cfg": 3.5}
    drawing = Txt2ImgBody(**sent)
    check_body(drawing)
    assert txt2img_fields(drawing, CHOICES, flux, UPSCALERS)["guidance_scale"] == 3.5
    assert txt2img_fields(drawing, CHOICES, CHOSEN, UPSCALERS)["guidance_scale"] == 1
    told = ["distilled_cfg_scale", "hr_distilled_cfg"]
    assert (ignored_fields(drawing, flux), ignored_fields(drawing, CHOSEN)) == ([], told)
    second = sent | {"enable_hr": True, "hr_distilled_cfg": 3, "hr_upscaler": "Lanczos"}
    passes = (
        txt2img_fields(Txt2ImgBody(**second), CHOICES, each, UPSCALERS)["hires"] for each in (flux, CHOSEN)
    )
    assert [each.get("guidance_scale") for each in passes] == [3, None]
    with pytest.raises(UnsupportedFieldError, match="hr_cfg"):
        txt2img_fields(Txt2ImgBody(**second | {"hr_cfg": 2}), CHOICES, flux, UPSCALERS)
    fill = SelectedCheckpoint(None, FAMILIES["flux-fill"])
    with pytest.raises(UnsupportedFieldError, match="cfg_scale"):
        txt2img_fields(Txt2ImgBody(**sent | {"cfg_scale": 7}), CHOICES, fill, UPSCALERS)


@pytest.mark.parametrize(
    ("sent", "scales"),
    [
        ({"distilled_cfg_scale": 3.5, "cfg_scale": 2}, {"guidance_scale": 3.5, "true_cfg_scale": 2}),
        ({"distilled_cfg_scale": 3.5, "cfg_scale": 1}, {"guidance_scale": 3.5}),
        ({"cfg_scale": 3.5}, {"guidance_scale": 3.5}),
        ({"cfg_scale": 3.5, "cfg_true": 4}, {"guidance_scale": 3.5, "true_cfg_scale": 4}),
    ],
)
def test_flux_has_two_scales_of_guidance(sent: dict[str, float], scales: dict[str, float]) -> None:
    flux = SelectedCheckpoint(None, FAMILIES["flux"])
    fields = txt2img_fields(Txt2ImgBody(prompt="x", **sent), CHOICES, flux, UPSCALERS)
    assert {name: fields[name] for name in fields if name.endswith("_scale")} == scales
    with pytest.raises(UnsupportedFieldError, match="cfg_true"):
        txt2img_fields(Txt2ImgBody(prompt="x", cfg_true=4), CHOICES, CHOSEN, UPSCALERS)


NULLS = [*Txt2ImgBody.model_fields, "never_heard_of"]


@pytest.mark.parametrize("name", NULLS)
def test_null_means_omitted(name: str) -> None:
    assert Txt2ImgBody(**{name: None}) == Txt2ImgBody()


@pytest.mark.parametrize("name", [name for name in Img2ImgBody.model_fields if name != "init_images"])
def test_null_means_omitted_in_img2img(name: str) -> None:
    plain = Img2ImgBody(init_images=["aGk="])
    assert Img2ImgBody(**{"init_images": ["aGk="], name: None}) == plain
    assert Img2ImgBody(init_images=["aGk="], mask="") == plain


@pytest.mark.parametrize(("across", "down"), [(384, 0), (0, 192), (384, 192)])
def test_a_second_pass_by_its_size(across: int, down: int) -> None:
    size = {"width": 256, "height": 128, "hr_resize_x": across, "hr_resize_y": down}
    hires = txt2img_request(prompt="x", enable_hr=True, **size).hires
    assert hires is not None
    assert hires.scale == 1.5


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"enable_hr": True, "hr_resize_x": 512}, "hr_resize_x"),
        (
            {"enable_hr": True, "hr_resize_x": 512, "hr_resize_y": 300, "width": 256, "height": 128},
            "hr_resize_x",
        ),
        ({"enable_hr": True, "hr_scale": 0.5}, "hr_scale"),
        (
            {"enable_hr": True, "hr_resize_x": 0, "hr_resize_y": 64, "width": 128, "height": 128},
            "hr_resize_y",
        ),
        ({"width": 256}, "height"),
        ({"height": 256}, "width"),
        ({"restore_faces": True}, "restore_faces"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"hr_option": "Low res only"}]}}}, "alwayson_scripts"),
    ],
)
def test_unsupported_fields_are_refused_by_name(sent: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        txt2img_request(prompt="x", **sent)
    assert caught.value.field == field


def test_img2img_without_a_mask() -> None:
    request = img2img_request(prompt="x", mask_blur=9, inpainting_fill=0)
    assert request == GenerationRequest(prompt="x", init_image=b"x", strength=0.75, ignore_unsupported=True)


def test_img2img_with_a_mask() -> None:
    request = img2img_request(
        prompt="x",
        mask="eQ==",
        denoising_strength=0.9,
        mask_blur=7,
        inpainting_fill=2,
        inpaint_full_res=False,
        inpaint_full_res_padding=16,
        inpainting_mask_invert=1,
    )
    assert request.strength == 0.9
    assert request.inpaint.model_dump() == {
        "blur": 7,
        "padding": 16,
        "only_masked": False,
        "fill": "noise",
        "invert": True,
        "soft": False,
    }


@pytest.mark.parametrize(("number", "fill"), [(0, "blur"), (1, "original"), (2, "noise")])
def test_masked_content(number: int, fill: str) -> None:
    assert img2img_request(prompt="x", mask="eQ==", inpainting_fill=number).inpaint.fill == fill


def test_unknown_masked_content_is_refused() -> None:
    with pytest.raises(UnsupportedFieldError, match="latent nothing"):
        img2img_request(prompt="x", mask="eQ==", inpainting_fill=3)


@pytest.mark.parametrize(
    ("sent", "blur"),
    [
        ({}, 4),
        ({"mask_blur": 0}, 0),
        ({"mask_blur_x": 3, "mask_blur_y": 3}, 3),
        ({"mask_blur": 8, "mask_blur_x": 3}, 8),
        ({"mask_blur_x": 4}, 4),
    ],
)
def test_blur(sent: dict[str, int], blur: int) -> None:
    assert img2img_request(prompt="x", mask="eQ==", **sent).inpaint.blur == blur


def test_blur_that_differs_by_direction_is_refused() -> None:
    with pytest.raises(UnsupportedFieldError, match="mask_blur_x"):
        img2img_request(prompt="x", mask="eQ==", mask_blur_x=3, mask_blur_y=5)


@given(st.integers(16, 512), st.integers(16, 512))
def test_sizes(width: int, height: int) -> None:
    assert requested_size(Txt2ImgBody(width=width, height=height)) == (width, height)


@pytest.mark.parametrize(
    ("sent", "drawn"),
    [(None, 1), (0, 1), (0.4, 1), (1, 1), (1.0, 1), (1.4, 1), (1.5, 2), (2, 2), (11.6, 12), (12, 12)],
)
def test_a_clip_skip_between_two_layers_is_rounded_and_reported(sent: float | None, drawn: int) -> None:
    drawing = Txt2ImgBody(clip_skip=sent)
    assert txt2img_request(clip_skip=sent).clip_skip == drawn
    assert ("clip_skip" in ignored_fields(drawing, CHOSEN)) == (sent not in (None, drawn))


def test_a_clip_skip_of_zero_overrides_the_clients_option() -> None:
    assert txt2img_request(option_values({"clip_skip": 3}), clip_skip=0).clip_skip == 1
    assert txt2img_request(option_values({"clip_skip": 3})).clip_skip == 3


@pytest.mark.parametrize("sent", [-0.1, 12.1, "two", float("nan")])
def test_a_clip_skip_beyond_sd_nexts_range_is_refused(sent: object) -> None:
    with pytest.raises(ValidationError):
        Txt2ImgBody(clip_skip=sent)


def test_both_names_of_adaptive_perturbed_attention() -> None:
    assert txt2img_request(pag_scale=3, pag_adaptive=0.5).pag_adaptive == 0.5
    assert txt2img_request(pag_scale=3, cfg_adaptive=0.5).pag_adaptive == 0.5
    assert txt2img_request(pag_scale=3, pag_adaptive=0.5, cfg_adaptive=0.5).pag_adaptive == 0.5
    assert txt2img_request(pag_adaptive=0.5).pag_adaptive == 0, (
        "without pag_scale it says nothing, as in SD.Next"
    )
    with pytest.raises(UnsupportedFieldError, match="cfg_adaptive"):
        txt2img_request(pag_scale=3, pag_adaptive=0.5, cfg_adaptive=0.4)


def test_output_folders_are_reported_on_request() -> None:
    idle = {"save_images": False, "do_not_save_grid": False, "return_grid": False, "outpath_grids": ""}
    drawing = Txt2ImgBody(**idle)
    check_body(drawing)
    assert ignored_fields(drawing, CHOSEN) == []
    drawing = Txt2ImgBody(save_images=True, return_grid=True, grid_format="jpg", do_not_save_samples=True)
    check_body(drawing)
    assert ignored_fields(drawing, CHOSEN) == [
        "save_images",
        "return_grid",
        "grid_format",
        "do_not_save_samples",
    ]
    drawing = Img2ImgBody(init_images=["aGk="], include_mask=True, enable_hr=True, hr_scale=2)
    check_body(drawing)
    assert ignored_fields(drawing, CHOSEN) == ["include_mask", "enable_hr", "hr_scale"]


def test_the_second_passes_prompt_may_name_other_unsupported_networks_than_the_firsts() -> None:
    drawing = Txt2ImgBody(prompt="a cat<net:a:1>", enable_hr=True, hr_prompt="a cat<net:a:0.5>")
    check_body(drawing)
    assert ignored_fields(drawing, CHOSEN) == ["<net:a:0.5>"]
    hires = txt2img_request(prompt="a cat", enable_hr=True, hr_prompt="a cat<net:a:1>").hires
    assert hires is not None
    assert hires.prompt is None


def test_a_second_pass_of_its_own() -> None:
    options = replace(CHOICES, second_checkpoint="other", refiner="refiner")
    sent = {"hr_prompt": "a dog <lora:a:1>", "hr_negative_prompt": "cats", "hr_cfg": 3, "cfg_scale": 7}
    request = txt2img_request(options, prompt="a cat", enable_hr=True, refiner_switch_at=0.7, **sent)
    assert request.hires is not None
    own = ("prompt", "negative_prompt", "guidance_scale", "checkpoint")
    assert [getattr(request.hires, name) for name in own] == ["a dog <lora:a:1>", "cats", 3, "other"]
    assert request.refiner == Refiner(checkpoint="refiner", switch_at=0.7)
    same = txt2img_request(prompt="a cat", enable_hr=True, hr_cfg=7, cfg_scale=7).hires
    assert same is not None
    assert same.guidance_scale is None


def test_tiling_and_where_noise_is_drawn() -> None:
    request = txt2img_request(prompt="x", tiling=True, diffusers_generator_device="GPU")
    assert (request.seamless, request.noise_source) == ("both", "gpu")
    options = option_values({"randn_source": "NV"})
    assert txt2img_request(options, prompt="x").noise_source == "gpu"
    assert txt2img_request(options, prompt="x", diffusers_generator_device="CPU").noise_source == "cpu"
