"""Controls in pictures of tiny checkpoints, beside diffusers' own ControlNet pipelines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from PIL import Image
from safetensors.torch import load_file
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import nearly_equal
from tests.generation.modifiers.controlled import picture, reference
from tests.tiny import controls

from safelight.errors import (
    ControlFamilyError,
    ControlMissingError,
    FieldError,
    FieldMissingError,
    NotAChoiceError,
    PreprocessorUnknownError,
    UnsupportedError,
)
from safelight.generation.control.preprocessors import PreprocessContext, find_preprocessor
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record
from safelight.generation.modifiers.control_reference import KeepFeatures, SeeFeatures
from safelight.generation.modifiers.control_unet import ChangedInputs
from safelight.generation.record import ReproductionRecord, pixels_digest
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import build_scheduler, prediction_process_of, resolve_sampler
from safelight.models.controls.lllite import LLLite
from safelight.models.digests import combined_digest
from safelight.settings import Settings

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def control_file(drawing_home: Path, tiny: Callable[[str], Path]) -> Callable[..., str]:
    """The name of a tiny control network, built once in the engine's folder."""

    def named(name: str, build: Build, checkpoint: str, seed: int = 0) -> str:
        folder = drawing_home / "controlnet" / name
        if not folder.exists():
            build(tiny(checkpoint), folder, seed=seed)
        return name

    return named


@pytest.mark.parametrize(
    ("checkpoint", "mode"),
    [(name, mode) for name in ("sd1", "sdxl") for mode in ("text", "image", "inpaint")] + [("sd2", "text")],
)
def test_a_controlnet_draws_what_diffusers_draws(
    draw: GenerateImages,
    tiny: Callable[[str], Path],
    drawing_home: Path,
    control_file: Any,
    checkpoint: str,
    mode: str,
) -> None:
    name = control_file(f"canny-{checkpoint}", controls.controlnet, checkpoint)
    shown, start = picture(1), picture(2)
    fields: dict[str, Any] = {"guidance_scale": 4.0}
    call: dict[str, Any] = {
        "guidance_scale": 4.0,
        "controlnet_conditioning_scale": 0.8,
        "width": SIDE,
        "height": SIDE,
    }
    xl = "XL" if checkpoint == "sdxl" else ""
    pipeline = f"StableDiffusion{xl}ControlNetPipeline"
    if mode == "text":
        call["image"] = shown
    else:
        fields |= {"init_image": start, "strength": 0.7}
        call |= {"image": start, "control_image": shown, "strength": 0.7}
        pipeline = pipeline.replace("Pipeline", "Img2ImgPipeline")
    if mode == "inpaint":
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, (16, 16, 48, 48))
        fields |= {"mask": mask, "inpaint": {"blur": 0}}
        call["mask_image"] = mask
        pipeline = pipeline.replace("Img2Img", "Inpaint")
    network = ControlNetModel.from_pretrained(drawing_home / "controlnet" / name)
    expected = reference(tiny(checkpoint), pipeline, network, **call)
    control = {"model": name, "image": shown, "weight": 0.8}
    (drawn,) = draw(checkpoint, alone=True, sampler="DPM++ 2M Karras", control=[control], **fields)
    ours = to_array(drawn)
    if mode == "inpaint":  # what is not masked is put back
        ours, expected = ours[16:48, 16:48], expected[16:48, 16:48]
    assert np.array_equal(ours, expected), np.abs(ours.astype(int) - expected).max()
    (without,) = draw(checkpoint, alone=True, sampler="DPM++ 2M Karras", **fields)
    assert np.abs(to_array(without).astype(int) - to_array(drawn)).max() > 3, "the control has an effect"


