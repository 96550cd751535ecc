"""The layers of adapters as people have them, under networks of the real sizes, which are without weights here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from safelight.models.adapters.layer_names import LayerNames
from safelight.models.adapters.loading import parameter_shapes
from safelight.models.checkpoints.empty_networks import published_networks
from safelight.models.families import FAMILIES

ATTENTION = [f"{name}_to_{part}" for name, part in product(("attn1", "attn2"), ("q", "k", "v", "out_0"))]
BLOCK = [*ATTENTION, "ff_net_0_proj", "ff_net_2"]
CLIP = [
    "self_attn_q_proj",
    "self_attn_k_proj",
    "self_attn_v_proj",
    "self_attn_out_proj",
    "mlp_fc1",
    "mlp_fc2",
]


@pytest.fixture(scope="module")
def names() -> Callable[[str], LayerNames]:
    """The names of a published model's layers, by family."""
    known: dict[str, LayerNames] = {}

    def build(family: str) -> LayerNames:
        if family not in known:
            networks = published_networks(family)
            shapes = {name: parameter_shapes(network) for name, network in networks.items() if name != "vae"}
            known[family] = LayerNames(shapes, FAMILIES[family])
        return known[family]

    return build


def transformer(place: str, depth: int) -> Iterator[str]:
    yield f"lora_unet_{place}_proj_in"
    yield f"lora_unet_{place}_proj_out"
    for block, part in product(range(depth), BLOCK):
        yield f"lora_unet_{place}_transformer_blocks_{block}_{part}"


def clip(prefix: str, layers: int) -> Iterator[str]:
    for layer, part in product(range(layers), CLIP):
        yield f"{prefix}_text_model_encoder_layers_{layer}_{part}"


def kohya_sd1() -> list[str]:
    """Of kohya's trainer for Stable Diffusion 1.5: diffusers' names, 192 layers of the U-Net and 72 of CLIP."""
    places = [f"down_blocks_{block}_attentions_{layer}" for block, layer in product((0, 1, 2), (0, 1))]
    places += [f"up_blocks_{block}_attentions_{layer}" for block, layer in product((1, 2, 3), (0, 1, 2))]
    found = [name for place in [*places, "mid_block_attentions_0"] for name in transformer(place, 1)]
    return [*found, *clip("lora_te", 12)]


def kohya_sdxl() -> list[str]:
    """Of kohya's trainer for XL: Stability AI's names, 722 layers of the U-Net, 72 and 192 of the text encoders."""
    depths = {4: 2, 5: 2, 7: 10, 8: 10}
    found = [
        name for place, depth in depths.items() for name in transformer(f"input_blocks_{place}_1", depth)
    ]
    found += transformer("middle_block_1", 10)
    for place in range(6):
        found += transformer(f"output_blocks_{place}_1", 10 if place < 3 else 2)
    return [*found, *clip("lora_te1", 12), *clip("lora_te2", 32)]


def kohya_sdxl_convolutions() -> list[str]:
    """LyCORIS' layers of XL beside the transformers'."""
    resnet = ["in_layers_2", "emb_layers_1", "out_layers_3"]
    found = [f"input_blocks_{place}_0_{part}" for place, part in product((1, 2, 4, 5, 7, 8), resnet)]
    found += [f"middle_block_{place}_{part}" for place, part in product((0, 2), resnet)]
    found += [
        f"output_blocks_{place}_0_{part}" for place, part in product(range(9), [*resnet, "skip_connection"])
    ]
    found += ["input_blocks_4_0_skip_connection", "input_blocks_7_0_skip_connection"]
    found += [
        "input_blocks_3_0_op",
        "input_blocks_6_0_op",
        "output_blocks_2_2_conv",
        "output_blocks_5_2_conv",
    ]
    found += ["input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2"]
    return [f"lora_unet_{name}" for name in found]


def kohya_flux() -> list[str]:
    """Of kohya's trainer for Flux: the authors' names, 304 layers."""
    stream = ["mod_lin", "attn_qkv", "attn_proj", "mlp_0", "mlp_2"]
    double = [
        f"double_blocks_{block}_{side}_{part}"
        for block, side, part in product(range(19), ("img", "txt"), stream)
    ]
    single = [
        f"single_blocks_{block}_{part}"
        for block, part in product(range(38), ("linear1", "linear2", "modulation_lin"))
    ]
    return [f"lora_unet_{name}" for name in [*double, *single]]


def kohya_sd3() -> list[str]:
    """Of kohya's trainer for Stable Diffusion 3 medium; the last block has no output of the text."""
    found = [
        f"joint_blocks_{block}_{side}_block_attn_qkv" for block, side in product(range(24), ("context", "x"))
    ]
    for block, side, part in product(range(24), ("context", "x"), ("attn_proj", "mlp_fc1", "mlp_fc2")):
        if (block, side) != (23, "context"):
            found.append(f"joint_blocks_{block}_{side}_block_{part}")
    found += [
        f"joint_blocks_{block}_{side}_block_adaLN_modulation_1"
        for block, side in product(range(24), ("context", "x"))
    ]
    return [f"lora_unet_{name}" for name in found]


