"""Fields of a request from images and texts of Safelight, A1111, SD.Next, ComfyUI, and unknown programs."""

from __future__ import annotations

import io
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.generation.test_record import BODY, PLAIN

from safelight.errors import ImageError, RequestError, UpscalerUnknownError
from safelight.generation.infotext import infotext_from_record
from safelight.generation.recall import (
    AvailableModels,
    KnownAdapter,
    KnownCheckpoint,
    RecallResult,
    recall_image,
    recall_text,
)
from safelight.generation.recall.comfyui_graph import MAX_LINKS, MAX_NODES
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import PredictionProcess
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.images.types import DecodeLimits

TINY = Image.new("RGB", (3, 2), (200, 100, 50))
LIMITS = DecodeLimits()
DREAM = "d1" * 32


def upscaler(name: str) -> str:
    if name.lower() in ("latent", "lanczos"):
        return name.lower()
    raise UpscalerUnknownError(f"There is no upscaler {name!r}.")


HERE = AvailableModels(
    [
        KnownCheckpoint("starter", "a1" * 32, PredictionProcess.DIFFUSION),
        KnownCheckpoint("sd/dreamshaper_8", DREAM, PredictionProcess.DIFFUSION),
        KnownCheckpoint("flux", None, PredictionProcess.FLOW),
    ],
    upscaler,
    frozenset({"ink"}),
    has_part=lambda name: name == "ae.safetensors",
)


def png(**texts: str) -> bytes:
    buffer, info = io.BytesIO(), PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    TINY.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def fields_that_need_image(found: RecallResult) -> dict[str, str]:
    return {each.name: each.value for each in found.unfilled}


BESIDE_A_PICTURE = frozenset({"strength", "outpaint", "control"})
"""The fields that need an initial image, which is never among the recalled ones."""


def assert_usable(found: RecallResult) -> None:
    """Assert that each field alone is valid, some with an initial image."""
    assert "init_image" not in found.fields
    for name, recalled in found.fields.items():
        more = {"init_image": b"x"} if name in BESIDE_A_PICTURE else {}
        value = [each | {"mask": b"x"} for each in recalled] if name == "regions" else recalled
        GenerationRequest.parse(**{"prompt": "x", name: value} | more)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_our_own_pictures(kind: Any) -> None:
    record = ReproductionRecord.model_validate(PLAIN)
    data = encode_image(TINY, kind, Metadata(infotext=infotext_from_record(record), record=record.to_json()))
    found = recall_image(data, HERE, LIMITS)
    assert (found.source, found.infotext) == ("safelight", infotext_from_record(record))
    assert found.fields == {
        "prompt": "a blue apple, 3d",
        "negative_prompt": "",
        "checkpoint": "starter",
        "seed": 42,
        "width": 512,
        "height": 384,
        "steps": 20,
        "sampler": "DPM++ 2M",
        "guidance_scale": 7.5,
        "guidance_rescale": 0.0,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "guidance_method": "cfg",
        "pag_scale": 0.0,
        "clip_skip": 1,
        "quality": "balanced",
        "noise_source": "cpu",
    }
    assert fields_that_need_image(found) == {"prompt as it was written": "a {red|blue} apple"}
    assert_usable(found)


def test_a_record_with_everything() -> None:
    record = ReproductionRecord.model_validate(BODY)
    found = recall_image(png(safelight=record.to_json()), HERE, LIMITS)
    assert found.fields["variation"] == {"seed": 7, "strength": 0.1, "same_seed": False}
    assert found.fields["inpaint"] == BODY["inpaint"]
    assert found.fields["outpaint"]["left"] == 64
    assert found.fields["hires"] == BODY["hires"] | {"all_steps": False}
    assert (found.fields["strength"], found.fields["schedule"]) == (0.6, "karras")
    assert fields_that_need_image(found).keys() == {
        "prompt as it was written",
        "init_image",
        "mask",
        "adapter",
        "refiner.checkpoint",
        "textual inversion",
        "left out",
        "text_encoders",  # it is not here; the autoencoder is
        *("control[0].image", "control[0].mask", "references[0].image"),
        "regions[0].mask",
    }
    (control,) = found.fields["control"]
    assert control == {name: BODY["control"][0][name] for name in control if name != "model"} | {
        "model": "control_canny"
    }
    assert "text_encoders" not in found.fields
    assert "c3c3c3" in fields_that_need_image(found)["init_image"]
    assert_usable(found)
    assert recall_text(record.to_json(), HERE).fields == found.fields


def test_some_fields_need_an_initial_image() -> None:
    record = ReproductionRecord.model_validate(BODY)
    found = recall_text(record.to_json(), HERE)
    refused = set()
    for name, value in found.fields.items():
        try:
            GenerationRequest.parse(**{"prompt": "x", name: value})
        except RequestError:
            refused.add(name)
    assert refused == BESIDE_A_PICTURE | {"regions"}