@pytest.mark.parametrize("mode", ["guess", "window", "several"])
def test_what_a_control_can_be_told(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, control_file: Any, mode: str
) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    shown = picture(1)
    network: Any = ControlNetModel.from_pretrained(drawing_home / "controlnet" / name)
    call: dict[str, Any] = {"image": shown, "guidance_scale": 4.0, "width": SIDE, "height": SIDE}
    control: list[dict[str, Any]] = [{"kind": "canny", "image": shown}]
    if mode == "guess":
        control[0]["mode"] = "guess"
        call["guess_mode"] = True
    elif mode == "window":
        control[0] |= {"start": 0.3, "end": 0.7}
        call |= {"control_guidance_start": 0.3, "control_guidance_end": 0.7}
    else:
        other = control_file("depth-sd1", controls.controlnet, "sd1", seed=3)
        control.append({"model": other, "image": picture(5), "weight": 0.5})
        network = [network, ControlNetModel.from_pretrained(drawing_home / "controlnet" / other)]
        call |= {"image": [shown, picture(5)], "controlnet_conditioning_scale": [1.0, 0.5]}
    expected = reference(tiny("sd1"), "StableDiffusionControlNetPipeline", network, **call)
    (drawn,) = draw("sd1", alone=True, sampler="DPM++ 2M Karras", guidance_scale=4.0, control=control)
    assert np.array_equal(to_array(drawn), expected)


def test_a_union_controlnet_draws_what_diffusers_draws(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, control_file: Any
) -> None:
    name = control_file("union-sdxl", controls.union, "sdxl")
    network = ControlNetUnionModel.from_pretrained(drawing_home / "controlnet" / name)
    shown = picture(1)
    expected = reference(
        tiny("sdxl"),
        "StableDiffusionXLControlNetUnionPipeline",
        network,
        control_image=[shown],
        control_mode=[1],
        guidance_scale=4.0,
        width=SIDE,
        height=SIDE,
    )
    control = [{"model": name, "kind": "depth", "image": shown}]
    (drawn,) = draw("sdxl", alone=True, sampler="DPM++ 2M Karras", guidance_scale=4.0, control=control)
    assert np.array_equal(to_array(drawn), expected)


