"""IP-Adapters in pictures of tiny checkpoints, beside diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from tests.generation.lora_files import component_networks, write_lora
from tests.tiny import controls, ip_adapters
from transformers import (
    CLIPImageProcessor,
    CLIPVisionModelWithProjection,
    SiglipImageProcessor,
    SiglipVisionModel,
)

from safelight.errors import (
    CheckpointInvalidError,
    ControlFamilyError,
    ControlUnsupportedError,
    ImageEncoderMissingError,
    NotAChoiceError,
    UnsupportedError,
)
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record
from safelight.generation.modifiers import image_encoding
from safelight.generation.modifiers.ip_adapter_layers import fit_mask
from safelight.generation.record import ReproductionRecord, pixels_digest
from safelight.generation.request import GenerationRequest
from safelight.models.digests import file_digest
from safelight.settings import Settings

SAMPLER = "DPM++ 2M Karras"
BUILDERS: dict[str, Callable[[Path, Path], Path]] = {
    "sd1-plain": ip_adapters.unet_adapter,
    "sd1-other": lambda checkpoint, path: ip_adapters.unet_adapter(checkpoint, path, seed=5),
    "sd1-plus": lambda checkpoint, path: ip_adapters.unet_adapter(checkpoint, path, "plus"),
    "sd1-full": lambda checkpoint, path: ip_adapters.unet_adapter(checkpoint, path, "full"),
    "sdxl-plain": ip_adapters.unet_adapter,
    "sdxl-plus": lambda checkpoint, path: ip_adapters.unet_adapter(checkpoint, path, "plus"),
    "flux-xlabs": ip_adapters.flux_adapter,
    "flux-plain": lambda checkpoint, path: ip_adapters.flux_adapter(checkpoint, path, "plain"),
    "sd3-timed": ip_adapters.sd3_adapter,
}


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(8, 0).repeat(8, 1))


def half(left: bool) -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE) if left else (SIDE // 2, 0, SIDE, SIDE))
    return mask


@pytest.fixture(scope="session")
def adapter(drawing_home: Path, tiny: Callable[[str], Path]) -> Callable[[str], str]:
    """The name of a tiny adapter, built once in the engine's folders with both image encoders."""
    encoders = drawing_home / "image_encoders"
    if not encoders.exists():
        ip_adapters.clip_vision(encoders / "tiny-clip")
        ip_adapters.siglip_vision(encoders / "tiny-siglip")

    def named(name: str) -> str:
        path = drawing_home / "ip_adapters" / f"{name}.safetensors"
        if not path.exists():
            BUILDERS[name](tiny(name.partition("-")[0]), path)
        return name

    return named


def reference(
    home: Path,
    folder: Path,
    pipeline: str,
    names: list[str],
    scale: Any,
    *,
    sampler: str = SAMPLER,
    **call: Any,
) -> np.ndarray:
    """The picture of diffusers' own pipeline with adapters."""
    pipe = load_diffusers_pipeline(folder, pipeline, sampler)
    side = {"height": ip_adapters.SIDE, "width": ip_adapters.SIDE}
    if "3" in pipeline:
        processor: Any = SiglipImageProcessor(size=side)
        encoder: Any = SiglipVisionModel.from_pretrained(home / "image_encoders" / "tiny-siglip")
    else:
        processor = CLIPImageProcessor(size=ip_adapters.SIDE, crop_size=ip_adapters.SIDE)
        encoder = CLIPVisionModelWithProjection.from_pretrained(home / "image_encoders" / "tiny-clip")
    pipe.register_modules(image_encoder=encoder.eval(), feature_extractor=processor)
    folder_of_adapters, files = str(home / "ip_adapters"), [f"{name}.safetensors" for name in names]
    if len(files) == 1:
        pipe.load_ip_adapter(folder_of_adapters, subfolder="", weight_name=files[0])
    else:
        pipe.load_ip_adapter(folder_of_adapters, subfolder="", weight_name=files)
    pipe.set_ip_adapter_scale(scale)
    usual = {
        "prompt": "a red cat",
        "num_inference_steps": 3,
        "output_type": "np",
        "width": SIDE,
        "height": SIDE,
    }
    drawn = pipe(**usual | {"generator": torch.Generator().manual_seed(7)} | call).images[0]
    return np.asarray((drawn * 255).round(), dtype=np.uint8)