def test_a_record_of_other_weights() -> None:
    other = PLAIN | {"checkpoint": {"name": "starter", "family": "sd1", "digest": "b" * 64}}
    found = recall_text(ReproductionRecord.model_validate(other).to_json(), HERE)
    assert found.fields["checkpoint"] == "starter"
    assert "other weights" in found.unfilled[-1].reason


def test_an_invalid_record() -> None:
    text = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"
    found = recall_image(png(safelight='{"format": 9}', parameters=text), HERE, LIMITS)
    assert (found.source, found.fields["prompt"]) == ("a1111", "a cat")
    assert "record" in fields_that_need_image(found)


A1111 = f"""a (red:1.2) apple, <lora:fruit:0.8>
Negative prompt: blurry
Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123, Size: 512x768, \
Model hash: {DREAM[:10]}, Model: another name, Denoising strength: 0.4, Clip skip: 2, ENSD: 31337, \
Hires upscale: 1.5, Hires steps: 12, Hires upscaler: Latent, Lora hashes: "fruit: 0123456789ab", Version: v1.10.1"""


def test_a1111_with_a_second_pass() -> None:
    found = recall_text(A1111, HERE)
    assert (found.source, found.infotext) == ("a1111", A1111)
    assert found.fields == {
        "prompt": "a (red:1.2) apple,",
        "negative_prompt": "blurry",
        "checkpoint": "sd/dreamshaper_8",
        "sampler": "DPM++ 2M",
        "schedule": "karras",
        "hires": {"scale": 1.5, "steps": 12, "upscaler": "latent", "strength": 0.4, "all_steps": True},
        "noise_source": "gpu",
        "steps": 30,
        "seed": 123,
        "guidance_scale": 6.5,
        "clip_skip": 2,
        "width": 512,
        "height": 768,
    }
    assert fields_that_need_image(found) == {
        "adapter": "<lora:fruit:0.8>",
        "ENSD": "31337",
    }
    assert recall_image(png(parameters=A1111), HERE, LIMITS) == found
    assert_usable(found)


def test_a1111_with_a_second_pass_by_its_size() -> None:
    text = (
        "x\nSteps: 8, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: nowhere, Denoising strength: 0.5, "
        "Hires CFG Scale: 5, Hires schedule type: Karras, Hires resize: 1024x1024, Hires upscaler: R-ESRGAN 4x+"
    )
    found = recall_text(text, HERE)
    assert found.fields["hires"] == {
        "scale": 2.0,
        "strength": 0.5,
        "sampler": "Euler a karras",
        "guidance_scale": 5.0,
        "all_steps": True,
    }
    assert fields_that_need_image(found) == {
        "checkpoint": "nowhere",
        "hires.upscaler": "R-ESRGAN 4x+",
    }
    crooked = recall_text(text.replace("1024x1024", "1024x512"), HERE)
    assert "hires" not in crooked.fields
    assert fields_that_need_image(crooked)["hires.scale"] == "1024x512"


def test_a1111_with_a_refiner_and_a_second_pass_of_its_own() -> None:
    text = (
        "x\nSteps: 8, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Denoising strength: 0.5, "
        f'Hires prompt: "a dog, <lora:fruit:0.5>", Hires negative prompt: cats, Hires checkpoint: mine [{DREAM[:10]}], '
        "Hires upscale: 2, Hires upscaler: Latent, Refiner: dreamshaper_8 [0123456789], Refiner switch at: 0.6"
    )
    found = recall_text(text, WITH_INK)
    own = {"prompt": "a dog,", "negative_prompt": "cats", "checkpoint": "sd/dreamshaper_8"}
    assert own.items() <= found.fields["hires"].items()
    assert found.fields["refiner"] == {"checkpoint": "sd/dreamshaper_8", "switch_at": 0.6}
    assert fields_that_need_image(found) == {
        "adapter": "<lora:fruit:0.5>",
        "refiner.checkpoint's hash": "0123456789",
    }
    assert_usable(found)
    gone = recall_text(text.replace("dreamshaper_8 [", "nowhere ["), HERE)
    assert "refiner" not in gone.fields
    assert fields_that_need_image(gone)["refiner.checkpoint"] == "nowhere"


def test_a1111_with_a_mask() -> None:
    text = (
        "x\nSteps: 8, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 64x64, Model: dreamshaper_8.safetensors, "
        "Denoising strength: 0.75, Mask blur: 8, Inpaint area: Only masked, Masked area padding: 16, "
        "Masked content: latent noise, Mask mode: Inpaint not masked, Eta: 0.5"
    )
    found = recall_text(text, HERE)
    assert (found.fields["strength"], found.fields["eta"]) == (0.75, 0.5)
    assert found.fields["checkpoint"] == "sd/dreamshaper_8"
    assert found.fields["inpaint"] == {
        "blur": 8,
        "padding": 16,
        "only_masked": True,
        "fill": "noise",
        "invert": True,
    }
    assert fields_that_need_image(found).keys() == {"init_image", "mask"}
    nothing = recall_text(text.replace("latent noise", "latent nothing").replace("blur: 8", "blur: x"), HERE)
    assert nothing.fields["inpaint"].keys() == {"padding", "only_masked", "invert"}
    assert fields_that_need_image(nothing).keys() == {"init_image", "mask", "Masked content", "Mask blur"}


