from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from tests.tiny import TINY
from tests.tiny.original_layout import convert_unet, convert_vae
from tests.tiny.published import PUBLISHED

from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.safetensors_header import Header, TensorEntry, read_header
from safelight.models.families import FAMILIES
from safelight.models.inventory.file_kinds import identify


def header(shapes: Mapping[str, tuple[int, ...]]) -> Header:
    entries = {
        key: TensorEntry("F16", tuple(shape), 2 * torch.Size(shape).numel()) for key, shape in shapes.items()
    }
    return Header(entries, {})


def kind_and_family(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str | None]:
    found = identify(header(shapes))
    return found.kind, found.family


def empty(kind: Any, name: str, part: str = "unet", **changes: Any) -> dict[str, torch.Tensor]:
    """The tensors of a network of the real size, without data."""
    with torch.device("meta"):
        network = kind.from_config({**PUBLISHED[name if part == "unet" else "sdxl-vae"][1], **changes})
    return dict(network.state_dict())


def shapes(tensors: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{key}": tuple(tensor.shape) for key, tensor in tensors.items()}


def original_unet(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return shapes(convert_unet(tensors, layers=2), "model.diffusion_model.")


UNETS = ["sd1", "sd2", "sdxl", "sdxl-refiner"]


@pytest.fixture(scope="module")
def unets() -> dict[str, dict[str, torch.Tensor]]:
    return {name: empty(UNet2DConditionModel, name) for name in UNETS}


@pytest.mark.parametrize("name", UNETS)
def test_unets_and_checkpoints_in_both_layouts(name: str, unets: dict[str, dict[str, torch.Tensor]]) -> None:
    assert kind_and_family(shapes(unets[name])) == ("denoiser", name)
    original = original_unet(unets[name])
    vae = shapes(convert_vae(empty(AutoencoderKL, name, "vae")), "first_stage_model.")
    assert kind_and_family(original) == ("denoiser", name)
    assert kind_and_family(original | vae) == ("checkpoint", name)


@pytest.mark.parametrize("name", sorted({family.name for family in FAMILIES.values()} & set(TINY)))
def test_every_file_of_every_family(name: str, tiny: Callable[[str], Path]) -> None:
    """Transformers are recognized by names alone; the tiny U-Nets read text embeddings of no known width."""
    family = FAMILIES[name]
    folder = read_folder(tiny(name))
    for component in folder.components.values():
        for file in component.weights:
            found = identify(read_header(file))
            if component.name == family.denoiser:
                key = family.key.removesuffix("-klein").replace("pixart-alpha", "pixart")
                known = family.denoiser == "transformer" or key == "kolors"
                expected = key.replace("pixart-sigma", "pixart") if known else None
                assert (found.kind, found.family) == ("denoiser", expected)
            elif component.name == "vae":
                assert found.kind == "autoencoder"
            elif component.name.startswith("text_encoder"):
                assert found.kind == "text encoder"


def kohya(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, tuple[int, ...]]:
    """A LoRA of all attention layers, in kohya's layout."""
    found: dict[str, tuple[int, ...]] = {}
    for key, tensor in tensors.items():
        if ".to_" in key and key.endswith(".weight"):
            name = prefix + key.removesuffix(".weight").replace(".", "_")
            found[f"{name}.lora_down.weight"] = (8, tensor.shape[1])
            found[f"{name}.lora_up.weight"] = (tensor.shape[0], 8)
            found[f"{name}.alpha"] = ()
    return found


def peft(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for key, tensor in tensors.items():
        if ".to_" in key and key.endswith(".weight"):
            found[f"unet.{key.removesuffix('.weight')}.lora_A.weight"] = (8, tensor.shape[1])
            found[f"unet.{key.removesuffix('.weight')}.lora_B.weight"] = (tensor.shape[0], 8)
    return found


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_loras_of_unets(name: str, unets: dict[str, dict[str, torch.Tensor]]) -> None:
    assert kind_and_family(kohya(unets[name], "lora_unet_")) == ("LoRA", name)
    assert kind_and_family(peft(unets[name])) == ("LoRA", name)
    (denoiser,) = identify(header(kohya(unets[name], "lora_unet_"))).components
    assert denoiser.name == "denoiser"


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        (["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"], "flux"),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], "flux"),
        (["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight"], "sd3"),
        (["diffusion_model.layers.0.attention.to_q.lora_A.weight"], "z-image"),
        (["transformer.transformer_blocks.0.img_mlp.net.2.lora_A.weight"], "qwen-image"),
        (["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"], "sdxl"),
        (["lora_unet_double_stream_modulation_img_lin.lora_down.weight"], "flux2"),
        (["diffusion_model.distilled_guidance_layer.layers.0.in_layer.lora_A.weight"], "chroma"),
        (["transformer.joint_transformer_blocks.0.attn.to_q.lora_A.weight"], "auraflow"),
        (["diffusion_model.double_stream_blocks.0.block.attn1.to_q.lora_A.weight"], "hidream"),
        (["transformer.visual_transformer_blocks.0.feed_forward.in_layer.lora_A.weight"], "kandinsky5"),
        (["lora_unet_layers_0_attention_to_q.lokr_w1"], "z-image"),
        (["lora_unet_blocks_0_attn2_to_k.lora_down.weight"], None),
        (["lora_te2_text_model_x.alpha", "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight"], "sd3"),
        (["lora_unet_conv_in.diff"], None),
        (["lora_unet_mid_block_resnets_0_norm1.w_norm"], None),
        (["lora_unet_something.hada_w1_a"], None),
        (["lora_te_text_model_encoder_layers_0_mlp_fc1.lokr_w1"], None),
    ],
)
def test_loras_by_the_names_of_their_modules(keys: list[str], family: str | None) -> None:
    assert kind_and_family(dict.fromkeys(keys, (8, 64))) == ("LoRA", family)