def test_controls_of_pictures_at_the_same_time_stay_apart(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    requests = [{"control": [{"model": name, "image": picture(seed)}], "seed": seed} for seed in (1, 2)]
    alone = [draw("sd1", alone=True, **fields)[0] for fields in requests]
    with ThreadPoolExecutor(2) as pool:
        together = [each[0] for each in pool.map(lambda fields: draw("sd1", **fields), requests)]
    for one, other in zip(alone, together, strict=True):
        assert nearly_equal(to_array(other), to_array(one))
    assert any(each.record.batched for each in together), "calls with residuals are computed as one"


def test_a_mask_limits_where_a_control_counts(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    shown = picture(1)

    def drawn(**control: Any) -> Any:
        return draw("sd1", alone=True, control=[{"model": name, "image": shown, **control}])[0]

    black, white = Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE), 255)
    (without,) = draw("sd1", alone=True)
    assert same_pixels(drawn(mask=black), without)
    assert same_pixels(drawn(mask=white), drawn())
    half = white.copy()
    half.paste(0, (0, 0, SIDE // 2, SIDE))
    changed = np.abs(to_array(drawn(mask=half)).astype(int) - to_array(without)).mean((0, 2))
    assert changed[: SIDE // 4].mean() < changed[-SIDE // 4 :].mean()


def test_without_weight_or_steps_a_control_changes_nothing(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    (without,) = draw("sd1", alone=True)
    for fields in ({"weight": 0}, {"start": 0.5, "end": 0.5}):
        (drawn,) = draw("sd1", alone=True, control=[{"model": name, "image": picture(1), **fields}])
        assert same_pixels(drawn, without)


def test_modes_and_the_initial_picture(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    start = picture(2)
    fields = {"init_image": start, "strength": 0.7, "alone": True}
    (own,) = draw("sd1", control=[{"model": name}], **fields)
    (given,) = draw("sd1", control=[{"model": name, "image": start}], **fields)
    assert same_pixels(own, given), "without a picture of its own it takes the initial one"
    modes = [
        draw("sd1", alone=True, guidance_scale=4, control=[{"model": name, "image": start, "mode": mode}])[0]
        for mode in ("balanced", "prompt", "guess")
    ]
    assert not same_pixels(modes[0], modes[1])
    assert not same_pixels(modes[1], modes[2])


def test_the_second_pass_has_its_picture_in_its_own_size(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    hires = {"scale": 1.5, "upscaler": "lanczos"}
    control = [{"model": name, "image": picture(1, (96, 96)), "start": 0, "end": 1}]
    (with_control,) = draw("sd1", alone=True, hires=hires, control=control)
    (without,) = draw("sd1", alone=True, hires=hires)
    assert with_control.image.size == (96, 96)
    assert not same_pixels(with_control, without)


def test_only_the_masked_part_sees_its_part_of_the_picture(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    start, shown = picture(2, (128, 128)), picture(3, (128, 128))
    mask = Image.new("L", start.size)
    mask.paste(255, (16, 16, 48, 48))
    fields: dict[str, Any] = {"init_image": start, "mask": mask, "width": SIDE, "height": SIDE, "alone": True}
    inpaint = {"only_masked": True, "padding": 16, "blur": 0}
    changed = shown.copy()
    changed.paste(0, (96, 96, 128, 128))  # far from the mask
    first, second = (
        draw("sd1", inpaint=inpaint, control=[{"model": name, "image": image}], **fields)[0]
        for image in (shown, changed)
    )
    assert same_pixels(first, second)
    whole = {**inpaint, "only_masked": False}
    third, fourth = (
        draw("sd1", inpaint=whole, control=[{"model": name, "image": image}], **fields)[0]
        for image in (shown, changed)
    )
    assert not same_pixels(third, fourth)


def test_a_preprocessor_makes_the_map(draw: GenerateImages, control_file: Any) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    photo = picture(4)
    context = PreprocessContext(Settings())
    map_ = find_preprocessor("canny").run(photo, {"low": 50}, resolution=SIDE, context=context)
    preprocessor = {"name": "canny", "parameters": {"low": 50}}
    (ours,) = draw("sd1", alone=True, control=[{"model": name, "image": photo, "preprocessor": preprocessor}])
    (given,) = draw("sd1", alone=True, control=[{"model": name, "image": map_}])
    assert same_pixels(ours, given)
    assert ours.record.control[0].preprocessor is not None
    assert ours.record.control[0].preprocessor.parameters == {"low": 50}


def test_the_record_names_network_and_pictures(
    draw: GenerateImages, drawing_home: Path, control_file: Any
) -> None:
    name = control_file("canny-sd1", controls.controlnet, "sd1")
    shown = picture(1)
    (drawn,) = draw("sd1", alone=True, control=[{"model": name, "image": shown, "weight": 0.5, "end": 0.75}])
    (recorded,) = drawn.record.control
    weights = drawing_home / "controlnet" / name / "diffusion_pytorch_model.safetensors"
    assert recorded.name == name
    assert recorded.kind == "canny"
    assert recorded.digest == combined_digest([weights], None)
    assert recorded.image == pixels_digest(np.asarray(shown))
    again = ReproductionRecord.parse(drawn.record.to_json())
    assert again == drawn.record
    request = again.to_request(control={recorded.image or "": shown})
    assert request.control[0].weight == 0.5
    assert request.control[0].end == 0.75
    assert request.control[0].model == name
    infotext = infotext_from_record(drawn.record)
    assert f'ControlNet 0: "Module: none, Model: {name} [{recorded.digest[:8]}], Weight: 0.5, ' in infotext
    (plain,) = draw("sd1", alone=True)
    assert "control" not in plain.record.to_dict(), "older pictures are reproduced to the same file"


@pytest.mark.parametrize(
    ("control", "error", "field"),
    [
        ({"model": "nope"}, ControlMissingError, "control.0.model"),
        ({"kind": "shuffle"}, ControlMissingError, "control.0.model"),
        ({"model": "canny-sdxl"}, ControlFamilyError, "control.0.model"),
        (
            {"model": "canny-sd1", "preprocessor": {"name": "nope"}},
            PreprocessorUnknownError,
            "control.0.preprocessor.name",
        ),
        (
            {"model": "canny-sd1", "preprocessor": {"name": "canny", "parameters": {"low": -1}}},
            FieldError,
            "control.0.preprocessor.parameters.low",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_before_weights_are_read(
    drawing_home: Path, tiny: Callable[[str], Path], control_file: Any, control: Any, error: Any, field: str
) -> None:
    for checkpoint in ("sd1", "sdxl"):
        control_file(f"canny-{checkpoint}", controls.controlnet, checkpoint)
    engine = Engine(Settings(home=drawing_home, device="cpu"))
    request = GenerationRequest.parse(
        prompt="a cat", checkpoint=str(tiny("sd1")), control=[{"image": picture(), **control}]
    )
    with pytest.raises(error) as found:
        engine.start(request)
    assert found.value.field == field
    assert not engine.loaded_checkpoints


def test_a_union_needs_to_know_the_kind(drawing_home: Path, tiny: Any, control_file: Any) -> None:
    name = control_file("union-sdxl", controls.union, "sdxl")
    engine = Engine(Settings(home=drawing_home, device="cpu"))

    def start(**control: Any) -> None:
        fields = {"prompt": "a cat", "checkpoint": str(tiny("sdxl")), "width": SIDE, "height": SIDE}
        engine.start(
            GenerationRequest.parse(**fields, control=[{"model": name, "image": picture(), **control}])
        )

    with pytest.raises(FieldMissingError, match="several kinds"):
        start()
    with pytest.raises(NotAChoiceError, match="shuffle"):
        start(kind="shuffle")


def test_a_network_of_another_size_is_refused(drawing_home: Path, draw: GenerateImages, tiny: Any) -> None:
    folder = drawing_home / "controlnet" / "wide"
    if not folder.exists():
        unet = UNet2DConditionModel.from_pretrained(tiny("sd1") / "unet")
        config = dict(unet.config) | {"block_out_channels": (16, 48)}
        wide = UNet2DConditionModel.from_config(config)
        ControlNetModel.from_unet(wide, "rgb", controls.WIDTHS).save_pretrained(folder)
    with pytest.raises(ControlFamilyError, match="block_out_channels"):
        draw("sd1", control=[{"model": "wide", "image": picture()}])


@pytest.mark.filterwarnings("ignore:The decode_latents method:FutureWarning")  # in diffusers' own pipeline
def test_a_t2i_adapter_draws_what_diffusers_draws(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, control_file: Any
) -> None:
    """All but the last bit: diffusers' pipeline for adapters divides before decoding where the others multiply."""
    checkpoint = "sd1"
    name = control_file(f"adapter-{checkpoint}-sketch", controls.adapter, checkpoint)
    adapter = T2IAdapter.from_pretrained(drawing_home / "controlnet" / name)
    pipe = diffusers.StableDiffusionAdapterPipeline.from_pretrained(
        tiny(checkpoint), adapter=adapter, safety_checker=None
    )
    config = dict(pipe.scheduler.config) | {"_class_name": type(pipe.scheduler).__name__}
    choice = resolve_sampler("DPM++ 2M Karras", None, prediction_process_of(config))
    pipe.scheduler = build_scheduler(choice, config, [7])
    pipe.set_progress_bar_config(disable=True)
    result = pipe(
        prompt="a red cat",
        image=picture(1),
        num_inference_steps=3,
        guidance_scale=4.0,
        adapter_conditioning_scale=0.7,
        width=SIDE,
        height=SIDE,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    control = [{"model": name, "image": picture(1), "weight": 0.7}]
    fields: dict[str, Any] = {"alone": True, "sampler": "DPM++ 2M Karras", "guidance_scale": 4}
    (drawn,) = draw(checkpoint, control=control, **fields)
    assert nearly_equal(to_array(drawn), (result * 255).round().astype(np.uint8))
    (without,) = draw(checkpoint, **fields)
    assert not nearly_equal(to_array(drawn), to_array(without))
    (twice,) = draw(checkpoint, control=[{**control[0], "weight": 0.35}] * 2, **fields)
    assert nearly_equal(to_array(twice), to_array(drawn)), "two halves add up to one"


def test_a_control_lllite_changes_the_inputs_of_its_layers(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path
) -> None:
    path = drawing_home / "controlnet" / "lllite_canny.safetensors"
    if not path.exists():
        controls.lllite(tiny("sdxl"), path)
    control = {"model": "lllite_canny", "image": picture(1)}
    fields: dict[str, Any] = {"alone": True, "guidance_scale": 4}
    (without,) = draw("sdxl", **fields)
    drawn = [draw("sdxl", control=[{**control, **more}], **fields)[0] for more in ({}, {"mode": "guess"})]
    assert not same_pixels(drawn[0], without)
    assert not same_pixels(drawn[0], drawn[1])
    assert drawn[0].record.control[0].kind == "canny"
    (again,) = draw("sdxl", **fields)
    assert same_pixels(again, without), "the checkpoint is as it was"
    network = LLLite(load_file(path))
    patch = ChangedInputs(network, [torch.zeros(1, 1, 1)] * len(network.layers), 1.0, [0])
    with pytest.raises(UnsupportedError, match="no layer"), patch.apply(torch.nn.Linear(1, 1)):
        pass


def test_a_reference_needs_no_network(draw: GenerateImages) -> None:
    fields: dict[str, Any] = {"alone": True, "guidance_scale": 4}
    control = {"kind": "reference", "image": picture(1)}
    (without,) = draw("sd1", **fields)
    modes = [
        draw("sd1", control=[{**control, **more}], **fields)[0]
        for more in ({}, {"mode": "guess"}, {"mode": "prompt"}, {"weight": 0.5}, {"end": 0.4})
    ]
    assert all(not same_pixels(each, without) for each in modes)
    assert len({to_array(each).tobytes() for each in modes}) == len(modes)
    assert modes[0].record.control[0].digest is None
    again = modes[0].record.to_request(control={modes[0].record.control[0].image or "": picture(1)})
    assert again.control[0].kind == "reference"
    assert again.control[0].model is None
    assert "Module: reference_only, Model: None" in infotext_from_record(modes[0].record)
    with pytest.raises(UnsupportedError, match="for U-Nets"):
        draw("flux", control=[control])


def test_features_that_a_layer_has_itself_change_nothing() -> None:
    """Attention to the same keys and values twice is attention to them once."""
    block = BasicTransformerBlock(16, 2, 8, cross_attention_dim=8)
    network = torch.nn.ModuleList([block])
    inputs, text = torch.randn(2, 9, 16), torch.randn(2, 3, 8)
    keep = KeepFeatures()
    with torch.no_grad():
        with keep.apply(network):
            plain = block(inputs, encoder_hidden_states=text)
        with SeeFeatures(keep.features, (1.0, 1.0)).apply(network):
            assert torch.allclose(block(inputs, encoder_hidden_states=text), plain, atol=1e-5)
        other = [torch.randn_like(each) for each in keep.features]
        with SeeFeatures(other, (0.0, 1.0)).apply(network):
            seen = block(inputs, encoder_hidden_states=text)
        assert torch.allclose(seen[0], plain[0], atol=1e-5)
        assert not torch.allclose(seen[1], plain[1], atol=1e-3)
        assert torch.equal(block(inputs, encoder_hidden_states=text), plain)