def test_sdnext() -> None:
    text = (
        "a fox\nNegative prompt: \nTemplate: a {prompt}\nNegative template: \n"
        "Steps: 20, Size: 640x512, Sampler: DPM++ 2M, Scheduler: DPMSolverMultistepScheduler, Seed: 42, "
        "CFG scale: 7.0, CFG rescale: 0.5, CFG end: 0.9, CLiP-skip: 2, App: SD.Next, Version: 1a2b3c4, "
        "Pipeline: StableDiffusionPipeline, Operations: txt2img; hires, Model: dreamshaper_8, "
        "Variation seed: 5, Variation strength: 0.2, Hires upscaler: Latent, Hires scale: 2.0, Hires steps: 0, "
        "Hires strength: 0.3, VAE: kl-f8, Sampler sigma: karras"
    )
    found = recall_text(text, HERE)
    assert found.source == "sdnext"
    assert found.fields == {
        "prompt": "a fox",
        "negative_prompt": "",
        "checkpoint": "sd/dreamshaper_8",
        "sampler": "DPM++ 2M",
        "schedule": "karras",
        "hires": {"scale": 2.0, "strength": 0.3, "upscaler": "latent", "all_steps": True},
        "variation": {"seed": 5, "strength": 0.2},
        "noise_source": "gpu",
        "steps": 20,
        "seed": 42,
        "guidance_scale": 7.0,
        "guidance_rescale": 0.5,
        "guidance_end": 0.9,
        "clip_skip": 2,
        "width": 640,
        "height": 512,
    }
    assert fields_that_need_image(found) == {"vae": "kl-f8"}


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("Version: v1.10.1", "gpu"),
        ("RNG: NV, Version: v1.10.1", "gpu"),
        ("RNG: CPU, Version: v1.10.1", "cpu"),
        ("App: SD.Next, Version: 058a7f0", "gpu"),
        ("Version: ComfyUI", "cpu"),
        ("Version: Safelight 0.1", "cpu"),
        ("RNG: NV, Version: Safelight 0.1", "gpu"),
    ],
)
def test_where_noise_was_drawn(written: str, source: str) -> None:
    found = recall_text(f"x\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 7, {written}", HERE)
    assert (found.fields["noise_source"], found.unfilled) == (source, ())


@pytest.mark.parametrize(
    ("written", "edges"),
    [("True", "both"), ("horizontal", "horizontal"), ("vertical", "vertical"), ("False", None)],
)
def test_tiling(written: str, edges: str | None) -> None:
    found = recall_text(f"x\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 7, Tiling: {written}", HERE)
    assert (found.fields.get("seamless"), found.unfilled) == (edges, ())


@pytest.mark.parametrize(
    ("written", "scales"),
    [
        ("CFG scale: 1, Distilled CFG Scale: 3.5", {"guidance_scale": 3.5}),
        ("CFG scale: 2, Distilled CFG Scale: 3.5", {"guidance_scale": 3.5, "true_cfg_scale": 2.0}),
        (
            "CFG scale: 3.5, CFG true: 4.0, App: SD.Next, Pipeline: FluxPipeline",
            {"guidance_scale": 3.5, "true_cfg_scale": 4.0},
        ),
        (
            "CFG scale: 6, CFG true: 3.0, App: SD.Next, Pipeline: StableDiffusionPAGPipeline",
            {"guidance_scale": 6.0, "pag_scale": 3.0},
        ),
        ("CFG scale: 3.5, True CFG scale: 4", {"guidance_scale": 3.5, "true_cfg_scale": 4.0}),
    ],
)
def test_a_second_scale_of_guidance(written: str, scales: dict[str, float]) -> None:
    found = recall_text(f"x\nSteps: 20, Sampler: Euler, Seed: 7, {written}", HERE)
    assert {name: found.fields[name] for name in found.fields if name.endswith("_scale")} == scales
    assert found.unfilled == ()


def test_an_invalid_value_does_not_affect_the_others() -> None:
    text = (
        "x\nSteps: many, Sampler: Nonsense, CFG scale: 1000, Seed: -1, Size: 512 by 512, "
        "Clip skip: 2, Variation seed: 3, Variation seed strength: 7"
    )
    found = recall_text(text, HERE)
    assert found.fields == {"prompt": "x", "negative_prompt": "", "clip_skip": 2, "noise_source": "gpu"}
    assert fields_that_need_image(found) == {
        "Steps": "many",
        "sampler": "Nonsense",
        "guidance_scale": "1000.0",
        "seed": "-1",
        "variation.strength": "7.0",
        "variation": "{'seed': 3, 'strength': 7.0}",
        "Size": "512 by 512",
    }
    assert all(each.reason.endswith(".") for each in found.unfilled)