@pytest.mark.parametrize(
    ("key", "component"),
    [
        ("lora_te2_text_model_x.lora_up.weight", "text_encoder_2"),
        ("text_encoder_2.x.lora_B.weight", "text_encoder_2"),
        ("t5xxl.transformer.x.lora_up.weight", "text_encoder_3"),
        ("clip_l.transformer.x.lora_up.weight", "text_encoder"),
        ("lora_transformer_x.lora_up.weight", "denoiser"),
        ("transformer_blocks.0.attn.to_q.lora_A.weight", "denoiser"),
        ("lycoris_x.lokr_w1", "denoiser"),
    ],
)
def test_components_of_adapters(key: str, component: str) -> None:
    (found,) = identify(header({key: (8, 64)})).components
    assert found.name == component


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_controlnets(name: str, unets: dict[str, dict[str, torch.Tensor]]) -> None:
    config = PUBLISHED[name][1]
    with torch.device("meta"):
        network = ControlNetModel.from_unet(UNet2DConditionModel.from_config(config))
    assert kind_and_family(shapes(network.state_dict())) == ("ControlNet", name)
    original = original_unet(unets[name])
    controlled = {
        key.replace("model.diffusion_model.", "control_model."): shape for key, shape in original.items()
    }
    assert kind_and_family(controlled | {"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}) == (
        "ControlNet",
        name,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"emb_params": (8, 768)}, ("embedding", "sd1")),
        ({"emb_params": (1, 1024)}, ("embedding", "sd2")),
        ({"<cat-toy>": (768,)}, ("embedding", "sd1")),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, ("embedding", "sdxl")),
        ({"image_proj.proj.weight": (3072, 1024), "ip_adapter.1.to_k_ip.weight": (320, 768)}, ("IP-Adapter", "sd1")),
        ({"conv_first.weight": (64, 3, 3, 3), "conv_last.weight": (3, 64, 3, 3)}, ("upscaler", None)),
        ({"model.0.weight": (64, 3, 3, 3)}, ("upscaler", None)),
        ({"patch_embed.proj.weight": (192, 3, 16, 16), "head.weight": (2, 192)}, ("classifier", None)),
        ({"text_encoders_0": (1, 768), "text_encoders_1": (1, 1280)}, ("embedding", "sdxl")),
        ({"body.a1.weight": (3, 3), "body.a2.weight": (3, 3)}, ("unknown", None)),
        ({"something": (3, 4, 5)}, ("unknown", None)),
        ({}, ("unknown", None)),
    ],
)  # fmt: skip
def test_other_files(found: dict[str, tuple[int, ...]], expected: tuple[str, str | None]) -> None:
    assert kind_and_family(found) == expected


def test_tiny_autoencoders() -> None:
    with torch.device("meta"):
        network = AutoencoderTiny()
    assert kind_and_family(shapes(network.state_dict())) == ("autoencoder", None)


def test_components_of_a_checkpoint(unets: dict[str, dict[str, torch.Tensor]]) -> None:
    original = original_unet(unets["sdxl"])
    found = identify(
        header(
            original
            | {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
            | {"conditioner.embedders.0.transformer.x": (3,), "conditioner.embedders.1.model.x": (5, 2)}
        )
    )
    parts = {part.name: (part.tensors, part.elements, part.size) for part in found.components}
    assert parts["text_encoder"] == (1, 3, 6)
    assert parts["text_encoder_2"] == (1, 10, 20)
    assert parts["vae"][0] == 1
    assert parts["denoiser"][1] == 2_567_463_684  # SDXL's U-Net
