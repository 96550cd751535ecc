from __future__ import annotations

import json

from tests.server.api.factories import INFOTEXT, job, output_image

from safelight.jobs.job import JobState
from safelight.server.api.a1111.info import echo_parameters, info_json, info_of, infotext_items
from safelight.server.api.a1111.schemas import Img2ImgBody, Txt2ImgBody
from safelight.server.api.outcomes import outcome_of

TYPED = {
    "prompt": str,
    "all_prompts": list,
    "negative_prompt": str,
    "all_negative_prompts": list,
    "seed": int,
    "all_seeds": list,
    "subseed": int,
    "all_subseeds": list,
    "subseed_strength": float,
    "width": int,
    "height": int,
    "sampler_name": str,
    "cfg_scale": float,
    "steps": int,
    "batch_size": int,
    "restore_faces": bool,
    "face_restoration_model": type(None),
    "sd_model_name": str,
    "sd_model_hash": str,
    "sd_vae_name": type(None),  # a name where the request has one
    "sd_vae_hash": type(None),
    "seed_resize_from_w": int,
    "seed_resize_from_h": int,
    "denoising_strength": float,
    "extra_generation_params": dict,
    "index_of_first_image": int,
    "infotexts": list,
    "styles": list,
    "job_timestamp": str,
    "clip_skip": int,
    "is_using_inpainting_conditioning": bool,
    "version": str,
}
REQUEST = {
    "prompt": "a cat",
    "negative_prompt": "dogs",
    "styles": ["oil"],
    "variation": {"seed": 9, "strength": 0.25},
}
OUTCOME = outcome_of(
    job(JobState.SUCCEEDED, output_image(5), output_image(6, 1, "block"), output_image(7, 2), request=REQUEST)
)
INFO = info_of(OUTCOME, batch_size=4)


def test_every_key_of_typed_clients_is_present_with_its_type() -> None:
    sent = json.loads(info_json(INFO))
    assert {name: type(sent[name]) for name in TYPED} == TYPED


def test_lists_have_an_item_for_each_picture_that_is_shown() -> None:
    lists = ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds", "infotexts", "picture_ids")
    assert {len(INFO[name]) for name in lists} == {2}
    assert (INFO["all_seeds"], INFO["all_subseeds"], INFO["blocked_seeds"]) == ([5, 7], [9, 11], [6])
    assert INFO["all_prompts"] == ["a cat", "a cat"]


def test_values_are_those_that_were_used() -> None:
    assert (INFO["width"], INFO["height"], INFO["steps"], INFO["clip_skip"]) == (64, 32, 4, 2)
    assert (INFO["cfg_scale"], INFO["denoising_strength"], INFO["subseed_strength"]) == (6.5, 0.4, 0.25)
    assert (INFO["sampler_name"], INFO["sd_model_name"]) == ("DPM++ 2M", "mine")
    assert INFO["extra_generation_params"] == {"Schedule type": "Karras"}
    assert (INFO["job_timestamp"], INFO["styles"], INFO["batch_size"]) == ("20260102030405", ["oil"], 2)


def test_without_a_variation_there_is_no_subseed() -> None:
    plain = info_of(outcome_of(job(JobState.SUCCEEDED, output_image(5))), 1)
    assert (plain["subseed"], plain["all_subseeds"]) == (-1, [-1])


def test_the_echo_fills_in_defaults() -> None:
    sent = Txt2ImgBody(prompt="a cat", steps=4, tiling=False)
    body = echo_parameters(sent, INFO)
    assert (body["prompt"], body["steps"], body["tiling"]) == ("a cat", 4, False)
    assert (body["width"], body["height"], body["sd_model_checkpoint"]) == (64, 32, "mine")
    assert echo_parameters(Txt2ImgBody(width=16, height=16), INFO)["width"] == 16


def test_pictures_are_echoed_only_on_request() -> None:
    plain = echo_parameters(Img2ImgBody(init_images=["aGk="], mask="eQ=="), INFO)
    assert (plain["init_images"], plain["mask"]) == (None, None)
    whole = echo_parameters(Img2ImgBody(init_images=["aGk="], mask="eQ==", include_init_images=True), INFO)
    assert (whole["init_images"], whole["mask"]) == (["aGk="], "eQ==")


def test_a_parsed_infotext() -> None:
    items = infotext_items(INFOTEXT.format(seed=3))
    assert (items["Prompt"], items["Negative prompt"], items["Seed"]) == ("a cat", "dogs", "3")
    assert (items["Size-1"], items["Size-2"]) == ("64", "32")
    assert infotext_items(None) == infotext_items("") == {}
    assert infotext_items("only words")["Prompt"] == "only words"