@pytest.mark.parametrize(("written", "steps"), [("20.0", 20), ("20.", None), ("20.5", None), ("2_0", None)])
def test_a_whole_number_may_have_decimals_of_zero(written: str, steps: int | None) -> None:
    found = recall_text(f"x\nSteps: {written}, Sampler: Euler, CFG scale: 7, Seed: 1, Clip skip: 2.0", HERE)
    assert (found.fields.get("steps"), found.fields["clip_skip"]) == (steps, 2)
    reasons = [each.reason for each in found.unfilled]
    assert reasons == ([] if steps else [f"Steps: {written!r} is no whole number."])


@pytest.mark.parametrize("label", ["Leading", "DDIM", "DDIM Uniform", "ddim_uniform"])
def test_every_label_of_the_leading_schedule(label: str) -> None:
    found = recall_text(
        f"x\nSteps: 2, Sampler: Euler, Schedule type: {label}, CFG scale: 7, Seed: 1, Size: 64x64", HERE
    )
    assert (found.fields["schedule"], found.unfilled) == ("leading", ())


def test_a_mask_without_blur() -> None:
    sharp = {"blur": 0, "only_masked": False, "fill": "original", "invert": False}
    record = ReproductionRecord.model_validate(BODY | {"inpaint": sharp, "outpaint": None})
    found = recall_text(infotext_from_record(record), HERE)
    assert found.fields["inpaint"]["blur"] == 0
    assert "mask" in fields_that_need_image(found)


def test_an_upscaled_picture() -> None:
    """Its settings are those of its source; what was done afterwards is named."""
    text = "x\nSteps: 20, Sampler: Euler, CFG scale: 4, Seed: 7, Postprocess upscale by: 2, Postprocess upscaler: 4x"
    found = recall_text(text, HERE)
    assert (found.fields["seed"], found.fields["steps"]) == (7, 20)
    assert [each.name for each in found.unfilled] == ["Postprocess upscale by", "Postprocess upscaler"]
    assert all("enlarged after" in each.reason for each in found.unfilled)


def test_our_own_text_alone() -> None:
    found = recall_text(infotext_from_record(ReproductionRecord.model_validate(BODY)), HERE)
    assert found.source == "safelight"
    assert found.fields["outpaint"] == {"left": 64}
    assert found.fields["guidance_method"] == "cfg-zero"
    assert (found.fields["guidance_start"], found.fields["guidance_end"]) == (0.1, 0.9)
    assert "all_steps" not in found.fields["hires"]
    assert_usable(found)


GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["20", 0],
            "steps": 25,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m_sde_gpu",
            "scheduler": "karras",
            "denoise": 1.0,
            "model": ["10", 0],
            "positive": ["15", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd\\dreamshaper_8.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 512, "batch_size": 2}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["21", 0], "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["11", 0]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "ink.safetensors", "model": ["4", 0]}},
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]}},
    "15": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["16", 0]},
    },
    "20": {"class_type": "Seed", "inputs": {"seed": 77}},
    "21": {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
}


def test_comfyui() -> None:
    found = recall_image(png(prompt=json.dumps(GRAPH), workflow="{}"), HERE, LIMITS)
    assert (found.source, found.infotext) == ("comfyui", None)
    assert found.fields == {
        "checkpoint": "sd/dreamshaper_8",
        "clip_skip": 2,
        "prompt": "a fox",
        "negative_prompt": "blurry",
        "seed": 77,
        "noise_source": "cpu",
        "steps": 25,
        "guidance_scale": 6.5,
        "sampler": "DPM++ 2M SDE",
        "schedule": "karras",
        "width": 640,
        "height": 512,
        "count": 2,
    }
    assert fields_that_need_image(found) == {
        "adapter": "<lora:ink:te=0:unet=1>",
        "node 15": "ControlNetApplyAdvanced",
    }
    assert recall_text(json.dumps(GRAPH), HERE) == found
    assert recall_text(json.dumps({"prompt": GRAPH, "client_id": "x"}), HERE) == found


def with_nodes(**nodes: dict[str, Any]) -> RecallResult:
    return recall_text(json.dumps(GRAPH | nodes), HERE)