@pytest.mark.parametrize("name", ["sd1-plain", "sd1-full", "sdxl-plain", "sdxl-plus"])
def test_an_adapter_draws_what_diffusers_draws(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, adapter: Any, name: str
) -> None:
    checkpoint = name.partition("-")[0]
    control = {"model": adapter(name), "image": picture(1, (96, 64)), "weight": 0.8}
    fields: dict[str, Any] = {"alone": True, "sampler": SAMPLER, "guidance_scale": 4.0}
    (drawn,) = draw(checkpoint, control=[control], **fields)
    xl = "XL" if checkpoint == "sdxl" else ""
    expected = reference(
        drawing_home,
        tiny(checkpoint),
        f"StableDiffusion{xl}Pipeline",
        [name],
        0.8,
        ip_adapter_image=control["image"],
        guidance_scale=4.0,
    )
    assert np.array_equal(to_array(drawn), expected), np.abs(to_array(drawn).astype(int) - expected).max()
    (without,) = draw(checkpoint, **fields)
    assert np.abs(to_array(without).astype(int) - to_array(drawn)).max() > 3, "the adapter has an effect"


@pytest.mark.parametrize("mode", ["unguided", "pictures", "adapters", "masks", "image", "inpainting"])
def test_what_diffusers_does_with_it_too(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, adapter: Any, mode: str
) -> None:
    names, scale, pipeline = [adapter("sd1-plus")], 0.8, "StableDiffusionPipeline"
    call: dict[str, Any] = {"guidance_scale": 4.0, "ip_adapter_image": [picture(1)]}
    fields: dict[str, Any] = {"alone": True, "sampler": SAMPLER, "guidance_scale": 4.0}
    control: list[dict[str, Any]] = [{"model": names[0], "image": picture(1), "weight": 0.8}]
    part = slice(None)
    if mode == "unguided":
        fields["guidance_scale"] = call["guidance_scale"] = 1.0
    elif mode == "pictures":
        control.append({**control[0], "image": picture(2)})
        call["ip_adapter_image"] = [[picture(1), picture(2)]]
    elif mode == "adapters":
        names.append(adapter("sd1-plain"))
        control.append({"model": names[1], "image": picture(2), "weight": 0.5})
        call["ip_adapter_image"], scale = [picture(1), picture(2)], [0.8, 0.5]  # type: ignore[assignment]
    elif mode == "masks":
        control = [
            {**control[0], "mask": half(True)},
            {**control[0], "image": picture(2), "weight": 0.5, "mask": half(False)},
        ]
        masks = IPAdapterMaskProcessor().preprocess([half(True), half(False)], height=SIDE, width=SIDE)
        call["ip_adapter_image"], scale = [[picture(1), picture(2)]], [[0.8, 0.5]]  # type: ignore[assignment]
        call["cross_attention_kwargs"] = {"ip_adapter_masks": [masks.reshape(1, 2, SIDE, SIDE)]}
    else:
        fields |= {"init_image": picture(3), "strength": 0.7}
        call |= {"image": picture(3), "strength": 0.7}
        pipeline = "StableDiffusionImg2ImgPipeline"
        call.pop("width", None)
    if mode == "inpainting":
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, (16, 16, 48, 48))
        fields |= {"mask": mask, "inpaint": {"blur": 0}}
        call["mask_image"] = mask
        pipeline, part = "StableDiffusionInpaintPipeline", slice(16, 48)
    expected = reference(drawing_home, tiny("sd1"), pipeline, names, scale, **call)
    (drawn,) = draw("sd1", control=control, **fields)
    ours = to_array(drawn)[part, part]
    assert np.array_equal(ours, expected[part, part]), np.abs(ours.astype(int) - expected[part, part]).max()


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")
@pytest.mark.parametrize("name", ["flux-xlabs", "flux-plain", "sd3-timed"])
def test_an_adapter_of_a_transformer_draws_what_diffusers_draws(
    draw: GenerateImages, tiny: Callable[[str], Path], drawing_home: Path, adapter: Any, name: str
) -> None:
    checkpoint = name.partition("-")[0]
    fields: dict[str, Any] = {"alone": True, "sampler": "Euler FlowMatch", "guidance_scale": 4.0}
    control = {"model": adapter(name), "image": picture(1), "weight": 0.8}
    (drawn,) = draw(checkpoint, control=[control], **fields)
    expected = reference(
        drawing_home,
        tiny(checkpoint),
        {"flux": "FluxPipeline", "sd3": "StableDiffusion3Pipeline"}[checkpoint],
        [name],
        0.8,
        sampler="Euler FlowMatch",
        ip_adapter_image=control["image"],
        guidance_scale=4.0,
    )
    assert np.array_equal(to_array(drawn), expected), np.abs(to_array(drawn).astype(int) - expected).max()
    (without,) = draw(checkpoint, **fields)
    assert not nearly_equal(to_array(without), to_array(drawn)), "the adapter has an effect"
    for more in ({"mask": half(True)}, {"end": 0.4}):
        (part,) = draw(checkpoint, control=[{**control, **more}], **fields)
        assert not same_pixels(part, drawn)
        assert not same_pixels(part, without)
    (twice,) = draw(checkpoint, control=[{**control, "mask": half(left)} for left in (True, False)], **fields)
    assert nearly_equal(to_array(twice), to_array(drawn)), "two halves are the whole"


