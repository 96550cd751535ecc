"""Controls of transformers, beside diffusers' own ControlNet pipelines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import nearly_equal
from tests.tiny import controls

from safelight.generation.solvers.samplers import build_scheduler, prediction_process_of, resolve_sampler

pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")  # in diffusers' own ControlNet


@dataclass(frozen=True)
class Case:
    """A kind of control network.

    Args:
        checkpoint: The tiny checkpoint.
        network: Its class in diffusers.
        pipeline: diffusers' pipeline.
        config: Values of its config that are not the transformer's.
        call: Arguments of the pipeline.
        control: Fields of the control.
        fields: Fields of the request.
        sampler: The sampler.
    """

    checkpoint: str
    network: str
    pipeline: str
    config: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    control: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    sampler: str = "Euler FlowMatch"

    @property
    def name(self) -> str:
        return f"{self.checkpoint}-{'union' if 'num_mode' in self.config else 'plain'}"


SMALL = {"num_layers": 1}
STEPS = 2
CASES = (
    Case("sd3", "SD3ControlNetModel", "StableDiffusion3ControlNetPipeline", SMALL, {"guidance_scale": 4.0},
         fields={"guidance_scale": 4}),
    Case("flux", "FluxControlNetModel", "FluxControlNetPipeline", {**SMALL, "num_single_layers": 1},
         {"guidance_scale": 4.0}, fields={"guidance_scale": 4}),
    Case("flux", "FluxControlNetModel", "FluxControlNetPipeline", {**SMALL, "num_single_layers": 1, "num_mode": 7},
         {"guidance_scale": 4.0, "control_mode": 2}, {"kind": "depth"}, {"guidance_scale": 4}),
    Case("qwen-image", "QwenImageControlNetModel", "QwenImageControlNetPipeline", SMALL,
         {"true_cfg_scale": 4.0, "negative_prompt": ""}, fields={"guidance_scale": 4}),
    Case("z-image", "ZImageControlNetModel", "ZImageControlNetPipeline",
         {"control_layers_places": [0, 1], "control_in_dim": 16}, {"guidance_scale": 3.0},
         fields={"guidance_scale": 4}),
    Case("hunyuan-dit", "HunyuanDiT2DControlNetModel", "HunyuanDiTControlNetPipeline",
         {}, {"guidance_scale": 4.0, "use_resolution_binning": False},
         fields={"guidance_scale": 4}, sampler="DPM++ 2M"),
)  # fmt: skip


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(8, 0).repeat(8, 1))


@pytest.fixture(scope="session")
def network_of(drawing_home: Path, tiny: Callable[[str], Path]) -> Callable[[Case], Path]:
    """The folder of a case's network, built once in the engine's folder."""

    def folder(case: Case) -> Path:
        path = drawing_home / "controlnet" / case.name
        if not path.exists():
            controls.transformer_control(case.network, tiny(case.checkpoint), path, **case.config)
        return path

    return folder


@pytest.fixture
def mean_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are encoded to the mean of their latents: diffusers draws those of control pictures too."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def reference(
    case: Case,
    pipeline: str,
    checkpoint: Path,
    folder: Path,
    **call: Any,
) -> np.ndarray:
    """The picture of diffusers' own pipeline."""
    network = getattr(diffusers, case.network).from_pretrained(folder)
    pipe = getattr(diffusers, pipeline).from_pretrained(checkpoint, controlnet=network)
    config = dict(pipe.scheduler.config) | {"_class_name": type(pipe.scheduler).__name__}
    choice = resolve_sampler(case.sampler, None, prediction_process_of(config))
    pipe.scheduler = build_scheduler(choice, config, [7])
    pipe.set_progress_bar_config(disable=True)
    usual = {
        "prompt": "a red cat",
        "num_inference_steps": STEPS,
        "output_type": "np",
        "generator": torch.Generator().manual_seed(7),
        "controlnet_conditioning_scale": 0.8,
        "width": SIDE,
        "height": SIDE,
    }
    drawn = pipe(**usual | case.call | call).images[0]
    return np.asarray((drawn * 255).round(), dtype=np.uint8)