def test_comfyui_with_references() -> None:
    found = with_nodes(
        **{
            "3": {"class_type": "KSampler", "inputs": GRAPH["3"]["inputs"] | {"positive": ["40", 0]}},
            "40": {
                "class_type": "ReferenceLatent",
                "inputs": {"conditioning": ["41", 0], "latent": ["42", 0]},
            },
            "41": {
                "class_type": "TextEncodeQwenImageEditPlus",
                "inputs": {"prompt": "a hat", "image1": ["43", 0], "clip": ["11", 0]},
            },
            "42": {"class_type": "VAEEncode", "inputs": {"pixels": ["44", 0]}},
            "43": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
            "44": {"class_type": "LoadImage", "inputs": {"image": "sofa.png"}},
        }
    )
    assert found.fields["prompt"] == "a hat"
    asked = fields_that_need_image(found)
    assert {asked["references[0].image"], asked["references[1].image"]} == {"cat.png", "sofa.png"}


def test_comfyui_from_a_picture() -> None:
    sampler = GRAPH["3"]["inputs"] | {"latent_image": ["31", 0], "denoise": 0.6, "seed": 2**64 - 1}
    found = with_nodes(
        **{
            "3": {"class_type": "KSampler", "inputs": sampler},
            "31": {"class_type": "VAEEncode", "inputs": {"pixels": ["32", 0], "vae": ["4", 2]}},
            "32": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        }
    )
    assert found.fields["strength"] == 0.6
    assert "seed" not in found.fields
    assert fields_that_need_image(found).keys() >= {"init_image", "seed"}


def test_comfyui_with_two_passes() -> None:
    second = GRAPH["3"]["inputs"] | {"latent_image": ["41", 0], "steps": 9}
    found = with_nodes(
        **{
            "1": {"class_type": "KSampler", "inputs": second},
            "41": {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["3", 0], "scale_by": 1.5}},
        }
    )
    assert found.fields["steps"] == 25
    assert fields_that_need_image(found)["node 1"] == "KSampler"


def test_comfyui_with_a_sampler_in_parts() -> None:
    graph = {
        "1": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["2", 0],
                "guider": ["3", 0],
                "sampler": ["4", 0],
                "sigmas": ["5", 0],
                "latent_image": ["6", 0],
            },
        },
        "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "3": {"class_type": "BasicGuider", "inputs": {"model": ["7", 0], "conditioning": ["8", 0]}},
        "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4, "denoise": 1}},
        "6": {
            "class_type": "EmptySD3LatentImage",
            "inputs": {"width": 1024, "height": 1024, "batch_size": 1},
        },
        "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
        "8": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["9", 0]}},
        "9": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    }
    found = recall_text(json.dumps(graph), HERE)
    assert found.fields == {
        "checkpoint": "flux",
        "prompt": "a fox",
        "seed": 5,
        "noise_source": "cpu",
        "steps": 4,
        "guidance_scale": 3.5,
        "sampler": "Euler FlowMatch",
        "schedule": found.fields["schedule"],
        "width": 1024,
        "height": 1024,
        "count": 1,
    }
    custom = graph | {"5": {"class_type": "KarrasScheduler", "inputs": {"steps": 6}}}
    custom["7"] = GRAPH["4"]
    assert recall_text(json.dumps(custom), HERE).fields["schedule"] == "karras"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("euler", "Euler"),
        ("euler_ancestral", "Euler a"),
        ("dpm_2_ancestral", "DPM2 a"),
        ("dpmpp_2s_ancestral", "DPM++ 2S a"),
        ("dpmpp_sde_gpu", "DPM++ SDE"),
        ("uni_pc", "UniPC BH1"),
        ("uni_pc_bh2", "UniPC"),
        ("ddim", "DDIM"),
        ("lcm", "LCM"),
        ("res_multistep", None),
    ],
)
def test_comfyui_s_samplers(name: str, ours: str | None) -> None:
    inputs = GRAPH["3"]["inputs"] | {"sampler_name": name, "scheduler": "normal"}
    found = with_nodes(**{"3": {"class_type": "KSampler", "inputs": inputs}})
    assert found.fields.get("sampler") == ours
    assert ("sampler" in fields_that_need_image(found)) == (ours is None)


def test_differential_diffusion_is_soft_inpainting() -> None:
    sampler = {**GRAPH["3"], "inputs": GRAPH["3"]["inputs"] | {"model": ["12", 0]}}
    soft = {"class_type": "DifferentialDiffusion", "inputs": {"model": ["10", 0]}}
    found = recall_text(json.dumps(GRAPH | {"3": sampler, "12": soft}), HERE)
    assert (found.fields["inpaint"], found.fields["checkpoint"]) == ({"soft": True}, "sd/dreamshaper_8")


def test_graphs_with_cycles_or_missing_nodes() -> None:
    for class_type in ("KSampler", "Unknown"):
        node = {"class_type": class_type, "inputs": {name: ["1", 0] for name in GRAPH["3"]["inputs"]}}
        assert recall_text(json.dumps({"1": node}), HERE).source == "comfyui"
    empty = {"1": {"class_type": "SaveImage", "inputs": {}}}
    assert recall_text(json.dumps(empty), HERE).unfilled[0].name == "prompt"