def test_pictures_of_pictures_at_the_same_time_stay_apart(draw: GenerateImages, adapter: Any) -> None:
    """With one adapter calls are joined, each with its own picture; with two they are not."""
    for names, joined in ((("sd1-plain", "sd1-plain"), True), (("sd1-plain", "sd1-other"), False)):
        requests = [
            {"control": [{"model": adapter(name), "image": picture(seed)}], "seed": seed, "guidance_scale": 4}
            for seed, name in enumerate(names, 1)
        ]
        alone = [draw("sd1", alone=True, **fields)[0] for fields in requests]
        with ThreadPoolExecutor(2) as pool:
            together = [each[0] for each in pool.map(lambda fields: draw("sd1", **fields), requests)]
        for one, other in zip(alone, together, strict=True):
            assert nearly_equal(to_array(other), to_array(one))
        assert any(each.record.batched for each in together) is joined


def test_a_picture_is_encoded_once_for_a_run(
    draw: GenerateImages, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    encode = image_encoding._encode

    def counted(*args: Any) -> Any:
        calls.append(1)
        return encode(*args)

    monkeypatch.setattr(image_encoding, "_encode", counted)
    control = [{"model": adapter("sd1-plus"), "image": picture(seed)} for seed in (1, 2)]
    hires = {"scale": 1.5, "upscaler": "latent"}
    first, second = draw("sd1", alone=True, guidance_scale=4, count=2, hires=hires, control=control)
    assert len(calls) == 3, "two pictures, and what the negative prompt gets"
    (without,) = draw("sd1", alone=True, guidance_scale=4, hires=hires)
    assert not same_pixels(first, without)
    assert not same_pixels(first, second)


def test_weights_steps_and_the_initial_picture(draw: GenerateImages, adapter: Any) -> None:
    name, fields = adapter("sd1-plain"), {"alone": True, "guidance_scale": 4}
    (without,) = draw("sd1", **fields)
    for nothing in ({"weight": 0}, {"start": 0.5, "end": 0.5}):
        (drawn,) = draw("sd1", control=[{"model": name, "image": picture(1), **nothing}], **fields)
        assert same_pixels(drawn, without)
    seen = [
        draw("sd1", control=[{"model": name, "image": picture(1, (96, 64)), **more}], **fields)[0]
        for more in ({}, {"weight": 0.5}, {"end": 0.4}, {"resize": "fill"}, {"resize": "stretch"})
    ]
    assert len({to_array(each).tobytes() for each in [*seen, without]}) == 6
    white, black = Image.new("L", (SIDE, SIDE), 255), Image.new("L", (SIDE, SIDE))
    for mask, expected in ((white, seen[0]), (black, without)):
        control = {"model": name, "image": picture(1, (96, 64)), "mask": mask}
        assert nearly_equal(to_array(draw("sd1", control=[control], **fields)[0]), to_array(expected))
    start = {"init_image": picture(2), "strength": 0.7, **fields}
    (own,) = draw("sd1", control=[{"kind": "ip-adapter"}], **start)
    (given,) = draw("sd1", control=[{"kind": "ip-adapter", "image": picture(2)}], **start)
    assert same_pixels(own, given), "the first one for the checkpoint looks at the initial picture"


def test_pictures_with_other_weights_add_up(draw: GenerateImages, adapter: Any) -> None:
    """Alike they count as one prompt; otherwise each counts by itself, in whatever order."""
    name, fields = adapter("sd1-plain"), {"alone": True, "guidance_scale": 4}
    units = [
        {"model": name, "image": picture(seed), "weight": weight} for seed, weight in ((1, 0.8), (2, 0.8))
    ]
    (alike,) = draw("sd1", control=units, **fields)
    units[1]["weight"] = 0.7
    (apart,) = draw("sd1", control=units, **fields)
    (other_way,) = draw("sd1", control=units[::-1], **fields)
    assert not nearly_equal(to_array(apart), to_array(alike))
    assert nearly_equal(to_array(apart), to_array(other_way))


def test_it_goes_together_with_everything_else(
    draw: GenerateImages, tiny: Any, in_memory: Any, drawing_home: Path, adapter: Any
) -> None:
    """A ControlNet, a reference, a LoRA, perturbed attention, a window of guidance, token merging, a step cache."""
    folder = drawing_home / "controlnet" / "canny-sd1"
    if not folder.exists():
        controls.controlnet(tiny("sd1"), folder)
    lora = drawing_home / "loras" / "ink.safetensors"
    write_lora(lora, dict(component_networks(in_memory("sd1"), ("unet",))))
    unit = {"model": adapter("sd1-plus"), "image": picture(1)}
    others: list[dict[str, Any]] = [
        {"control": [{"model": "canny-sd1", "image": picture(2)}]},
        {"control": [{"kind": "reference", "image": picture(2)}]},
        {"adapters": [{"name": "ink"}]},
        {"pag_scale": 2.0},
        {"guidance_end": 0.5},
        {"token_merging": 0.5},
        {"step_cache": "deep", "step_cache_interval": 2, "steps": 6},
        {"prompt": "a [cat:dog:1]"},
    ]
    for other in others:
        fields = {"alone": True, "guidance_scale": 4, "control": [], **other}
        (without,) = draw("sd1", **fields)
        (drawn,) = draw("sd1", **fields | {"control": [unit, *fields["control"]]})
        assert not nearly_equal(to_array(drawn), to_array(without)), other
        (again,) = draw("sd1", **fields)
        assert same_pixels(again, without), "the checkpoint is as it was"
    lora.unlink()
    lora.parent.rmdir()


@pytest.mark.parametrize("cache", ["first-block", "taylorseer"])
def test_a_step_cache_of_a_transformer_computes_whole_steps(
    draw: GenerateImages, adapter: Any, cache: str
) -> None:
    unit = {"model": adapter("flux-plain"), "image": picture(1)}
    fields: dict[str, Any] = {"alone": True, "steps": 5, "guidance_scale": 4, "control": [unit]}
    (whole,) = draw("flux", **fields)
    (cached,) = draw("flux", step_cache=cache, **fields)
    assert same_pixels(whole, cached)


def test_the_record_names_adapter_encoder_and_picture(
    draw: GenerateImages, drawing_home: Path, adapter: Any
) -> None:
    name, shown = adapter("sd1-plus"), picture(1)
    (drawn,) = draw("sd1", alone=True, control=[{"model": name, "image": shown, "weight": 0.5}])
    (recorded,) = drawn.record.control
    assert recorded.kind == "ip-adapter"
    assert recorded.digest == file_digest(drawing_home / "ip_adapters" / f"{name}.safetensors", None)
    assert recorded.encoder is not None
    assert recorded.encoder.name == "tiny-clip"
    weights = drawing_home / "image_encoders" / "tiny-clip" / "model.safetensors"
    assert recorded.encoder.digest == file_digest(weights, None)
    assert recorded.image == pixels_digest(np.asarray(shown))
    again = ReproductionRecord.parse(drawn.record.to_json())
    assert again == drawn.record
    request = again.to_request(control={recorded.image or "": shown})
    (unit,) = request.control
    assert (unit.kind, unit.model, unit.weight) == ("ip-adapter", name, 0.5)
    assert f"Module: ip-adapter-auto, Model: {name} [{recorded.digest[:8]}]" in infotext_from_record(
        drawn.record
    )
    (reference_only,) = draw("sd1", alone=True, control=[{"kind": "reference", "image": shown}])
    assert "encoder" not in reference_only.record.to_dict()["control"][0], "older records stay as they are"


@contextmanager
def no_encoder(home: Path) -> Iterator[None]:
    encoders = home / "image_encoders"
    encoders.rename(home / "hidden")
    try:
        yield
    finally:
        (home / "hidden").rename(encoders)


def write_foreign(folder: Path) -> None:
    """Adapters that cannot be used, by their shapes."""
    key = {
        "ip_adapter.1.to_k_ip.weight": torch.zeros(4, 2048),
        "ip_adapter.1.to_v_ip.weight": torch.zeros(4, 2048),
    }
    plain = {"image_proj.proj.weight": torch.zeros(8192, 24), "image_proj.norm.weight": torch.zeros(2048)}
    save_file(key | plain, folder / "real-sdxl.safetensors")
    faces = {
        "image_proj.proj.0.weight": torch.zeros(8, 512),
        "image_proj.proj.2.weight": torch.zeros(8, 8),
        "image_proj.norm.weight": torch.zeros(2),
    }
    save_file(key | faces, folder / "faceid.safetensors")
    unknown = {"image_proj.proj.weight": torch.zeros(8, 99), "image_proj.norm.weight": torch.zeros(2)}
    save_file({"ip_adapter.1.to_k_ip.weight": torch.zeros(4, 2)} | unknown, folder / "odd.safetensors")
    known = {"image_proj.proj.weight": torch.zeros(8, 1024), "image_proj.norm.weight": torch.zeros(2)}
    save_file({"ip_adapter.1.to_k_ip.weight": torch.zeros(4, 2)} | known, folder / "needs-vit-h.safetensors")


@pytest.mark.parametrize(
    ("control", "error", "field", "says"),
    [
        (
            {"model": "real-sdxl"},
            ControlFamilyError,
            "model",
            "is for Stable Diffusion XL, and the checkpoint is Stable",
        ),
        ({"model": "sdxl-plain"}, ControlFamilyError, "model", "does not fit the checkpoint"),
        (
            {"model": "flux-plain"},
            ControlFamilyError,
            "model",
            "is for Flux, and the checkpoint is Stable Diffusion 1",
        ),
        ({"model": "faceid"}, ControlUnsupportedError, "model", "InsightFace's networks; their licence"),
        ({"model": "odd"}, ImageEncoderMissingError, "model", "99 wide"),
        (
            {"model": "needs-vit-h"},
            ImageEncoderMissingError,
            "model",
            r"CLIP ViT-H/14 \(CLIP-ViT-H-14-.*safetensors\)",
        ),
        ({"model": "sd1-plain", "kind": "canny"}, NotAChoiceError, "kind", "is an IP-Adapter"),
        ({"model": "canny-sd1", "kind": "ip-adapter"}, NotAChoiceError, "kind", "no IP-Adapter"),
        ({"model": "sd1-plain", "mode": "guess"}, UnsupportedError, "mode", "no control mode"),
        (
            {"model": "sd1-plain", "preprocessor": {"name": "canny"}},
            UnsupportedError,
            "preprocessor",
            "itself",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_before_weights_are_read(
    drawing_home: Path,
    tmp_path: Path,
    tiny: Any,
    adapter: Any,
    control: Any,
    error: Any,
    field: str,
    says: str,
) -> None:
    for name in ("sd1-plain", "sdxl-plain", "flux-plain"):
        adapter(name)
    write_foreign(tmp_path)
    folder = drawing_home / "controlnet" / "canny-sd1"
    if not folder.exists():
        controls.controlnet(tiny("sd1"), folder)
    engine = Engine(Settings(home=drawing_home, device="cpu", model_folders=[tmp_path]))
    request = GenerationRequest.parse(
        prompt="a cat", checkpoint=str(tiny("sd1")), control=[{"image": picture(), **control}]
    )
    with pytest.raises(error, match=says) as found:
        engine.start(request)
    assert found.value.field == f"control.0.{field}"
    if (
        control["model"] != "sdxl-plain"
    ):  # its layers are compared with the checkpoint's, which is described first
        assert not engine.loaded_checkpoints


def test_a_missing_encoder_says_which_and_where(
    drawing_home: Path, draw: GenerateImages, adapter: Any
) -> None:
    name = adapter("sd1-plain")
    with no_encoder(drawing_home), pytest.raises(ImageEncoderMissingError, match="24 wide") as found:
        draw("sd1", control=[{"model": name, "image": picture()}])
    assert "image_encoders/" in found.value.hint


def test_a_file_that_lacks_a_tensor_is_refused(
    drawing_home: Path, draw: GenerateImages, adapter: Any
) -> None:
    tensors = load_file(drawing_home / "ip_adapters" / f"{adapter('sd1-plus')}.safetensors")
    del tensors["image_proj.layers.1.1.0.weight"]
    path = drawing_home / "ip_adapters" / "broken.safetensors"
    save_file(tensors, path)
    try:
        with pytest.raises(CheckpointInvalidError, match=r"layers\.1\.ff\.0\.weight"):
            draw("sd1", control=[{"model": "broken", "image": picture()}])
    finally:
        path.unlink()


@pytest.mark.parametrize(("size", "level"), [((520, 512), (33, 32)), ((64, 96), (8, 12)), ((72, 40), (5, 3))])
def test_a_mask_fits_every_level(size: tuple[int, int], level: tuple[int, int]) -> None:
    mask = torch.zeros(2, 1, *size)
    mask[..., size[1] // 2 :] = 1
    fitted = fit_mask(mask, level[0] * level[1]).view(2, *level)
    assert (fitted[..., 0] < 0.5).all()
    assert (fitted[..., -1] > 0.5).all()
    with pytest.raises(UnsupportedError, match="laid out"):
        fit_mask(mask, 7919)
