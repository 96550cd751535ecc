"""Controls that are made of the checkpoint's own U-Net: Control-LoRA and ControlNet-XS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import ControlNetXSAdapter, UNet2DConditionModel
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.modifiers.controlled import picture, reference
from tests.tiny import controls

from safelight.errors import ControlFamilyError, UnsupportedError
from safelight.generation.modifiers.control_xs import fuse
from safelight.models.controls.discovery import find_control_by_name

FIELDS: dict[str, Any] = {"alone": True, "guidance_scale": 4.0, "sampler": "DPM++ 2M Karras"}


@pytest.mark.parametrize("checkpoint", ["sd1", "sdxl"])
def test_a_control_lora_draws_what_its_merged_controlnet_draws(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, checkpoint: str
) -> None:
    folder, name = drawing_home / "controlnet", f"lora_canny_{checkpoint}"
    controls.control_lora(tiny(checkpoint), folder / f"{name}.safetensors", folder / f"{name}_merged")
    control = {"image": picture(1), "weight": 0.8, "end": 0.7}
    drawn, merged = (
        draw(checkpoint, control=[{**control, "model": each}], **FIELDS)[0]
        for each in (name, f"{name}_merged")
    )
    assert same_pixels(drawn, merged)
    (without,) = draw(checkpoint, **FIELDS)
    assert not same_pixels(drawn, without)
    recorded, other = drawn.record.control[0], merged.record.control[0]
    assert (recorded.name, recorded.kind) == (name, "canny")
    assert recorded.digest != other.digest


@pytest.fixture(scope="module")
def xs(
    tiny: Callable[[str], Path], drawing_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """A tiny checkpoint whose U-Net has two blocks in each level, and a ControlNet-XS for it."""

    def build(name: str) -> tuple[Path, Path]:
        adapter = drawing_home / "controlnet" / f"xs-canny-{name}"
        if not adapter.exists():
            checkpoint = controls.two_layers(tiny(name), tmp_path_factory.mktemp(name) / name)
            controls.xs(checkpoint, adapter)
            built[name] = checkpoint
        return built[name], adapter

    built: dict[str, Path] = {}
    return build


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_a_controlnet_xs_draws_what_diffusers_draws(
    draw: GenerateImages, xs: Callable[[str], tuple[Path, Path]], name: str
) -> None:
    checkpoint, adapter = xs(name)
    pipeline = f"StableDiffusion{'XL' if name == 'sdxl' else ''}ControlNetXSPipeline"
    expected = reference(
        checkpoint,
        pipeline,
        ControlNetXSAdapter.from_pretrained(adapter),
        image=picture(1),
        guidance_scale=4.0,
        controlnet_conditioning_scale=0.8,
        width=SIDE,
        height=SIDE,
    )
    fields = FIELDS | {"checkpoint": str(checkpoint)}
    control = {"model": adapter.name, "image": picture(1), "weight": 0.8}
    (drawn,) = draw(name, control=[control], **fields)
    assert np.array_equal(to_array(drawn), expected)
    (without,) = draw(name, **fields)
    assert not same_pixels(drawn, without)
    (again,) = draw(name, **fields)
    assert same_pixels(again, without), "the U-Net is as it was"
    (cached,) = draw(name, control=[control], step_cache="deep", **fields)
    assert same_pixels(cached, drawn), "steps are computed whole"


def test_a_controlnet_xs_has_no_copy_of_the_u_net(xs: Callable[[str], tuple[Path, Path]]) -> None:
    checkpoint, adapter = xs("sdxl")
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    control = ControlNetXSAdapter.from_pretrained(adapter)
    fused = {id(each) for each in fuse(unet, control).parameters()}
    assert fused == {id(each) for network in (unet, control) for each in network.parameters()}


def test_what_a_controlnet_xs_cannot_do_is_refused(
    draw: GenerateImages,
    tiny: Callable[[str], Path],
    drawing_home: Path,
    xs: Callable[[str], tuple[Path, Path]],
) -> None:
    checkpoint, adapter = xs("sd1")
    control: dict[str, Any] = {"model": adapter.name, "image": picture(1)}
    other = drawing_home / "controlnet" / "scribble-deep"
    controls.controlnet(checkpoint, other)
    fields = FIELDS | {"checkpoint": str(checkpoint)}
    for changed in ({"mode": "guess"}, {"mask": Image.new("L", (SIDE, SIDE))}):
        with pytest.raises(UnsupportedError) as found:
            draw("sd1", control=[control | changed], **fields)
        assert found.value.field == f"control.0.{next(iter(changed))}"
    plain = {"model": other.name, "image": picture(2)}
    for together in ([control, control], [control, plain], [plain, control]):
        with pytest.raises(UnsupportedError, match="does not go together"):
            draw("sd1", control=together, **fields)
    with pytest.raises(ControlFamilyError, match="residual blocks"):
        draw("sd1", control=[control], **FIELDS)


def test_a_controlnet_xs_is_told_from_its_config(
    drawing_home: Path, xs: Callable[[str], tuple[Path, Path]]
) -> None:
    _, adapter = xs("sd1")
    found = find_control_by_name(adapter.name, [drawing_home / "controlnet"])
    assert (found.architecture.name, found.family, found.kinds) == ("controlnet-xs", "", ("canny",))
    config = (adapter / "config.json").read_text()
    wide = config.replace('"cross_attention_dim": 32', '"cross_attention_dim": 2048')
    (adapter / "config.json").write_text(wide)
    try:
        found = find_control_by_name(adapter.name, [drawing_home / "controlnet"])
    finally:
        (adapter / "config.json").write_text(config)
    assert found.family == "sdxl"