def test_a_request_as_json() -> None:
    request = {
        "kind": "generate",
        "prompt": "a fox",
        "styles": ["ink", "gone", 3],
        "steps": "12",
        "sampler": "dpmpp_2m",
        "schedule": "Karras",
        "checkpoint": "../etc/passwd",
        "hires": {"scale": 1.5, "upscaler": 3, "sampler": "None such", "what": 1},
        "inpaint": "all",
        "init_image": {"blob": "00"},
        "cfg_scale": 7,
        "count": 10**9,
    }
    found = recall_text(json.dumps(request), HERE)
    assert found.source == "safelight"
    assert found.fields == {
        "prompt": "a fox",
        "styles": ["ink"],
        "steps": 12,
        "sampler": "DPM++ 2M",
        "schedule": "karras",
        "hires": {"scale": 1.5},
    }
    assert [each.name for each in found.unfilled].count("styles") == 2
    assert fields_that_need_image(found).keys() == {
        "styles",
        "checkpoint",
        "hires.upscaler",
        "hires.sampler",
        "hires.what",
        "inpaint",
        "init_image",
        "cfg_scale",
        "count",
    }
    assert recall_text(json.dumps({"id": "x", "request": request}), HERE) == found


def test_inputs_without_parameters() -> None:
    assert recall_image(png(), HERE, LIMITS) == RecallResult("none")
    assert recall_image(png(parameters="just words"), HERE, LIMITS) == RecallResult("none", {}, "just words")
    assert recall_image(png(workflow="{}"), HERE, LIMITS).unfilled[0].name == "workflow"
    buffer = io.BytesIO()
    TINY.save(buffer, "BMP")
    assert recall_image(buffer.getvalue(), HERE, LIMITS).unfilled[0].name == "metadata"
    for text in ("", "a red apple", "{}", "{", '{"a": 1}', "[1]", "Steps: 3", "{" * 100_000):
        assert (recall_text(text, HERE).source, recall_text(text, HERE).fields) == ("none", {})
    with pytest.raises(ImageError):
        recall_image(b"no picture", HERE, LIMITS)


def test_results_are_limited() -> None:
    marks = "Steps: 3, Sampler: Euler, CFG scale: 1"
    found = recall_text("x\n" + marks + "".join(f", k{number}: {'v' * 400}" for number in range(150)), HERE)
    assert len(found.unfilled) == 100
    assert all(len(each.value) <= 300 for each in found.unfilled)
    for key in ("Sampler", "Hires upscaler"):
        found = recall_text(f"x\n{marks}, {key}: {'v' * 400}".replace("Euler", "v" * 400), HERE)
        assert all(len(text) <= 300 for each in found.unfilled for text in vars(each).values())
        assert any(
            each.reason.startswith("There is no ") and each.reason[-1] == "…" for each in found.unfilled
        )


def many_samplers(links: int) -> dict[str, Any]:
    """Samplers that all start at one node, each of which takes so many times the output of the last."""
    begins = {"class_type": "X", "inputs": {f"a{number}": ["y", number] for number in range(links)}}
    inputs = {"positive": "", "latent_image": ["x", 0]}
    samplers = {str(number): {"class_type": "KSampler", "inputs": inputs} for number in range(1_500)}
    return {"x": begins, "y": {"class_type": "Y", "inputs": {"samples": ["0", 0]}}} | samplers


def test_graphs_of_many_links_are_fast() -> None:
    began = time.process_time()
    found = recall_text(json.dumps(many_samplers(40_000)), HERE)
    assert time.process_time() - began < 3
    assert (found.source, len(found.unfilled)) == ("comfyui", 100)


def test_graphs_are_limited() -> None:
    extra = {str(number): GRAPH["20"] for number in range(100, MAX_NODES + 100)}
    for graph in (many_samplers(MAX_LINKS), GRAPH | extra):
        found = recall_text(json.dumps(graph), HERE)
        assert (found.source, found.fields) == ("comfyui", {})
        assert "this one is larger" in found.unfilled[0].reason


def test_the_first_pass_is_found() -> None:
    """However far from the others it is, and whatever nodes are between."""
    graph = dict(GRAPH)
    for number in range(100, 130):
        graph[f"{number}"] = {"class_type": "VAEDecode", "inputs": {"samples": [f"{number - 1}", 0]}}
    graph["100"] = {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0]}}
    later = GRAPH["3"]["inputs"] | {"latent_image": ["129", 0], "steps": 9}
    graph = {"0": {"class_type": "KSampler", "inputs": later}} | graph
    assert recall_text(json.dumps(graph), HERE).fields["steps"] == 25


def test_many_styles_are_fast() -> None:
    began = time.process_time()
    text = json.dumps({"prompt": "x", "styles": ["ink"] * 40_000 + ["gone"] * 40_000})
    assert len(recall_text(text, HERE).unfilled) == 100
    assert time.process_time() - began < 3