def musubi_z_image() -> list[str]:
    parts = ["attention_to_q", "attention_to_k", "attention_to_v", "attention_to_out_0"]
    parts += [f"feed_forward_w{number}" for number in (1, 2, 3)]
    return [f"lora_unet_layers_{block}_{part}" for block, part in product(range(30), parts)]


def comfyui_z_image() -> list[str]:
    parts = [
        "attention.qkv",
        "attention.out",
        *(f"feed_forward.w{number}" for number in (1, 2, 3)),
        "adaLN_modulation.0",
    ]
    return [f"diffusion_model.layers.{block}.{part}" for block, part in product(range(30), parts)]


def diffusers_qwen() -> list[str]:
    parts = [f"attn.to_{part}" for part in ("q", "k", "v", "out.0", "add_out")]
    parts += [f"attn.add_{part}_proj" for part in "qkv"]
    parts += [
        "img_mlp.net.0.proj",
        "img_mlp.net.2",
        "txt_mlp.net.0.proj",
        "txt_mlp.net.2",
        "img_mod.1",
        "txt_mod.1",
    ]
    return [f"transformer.transformer_blocks.{block}.{part}" for block, part in product(range(60), parts)]


LISTS = {
    "kohya, Stable Diffusion 1.5": ("sd1", kohya_sd1, 264),
    "kohya, Stable Diffusion XL": ("sdxl", kohya_sdxl, 986),
    "LyCORIS, Stable Diffusion XL": ("sdxl", kohya_sdxl_convolutions, 72),
    "kohya, Flux": ("flux", kohya_flux, 304),
    "kohya, Stable Diffusion 3": ("sd3", kohya_sd3, 237),
    "musubi, Z-Image": ("z-image", musubi_z_image, 210),
    "ComfyUI, Z-Image": ("z-image", comfyui_z_image, 180),
    "diffusers, Qwen-Image": ("qwen-image", diffusers_qwen, 840),
}


@pytest.mark.parametrize("name", LISTS)
def test_every_layer_of_a_real_file_has_a_place(name: str, names: Callable[[str], LayerNames]) -> None:
    family, make, count = LISTS[name]
    layers = make()
    assert len(layers) == len(set(layers)) == count
    found = names(family).find(layers)
    assert [layer for layer in layers if layer not in found] == []
    modules = [(place.component, part.module) for place in found.values() for part in place.parts]
    assert len(modules) == len(set(modules))


def test_the_parts_of_fused_layers_are_their_rows(names: Callable[[str], LayerNames]) -> None:
    found = names("flux").find(
        ["lora_unet_single_blocks_7_linear1", "lora_unet_double_blocks_0_txt_attn_qkv"]
    )
    single = found["lora_unet_single_blocks_7_linear1"]
    assert single.total == 21504
    assert [(part.module, part.rows) for part in single.parts] == [
        ("single_transformer_blocks.7.attn.to_q", range(3072)),
        ("single_transformer_blocks.7.attn.to_k", range(3072, 6144)),
        ("single_transformer_blocks.7.attn.to_v", range(6144, 9216)),
        ("single_transformer_blocks.7.proj_mlp", range(9216, 21504)),
    ]
    assert [
        part.module.rpartition(".")[2] for part in found["lora_unet_double_blocks_0_txt_attn_qkv"].parts
    ] == [
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
    ]


def test_the_last_modulation_has_its_halves_swapped(names: Callable[[str], LayerNames]) -> None:
    layer = "diffusion_model.final_layer.adaLN_modulation.1"
    place = names("flux").find([layer])[layer]
    (part,) = place.parts
    assert (part.module, place.total) == ("norm_out.linear", 6144)
    assert part.rows is not None
    assert (part.rows[0], part.rows[3071], part.rows[3072]) == (3072, 6143, 0)
    last, other = (f"lora_unet_joint_blocks_{block}_context_block_adaLN_modulation_1" for block in (23, 22))
    found = names("sd3").find([last, other])
    assert found[last].parts[0].rows is not None
    assert found[other].parts[0].rows is None


def test_names_that_mean_two_modules_follow_the_file(names: Callable[[str], LayerNames]) -> None:
    """Hunyuan-DiT's second norm is diffusers' third."""
    norm = "diffusion_model.blocks.0.norm2"
    alone = names("hunyuan-dit").find([norm])
    beside = names("hunyuan-dit").find([norm, "diffusion_model.blocks.0.attn1.Wqkv"])
    assert alone[norm].parts[0].module == "blocks.0.norm2"
    assert beside[norm].parts[0].module == "blocks.0.norm3"


def test_what_is_nowhere_is_left_out(names: Callable[[str], LayerNames]) -> None:
    assert (
        names("sd1").find(["", "lora_unet_", "lora_te3_text_model_x", "unet.", "clip_g.x", "x" * 1000]) == {}
    )