@pytest.mark.usefixtures("mean_latents")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_controlnet_draws_what_diffusers_draws(
    draw: GenerateImages,
    tiny: Callable[[str], Path],
    network_of: Callable[[Case], Path],
    case: Case,
) -> None:
    shown, folder = picture(1), network_of(case)
    control = {"model": folder.name, "image": shown, "weight": 0.8, **case.control}
    fields = {"alone": True, "steps": STEPS, "sampler": case.sampler, **case.fields}
    (drawn,) = draw(case.checkpoint, control=[control], **fields)
    (without,) = draw(case.checkpoint, **fields)
    assert not same_pixels(drawn, without)

    expected = reference(case, case.pipeline, tiny(case.checkpoint), folder, control_image=shown)
    if case.checkpoint == "hunyuan-dit":  # it encodes the picture twice, in a batch
        assert nearly_equal(to_array(drawn), expected)
    else:
        assert np.array_equal(to_array(drawn), expected)


@pytest.mark.usefixtures("mean_latents")
@pytest.mark.parametrize("mode", ["image", "inpainting"])
def test_flux_edits_as_diffusers_does(
    draw: GenerateImages,
    tiny: Callable[[str], Path],
    network_of: Callable[[Case], Path],
    mode: str,
) -> None:
    case = next(case for case in CASES if case.name == "flux-plain")
    folder = network_of(case)
    fields: dict[str, Any] = {}
    call: dict[str, Any] = {}
    pipeline, area = "FluxControlNetImg2ImgPipeline", slice(None)
    if mode == "inpainting":
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, (16, 16, 48, 48))
        fields, call, area = {"mask": mask, "inpaint": {"blur": 0}}, {"mask_image": mask}, slice(16, 48)
        pipeline = "FluxControlNetInpaintPipeline"
    control = {"model": folder.name, "image": picture(1), "weight": 0.8}
    start = {"init_image": picture(2), "strength": 0.5}
    fields |= {"alone": True, "steps": STEPS, "sampler": case.sampler, **case.fields}
    (drawn,) = draw("flux", control=[control], **start, **fields)
    expected = reference(
        case,
        pipeline,
        tiny("flux"),
        folder,
        image=picture(2),
        control_image=picture(1),
        strength=0.5,
        **call,
    )
    assert np.array_equal(to_array(drawn)[area, area], expected[area, area])  # the rest is put back


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_several_masks_and_modes(
    draw: GenerateImages, network_of: Callable[[Case], Path], case: Case
) -> None:
    fields = {"alone": True, "steps": STEPS, "sampler": case.sampler, **case.fields}
    control = {"model": network_of(case).name, "image": picture(1), **case.control}
    (without,) = draw(case.checkpoint, **fields)
    black = Image.new("L", (SIDE, SIDE))
    (masked,) = draw(case.checkpoint, control=[{**control, "mask": black}], **fields)
    assert same_pixels(masked, without)
    twice = [{**control, "weight": 0.5}, {**control, "weight": 0.5}]
    (once,), (both,) = (draw(case.checkpoint, control=each, **fields) for each in ([control], twice))
    assert np.abs(to_array(once).astype(int) - to_array(both)).max() <= 1, "two halves add up to one"
    start = {"init_image": picture(2), "strength": 0.5}
    (edited,) = draw(case.checkpoint, control=[control], **fields, **start)
    (plain,) = draw(case.checkpoint, **fields, **start)
    assert not same_pixels(edited, plain)


def test_all_networks_are_recognised(network_of: Callable[[Case], Path], drawing_home: Path) -> None:
    from safelight.models.controls.discovery import find_controls

    for case in CASES:
        network_of(case)
    found = {each.name: each.family for each in find_controls([drawing_home / "controlnet"])}
    assert {case.name: found[case.name] for case in CASES} == {case.name: case.checkpoint for case in CASES}