def test_unpaired_surrogates_are_never_returned() -> None:
    for text in ('{"prompt": "\\ud800", "\\udc00": "\\ud800"}', '{"prompt": "x", "sampler": "\\ud800"}'):
        found = recall_text(text, HERE)
        json.dumps([found.fields, [vars(each) for each in found.unfilled]], ensure_ascii=False).encode()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"1234", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
links = st.tuples(st.sampled_from("12345"), st.just(0)).map(list)
nodes = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["KSampler", "CLIPTextEncode", "EmptyLatentImage", "LoadImage", "X"]),
        "inputs": st.dictionaries(
            st.sampled_from(
                [*GRAPH["3"]["inputs"], "text", "width", "image", "guider", "sigmas", "noise", "value"]
            ),
            values | links,
        ),
    }
)


@given(st.dictionaries(st.sampled_from("12345"), nodes | values))
def test_any_graph_is_survived(graph: dict[str, Any]) -> None:
    assert_usable(recall_text(json.dumps(graph), HERE))


@given(st.dictionaries(st.sampled_from([*GenerationRequest.model_fields, "request", "format"]), values))
def test_any_request_is_survived(request: dict[str, Any]) -> None:
    assert_usable(recall_text(json.dumps(request), HERE))


keys = ["Steps", "Sampler", "CFG scale", "Seed", "Size", "Hires upscale", "Hires resize", "Hires steps"]
keys += [
    "Denoising strength",
    "Mask blur",
    "Masked content",
    "Outpaint",
    "Variation seed",
    "Schedule type",
    "App",
]


@given(
    st.text(max_size=20),
    st.dictionaries(st.sampled_from(keys), st.text(max_size=12) | st.integers().map(str)),
)
def test_any_text_is_survived(prompt: str, pairs: dict[str, str]) -> None:
    assert_usable(
        recall_text(f"{prompt}\n" + ", ".join(f"{key}: {value}" for key, value in pairs.items()), HERE)
    )


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_file_is_survived(noise: bytes, at: int) -> None:
    data = png(parameters=A1111, prompt=json.dumps(GRAPH))
    with suppress(ImageError):
        assert_usable(recall_image(data[:at] + noise + data[at + len(noise) :], HERE, LIMITS))


def test_unsupported_parts_of_a_prompt_are_removed_and_named() -> None:
    text = (
        "a cat <lora:ink:1> AND (a dog:1.1) :0.5\nNegative prompt: embedding:bad, x\n"
        "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"
    )
    found = recall_text(text, HERE)
    assert (found.fields["prompt"], found.fields["negative_prompt"]) == (
        "a cat AND (a dog:1.1) :0.5",
        "embedding:bad, x",
    )
    assert fields_that_need_image(found) == {
        "adapter": "<lora:ink:1>",
    }
    assert_usable(found)


def test_soft_inpainting_of_a1111() -> None:
    text = (
        "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Denoising strength: 0.6, Mask blur: 4, "
        "Soft inpainting enabled: True, Soft inpainting schedule bias: 1"
    )
    found = recall_text(text, HERE)
    assert found.fields["inpaint"] == {"blur": 4, "soft": True}
    assert "Soft inpainting schedule bias" in fields_that_need_image(found)


def test_regions_come_without_their_masks() -> None:
    regions = [{"prompt": "a", "expanded_prompt": "a dog", "mask": "a" * 64, "weight": 0.5}]
    record = ReproductionRecord.model_validate(PLAIN | {"regions": regions, "region_method": "attention"})
    for text in (record.to_json(), infotext_from_record(record)):
        found = recall_text(text, HERE)
        assert found.fields["regions"] == [{"prompt": "a dog", "weight": 0.5}]
        assert found.fields["region_method"] == "attention"
        assert fields_that_need_image(found)["regions[0].mask"] == ""
    broken = infotext_from_record(record).replace('\\"prompt\\"', "prompt")
    assert "regions" not in recall_text(broken, HERE).fields


def test_a_composed_prompt_stays_one() -> None:
    composed = {"expanded_prompt": "a AND b :0.5", "composed": True}
    record = ReproductionRecord.model_validate(PLAIN | composed)
    assert recall_text(record.to_json(), HERE).fields["prompt"] == "a AND b :0.5"


def test_parts_that_were_not_applied_are_named() -> None:
    record = ReproductionRecord.model_validate(PLAIN | {"left_out": ["<net:ink:1>"]})
    for found in (recall_text(record.to_json(), HERE), recall_text(infotext_from_record(record), HERE)):
        assert "<net:ink:1>" in fields_that_need_image(found).values()
        assert "<net" not in found.fields["prompt"]


def test_parts_that_an_older_version_read_literally_are_escaped() -> None:
    record = ReproductionRecord.model_validate(PLAIN | {"expanded_prompt": "a cat <lora:ink:1>"})
    found = recall_text(record.to_json(), HERE)
    assert found.fields["prompt"] == "a cat \\<lora:ink:1>"
    assert_usable(found)


def test_a_request_that_ignores_unsupported_parts() -> None:
    found = recall_text('{"prompt": "a <lora:x:1> cat", "ignore_unsupported": true}', HERE)
    assert found.fields == {"prompt": "a cat"}
    assert fields_that_need_image(found) == {"adapter": "<lora:x:1>"}


def find_ink(name: str, digits: str | None) -> KnownAdapter | None:
    """A fruit of the hash 0123456789ab is called ink here; others are not here."""
    if digits and digits.startswith("0123456789ab"):
        return KnownAdapter("ink")
    return KnownAdapter("ink", differs=digits is not None) if name in ("ink", "styles/ink") else None


WITH_INK = replace(HERE, find_adapter=find_ink)


def test_adapters_that_are_here_are_in_the_prompt_under_their_names_here() -> None:
    found = recall_text(A1111, WITH_INK)
    assert found.fields["prompt"] == "a (red:1.2) apple, <lora:ink:0.8>"
    assert fields_that_need_image(found) == {"ENSD": "31337"}
    text = A1111.replace("<lora:fruit:0.8>", "<lora:ink:te=0.5:unet=0.2@0,1@0.5> pear").replace(
        "fruit:", "ink:"
    )
    assert (
        recall_text(text, WITH_INK).fields["prompt"]
        == "a (red:1.2) apple, <lora:ink:te=0.5:unet=0.2@0,1@0.5> pear"
    )
    text = text.replace("0123456789ab", "ba9876543210")
    assert fields_that_need_image(recall_text(text, WITH_INK))["adapter's hash"] == "ink: ba9876543210"
    text = text.replace("te=0.5", "lbw=x")
    found = recall_text(text, WITH_INK)
    assert "lbw" in fields_that_need_image(found)["adapter"]
    assert_usable(found)


def test_adapters_that_are_not_in_the_prompt_are_named() -> None:
    text = A1111.replace(" <lora:fruit:0.8>", "").replace("Version: v1.10.1", "LoRA networks: ink")
    named = [each.value for each in recall_text(text, WITH_INK).unfilled if each.name == "adapter"]
    assert named == ["ink", "fruit"]


def test_comfyuis_adapters_are_in_the_prompt_in_their_order() -> None:
    def loads(name: str, behind: str, **strengths: float) -> dict[str, Any]:
        inputs = {"lora_name": name, "model": [behind, 0], "clip": [behind, 1], **strengths}
        return {"class_type": "LoraLoader", "inputs": inputs}

    nodes = {
        "10": loads("styles\\ink.safetensors", "30", strength_model=0.8, strength_clip=0.5),
        "30": loads("ink.safetensors", "4", strength_model=1, strength_clip=1),
    }
    found = recall_text(json.dumps(GRAPH | nodes), WITH_INK)
    assert found.fields["prompt"] == "a fox <lora:ink:1> <lora:ink:te=0.5:unet=0.8>"
    assert_usable(found)


def test_adapters_of_a_record_and_of_a_request() -> None:
    used = {"name": "fruit", "digest": "0123456789ab" + "0" * 52, "strength": 0.5}
    record = ReproductionRecord.model_validate(PLAIN | {"adapters": [used]})
    found = recall_text(record.to_json(), WITH_INK)
    assert found.fields["prompt"] == f"{PLAIN['expanded_prompt']} <lora:ink:0.5>"
    assert "adapter" not in fields_that_need_image(found)
    request = {"prompt": "a cat", "adapters": ["ink:0.5", {"name": "gone"}, {"name": 3}]}
    found = recall_text(json.dumps(request), WITH_INK)
    assert found.fields == {"prompt": "a cat <lora:ink:0.5>"}
    assert len([each for each in found.unfilled if each.name == "adapter"]) == 2


def test_sdnexts_ip_adapters() -> None:
    text = "a cat\nSteps: 20, Seed: 1, Size: 64x64, App: SD.Next, IP Adapter: Plus:0.7:0.0:0.8:False;mine:1:0:1:False"
    here = replace(HERE, has_control=lambda name: name == "ip-adapter-plus_sd15")
    found = recall_text(text, here)
    assert found.fields["control"] == [
        {"kind": "ip-adapter", "model": "ip-adapter-plus_sd15", "weight": 0.7, "start": 0.0, "end": 0.8},
        {"kind": "ip-adapter", "weight": 1.0, "start": 0.0, "end": 1.0},
    ]
    unfilled = {each.name for each in found.unfilled}
    assert {"control[0].image", "control[1].image", "control[1].model"} <= unfilled
    assert "IP Adapter" not in unfilled
    unread = recall_text("a cat\nSteps: 20, Seed: 1, Size: 64x64, IP Adapter: Base", here)
    assert "IP Adapter" in {each.name for each in unread.unfilled}
