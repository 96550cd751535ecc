"""Files that the tests write, against merging by hand into the weights in the authors' layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.models.adapters.naive import factors, largest_difference, merged
from tests.tiny import TINY
from tests.tiny.original_layout import convert_unet
from tests.tiny.original_transformers import TRANSFORMERS, hunyuan_image

from safelight.errors import AdapterFamilyError, AdapterInvalidError, PickleRefusedError, SafelightError
from safelight.models.adapters.loading import LoadedAdapter, load_adapter
from safelight.models.checkpoints.layouts import layout_of
from safelight.models.checkpoints.layouts.conversion import convert_with
from safelight.models.families import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")
Tensors = dict[str, torch.Tensor]
Networks = Mapping[str, torch.nn.Module]
TOLERANCE = 1e-6
DIGEST = "0" * 64


@pytest.fixture(scope="module")
def networks() -> Callable[[str], Networks]:
    """The networks of a tiny checkpoint by component, built once."""
    built: dict[str, Networks] = {}

    def build(name: str) -> Networks:
        if name not in built:
            torch.manual_seed(0)
            components = TINY[name]().components
            built[name] = {
                part: network.requires_grad_(False)
                for part, network in components.items()
                if isinstance(network, torch.nn.Module)
            }
        return built[name]

    return build


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata)
    return path


def load(path: Path, networks: Networks, family: str) -> LoadedAdapter:
    return load_adapter(path, networks, FAMILIES[family], DIGEST)


def changed(adapter: LoadedAdapter, networks: Networks, strength: float = 1.0) -> dict[str, torch.Tensor]:
    """The parameters that an adapter changes, changed, by component and name."""
    return {
        f"{component}.{name}": networks[component].get_parameter(name)
        + change.delta(networks[component].get_parameter(name), strength)
        for component, changes in adapter.changes.items()
        for name, change in changes.items()
    }


def lora(
    weights: Tensors, rename: Callable[[str], str], parts: tuple[str, str] = ("lora_down", "lora_up")
) -> Tensors:
    """A LoRA of layers, with the names of a style.

    Args:
        weights: The layers' weights by the modules' names.
        rename: Makes the layer's name of the module's.
        parts: The endings of the two factors' names.
    """
    torch.manual_seed(1)
    tensors: Tensors = {}
    for module, weight in weights.items():
        made = factors("LoRA", tuple(weight.shape))
        down, up = made["lora_down.weight"], made["lora_up.weight"]
        tensors |= {f"{rename(module)}{_joined(parts[0])}": down, f"{rename(module)}{_joined(parts[1])}": up}
    return tensors


def _joined(part: str) -> str:
    return f"{part}.weight" if part.startswith(("_", ".")) else f".{part}.weight"


def weights_of(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The weights of linear layers and convolutions by module."""
    return {
        name.removesuffix(".weight"): each
        for name, each in tensors.items()
        if name.endswith(".weight") and each.ndim >= 2 and "embedding" not in name.split(".")[-2]
    }


def flat(name: str) -> str:
    return name.replace(".", "_")


def by_hand(weights: Tensors, tensors: Tensors, rename: Callable[[str], str]) -> dict[str, object]:
    """What merging gives, by module."""
    return {
        module: merged(
            "LoRA",
            weight,
            {
                f"lora_{part}.weight": tensors[f"{rename(module)}.lora_{part}.weight"]
                for part in ("down", "up")
            },
        )
        for module, weight in weights.items()
    }


# Transformers in their authors' names


@pytest.mark.parametrize("family", [*TRANSFORMERS, "hunyuan-image fused"])
@pytest.mark.parametrize("style", ["kohya", "ComfyUI"])
def test_layers_by_the_authors_names(
    family: str, style: str, networks: Callable[[str], Networks], tmp_path: Path
) -> None:
    """A LoRA of every layer, merged in the authors' layout and then converted as a checkpoint is."""
    name = family.removesuffix(" fused")
    transformer = networks(name)["transformer"]
    tensors = dict(transformer.state_dict())
    own = hunyuan_image(tensors, fused=True) if family.endswith("fused") else TRANSFORMERS[name](tensors)
    weights = {key: each for key, each in weights_of(own).items() if not key.endswith("y_embedding")}
    rename = (
        (lambda module: f"lora_unet_{flat(module)}")
        if style == "kohya"
        else (lambda module: f"diffusion_model.{module}")
    )
    file = lora(weights, rename)
    adapter = load(write(tmp_path / "a.safetensors", file), {"transformer": transformer}, name)
    assert adapter.unmatched == ()
    assert adapter.matched == len(weights)
    expected = own | {
        f"{module}.weight": torch.from_numpy(each).float()  # type: ignore[arg-type]
        for module, each in by_hand(weights, file, rename).items()
    }
    layout = layout_of(name)
    assert layout is not None
    convert = layout.denoiser.convert
    converted = convert_with(convert, expected) if isinstance(convert, str) else convert(dict(expected))
    found = changed(adapter, {"transformer": transformer})
    assert len(found) >= len(weights)
    for parameter, weight in found.items():
        name = parameter.removeprefix("transformer.")
        assert largest_difference(weight, converted[name].double().numpy()) < TOLERANCE, name


# U-Nets and text encoders


STYLES: dict[str, tuple[Callable[[str], str], tuple[str, str]]] = {
    "kohya": (lambda module: f"lora_unet_{flat(module)}", ("lora_down", "lora_up")),
    "LyCORIS": (lambda module: f"lycoris_{flat(module)}", ("lora_down", "lora_up")),
    "diffusers": (lambda module: f"unet.{module}", ("lora_A", "lora_B")),
    "diffusers with the adapter's name": (
        lambda module: f"unet.{module}",
        ("lora_A.default", "lora_B.default"),
    ),
    "peft": (lambda module: f"base_model.model.{module}", ("lora_A", "lora_B")),
    "bare": (lambda module: module, ("lora_A", "lora_B")),
    "diffusers before peft": (lambda module: f"unet.{module}", ("lora.down", "lora.up")),
}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl-refiner", "kolors"])
def test_unets_in_both_names(family: str, networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks(family)["unet"]
    # Kolors' projection has one name in both
    tensors = {key: each for key, each in unet.state_dict().items() if "encoder_hid_proj" not in key}
    weights, own = weights_of(tensors), weights_of(convert_unet(tensors))
    kohya = STYLES["kohya"][0]
    library = lora(weights, kohya)
    authors = lora(own, kohya)
    one = load(write(tmp_path / "library.safetensors", library), {"unet": unet}, family)
    other = load(write(tmp_path / "authors.safetensors", authors), {"unet": unet}, family)
    assert one.unmatched == other.unmatched == ()
    assert one.matched == other.matched == len(weights)
    expected = by_hand(weights, library, kohya)
    first, second = changed(one, {"unet": unet}), changed(other, {"unet": unet})
    assert first.keys() == second.keys()
    for module, each in expected.items():
        assert largest_difference(first[f"unet.{module}.weight"], each) < TOLERANCE  # type: ignore[arg-type]
        assert torch.equal(first[f"unet.{module}.weight"], second[f"unet.{module}.weight"])


@pytest.mark.parametrize("style", STYLES)
def test_styles_of_names(style: str, networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    weights = weights_of(unet.state_dict())
    rename, parts = STYLES[style]
    plain = load(write(tmp_path / "a.safetensors", lora(weights, STYLES["kohya"][0])), {"unet": unet}, "sd1")
    styled = load(write(tmp_path / "b.safetensors", lora(weights, rename, parts)), {"unet": unet}, "sd1")
    assert styled.unmatched == ()
    expected, found = changed(plain, {"unet": unet}), changed(styled, {"unet": unet})
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_diffusers_old_attention_processors(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    weights = {name: each for name, each in weights_of(unet.state_dict()).items() if ".to_" in name}

    def processor(module: str) -> str:
        before, _, last = module.removesuffix(".0").rpartition(".")
        return f"unet.{before}.processor.{last}"

    old = lora(weights, processor, ("_lora.down", "_lora.up"))
    assert any(".processor.to_out_lora.down.weight" in name for name in old)
    adapter = load(write(tmp_path / "a.safetensors", old), {"unet": unet}, "sd1")
    expected = load(
        write(tmp_path / "b.safetensors", lora(weights, STYLES["kohya"][0])), {"unet": unet}, "sd1"
    )
    assert adapter.unmatched == ()
    assert adapter.description.key_style == "old diffusers"
    one, other = changed(adapter, {"unet": unet}), changed(expected, {"unet": unet})
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


ENCODERS = [
    ("sd1", "text_encoder", ("lora_te_", "lora_te1_", "text_encoder.", "clip_l.transformer.")),
    ("sd2", "text_encoder", ("lora_te_", "text_encoder.", "text_encoders.clip_h.transformer.")),
    ("sdxl", "text_encoder", ("lora_te1_", "text_encoder.", "clip_l.")),
    ("sdxl", "text_encoder_2", ("lora_te2_", "text_encoder_2.", "text_encoders.clip_g.transformer.")),
    ("sd3", "text_encoder_3", ("lora_te3_", "text_encoder_3.", "t5xxl.transformer.")),
    ("flux", "text_encoder_2", ("lora_te3_", "lora_te2_", "text_encoder_2.", "text_encoders.t5xxl.transformer.")),
    ("flux", "text_encoder", ("lora_te1_", "text_encoder.")),
    ("qwen-image", "text_encoder", ("lora_te_", "text_encoder.")),
    ("z-image", "text_encoder", ("lora_te_", "text_encoder.", "text_encoders.qwen3_4b.transformer.")),
    ("sana", "text_encoder", ("lora_te_", "text_encoder.")),
]  # fmt: skip


@pytest.mark.parametrize(("family", "component", "prefixes"), ENCODERS)
def test_text_encoders(
    family: str,
    component: str,
    prefixes: tuple[str, ...],
    networks: Callable[[str], Networks],
    tmp_path: Path,
) -> None:
    whole = networks(family)
    weights = {
        name: each
        for name, each in weights_of(whole[component].state_dict()).items()
        if "visual" not in name and "embed" not in name and "shared" not in name
    }
    for prefix in prefixes:
        # transformers 5 has CLIP's weights without the inner model's name, which all files have
        wrapper = "text_model." if "clip" in type(whole[component]).__name__.lower() else ""

        def rename(module: str, prefix: str = prefix, wrapper: str = wrapper) -> str:
            module = module if module.startswith(("text_projection", "text_model")) else f"{wrapper}{module}"
            return f"{prefix}{flat(module)}" if prefix.endswith("_") else f"{prefix}{module}"

        file = lora(weights, rename)
        adapter = load(write(tmp_path / "a.safetensors", file), whole, family)
        assert adapter.unmatched == ()
        assert set(adapter.changes) == {component}
        expected = by_hand(weights, file, rename)
        found = changed(adapter, whole)
        assert found.keys() == {f"{component}.{name}.weight" for name in weights}
        for module, each in expected.items():
            assert largest_difference(found[f"{component}.{module}.weight"], each) < TOLERANCE  # type: ignore[arg-type]


def test_other_text_encoders_names_in_diffusers(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    whole = networks("sd1")
    weights = {
        name: each
        for name, each in weights_of(whole["text_encoder"].state_dict()).items()
        if "self_attn" in name
    }
    old = lora(
        weights,
        lambda module: f"text_encoder.text_model.{module.removeprefix('text_model.')}.lora_linear_layer",
        (".down", ".up"),
    )
    adapter = load(write(tmp_path / "a.safetensors", old), whole, "sd1")
    assert adapter.unmatched == ()
    assert adapter.matched == len(weights)


def test_xlabs_flux_layers(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    transformer = networks("flux")["transformer"]
    own = weights_of(TRANSFORMERS["flux"](dict(transformer.state_dict())))
    width = own["double_blocks.0.img_attn.proj"].shape[0]
    sources = {
        "double_blocks.0.processor.qkv_lora1": own["double_blocks.0.img_attn.qkv"],
        "double_blocks.0.processor.qkv_lora2": own["double_blocks.0.txt_attn.qkv"],
        "double_blocks.0.processor.proj_lora1": own["double_blocks.0.img_attn.proj"],
        "double_blocks.0.processor.proj_lora2": own["double_blocks.0.txt_attn.proj"],
        "single_blocks.0.processor.qkv_lora": own["single_blocks.0.linear1"][: 3 * width],
        "single_blocks.0.processor.proj_lora": own["single_blocks.0.linear2"],
    }
    file = lora(sources, lambda module: module, (".down", ".up"))
    adapter = load(write(tmp_path / "a.safetensors", file), {"transformer": transformer}, "flux")
    assert adapter.unmatched == ()
    assert adapter.description.key_style == "XLabs"
    found = changed(adapter, {"transformer": transformer})
    added = ("add_q_proj", "add_k_proj", "add_v_proj")
    fused = {
        "double_blocks.0.processor.qkv_lora1": ("transformer_blocks.0.attn", ("to_q", "to_k", "to_v")),
        "double_blocks.0.processor.qkv_lora2": ("transformer_blocks.0.attn", added),
        "double_blocks.0.processor.proj_lora1": ("transformer_blocks.0.attn", ("to_out.0",)),
        "double_blocks.0.processor.proj_lora2": ("transformer_blocks.0.attn", ("to_add_out",)),
        "single_blocks.0.processor.qkv_lora": ("single_transformer_blocks.0.attn", ("to_q", "to_k", "to_v")),
        "single_blocks.0.processor.proj_lora": ("single_transformer_blocks.0", ("proj_out",)),
    }
    for name, (block, modules) in fused.items():
        parts = [found[f"transformer.{block}.{module}.weight"] for module in modules]
        factors_of = {f"lora_{part}.weight": file[f"{name}.{part}.weight"] for part in ("down", "up")}
        expected = merged("LoRA", sources[name], factors_of)
        assert largest_difference(torch.cat(parts), expected) < TOLERANCE


# Kinds in files


KIND_FILES = ["LoHa", "LoKr", "LoKr whole", "DoRA", "GLoRA", "OFT", "IA3 of inputs", "IA3 of outputs", "full"]


@pytest.mark.parametrize("kind", KIND_FILES)
@pytest.mark.parametrize("fused", [False, True])
def test_every_kind_in_a_file(
    kind: str, fused: bool, networks: Callable[[str], Networks], tmp_path: Path
) -> None:
    """In a U-Net's layer, and in one that the checkpoint has in three."""
    torch.manual_seed(2)
    family = "flux" if fused else "sd1"
    layer = "double_blocks_0_img_attn_qkv" if fused else "mid_block_attentions_0_proj_in"
    component = FAMILIES[family].denoiser
    network = networks(family)[component]
    modules = (
        [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
        if fused
        else ["mid_block.attentions.0.proj_in"]
    )
    weight = torch.cat([network.get_parameter(f"{module}.weight") for module in modules])
    parts = factors(kind, tuple(weight.shape))
    file = {f"lora_unet_{layer}.{name}": part for name, part in parts.items()}
    adapter = load(write(tmp_path / "a.safetensors", file), {component: network}, family)
    found = changed(adapter, {component: network})
    whole = torch.cat([found[f"{component}.{module}.weight"] for module in modules])
    assert largest_difference(whole, merged(kind, weight, parts)) < TOLERANCE
    assert (adapter.matched, adapter.unmatched) == (1, ())
    assert kind.partition(" ")[0] in adapter.description.kinds


def test_norms_and_biases(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    norm, layer = "mid_block.resnets.0.norm1", "mid_block.resnets.0.conv1"
    shape = unet.get_parameter(f"{layer}.weight").shape
    file = {
        f"lora_unet_{flat(norm)}.w_norm": torch.randn(unet.get_parameter(f"{norm}.weight").shape),
        f"lora_unet_{flat(norm)}.b_norm": torch.randn(unet.get_parameter(f"{norm}.bias").shape),
        f"lora_unet_{flat(layer)}.diff": torch.randn(shape),
        f"lora_unet_{flat(layer)}.diff_b": torch.randn(shape[0]),
        "lora_unet_conv_in.lora_down.weight": torch.randn(2, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.randn(16, 2, 1, 1),
    }
    adapter = load(write(tmp_path / "a.safetensors", file), {"unet": unet}, "sd1")
    found = changed(adapter, {"unet": unet}, 0.5)
    for name, ending, parameter in (
        (norm, "w_norm", "weight"), (norm, "b_norm", "bias"), (layer, "diff", "weight"), (layer, "diff_b", "bias")
    ):  # fmt: skip
        original = unet.get_parameter(f"{name}.{parameter}")
        assert torch.allclose(
            found[f"unet.{name}.{parameter}"], original + file[f"lora_unet_{flat(name)}.{ending}"] / 2
        )
    assert set(adapter.description.kinds) == {"norm", "full", "LoCon"}


def test_pefts_bias_of_the_second_factor(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    bias = torch.randn(16)
    file = lora(
        {"conv_in": unet.get_parameter("conv_in.weight")},
        lambda module: f"unet.{module}",
        ("lora_A", "lora_B"),
    )
    file["unet.conv_in.lora_B.bias"] = bias
    options = json.dumps({"unet.lora_alpha": 6, "unet.r": 2})
    path = write(tmp_path / "a.safetensors", file, {"lora_adapter_metadata": options})
    adapter = load(path, {"unet": unet}, "sd1")
    original = unet.get_parameter("conv_in.bias")
    assert torch.allclose(changed(adapter, {"unet": unet})["unet.conv_in.bias"], original + 3 * bias)


def test_options_beside_pefts_own_file(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    weights = {"mid_block.attentions.0.proj_in": unet.get_parameter("mid_block.attentions.0.proj_in.weight")}
    path = write(
        tmp_path / "adapter_model.safetensors", lora(weights, STYLES["peft"][0], ("lora_A", "lora_B"))
    )
    path.with_name("adapter_config.json").write_text(
        json.dumps({"lora_alpha": 4, "r": 2, "use_rslora": True})
    )
    change = load(path, {"unet": unet}, "sd1").changes["unet"]["mid_block.attentions.0.proj_in.weight"]
    assert change.low_rank is not None
    assert change.low_rank.scale == pytest.approx(4 / 2**0.5)
    path.with_name("adapter_config.json").write_text("no json")
    change = load(path, {"unet": unet}, "sd1").changes["unet"]["mid_block.attentions.0.proj_in.weight"]
    assert change.low_rank is not None
    assert change.low_rank.scale == 1


def test_several_add_up(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    """Each is computed from the original, so that the order does not matter, of rotations either."""
    unet = networks("sd1")["unet"]
    name = "mid_block.attentions.0.proj_in.weight"
    weight = unet.get_parameter(name)
    expected = weight.double().numpy()
    total = weight.clone()
    for number, (kind, strength) in enumerate([("LoRA", 0.8), ("LoHa", 0.3), ("OFT", 1.0)]):
        parts = factors(kind, tuple(weight.shape))
        file = {f"lora_unet_mid_block_attentions_0_proj_in.{key}": part for key, part in parts.items()}
        adapter = load(write(tmp_path / f"{number}.safetensors", file), {"unet": unet}, "sd1")
        total = total + adapter.changes["unet"][name].delta(weight, strength)
        expected = expected + (merged(kind, weight, parts) - weight.double().numpy()) * strength
    assert largest_difference(total, expected) < TOLERANCE


def test_one_layer_under_two_names_adds_up(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    weights = {"mid_block.attentions.0.proj_in": unet.get_parameter("mid_block.attentions.0.proj_in.weight")}
    one = lora(weights, STYLES["kohya"][0])
    other = lora(weights, STYLES["diffusers"][0])
    path = write(tmp_path / "a.safetensors", one | other)
    (change,) = load(path, {"unet": unet}, "sd1").changes["unet"].values()
    (single,) = load(write(tmp_path / "b.safetensors", one), {"unet": unet}, "sd1").changes["unet"].values()
    weight = next(iter(weights.values()))
    assert torch.allclose(change.delta(weight, 1.0), 2 * single.delta(weight, 1.0))
    assert change.nbytes == 2 * single.nbytes


# What does not fit


def small_lora(networks: Networks) -> Tensors:
    weights = weights_of(networks["unet"].state_dict())
    return lora({name: weights[name] for name in list(weights)[:3]}, STYLES["kohya"][0])


def test_what_does_not_match_is_listed(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = {"unet": networks("sd1")["unet"]}
    file = small_lora(unet) | {
        "lora_unet_nowhere.lora_down.weight": torch.zeros(2, 4),
        "lora_unet_nowhere.lora_up.weight": torch.zeros(4, 2),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.0),
        "something": torch.zeros(1),
    }
    adapter = load(write(tmp_path / "a.safetensors", file), unet, "sd1")
    assert adapter.matched == 3
    assert set(adapter.unmatched) == {
        "lora_unet_nowhere",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "something",
    }


def test_nothing_that_matches_is_an_error(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    file = {
        "lora_unet_nowhere.lora_down.weight": torch.zeros(2, 4),
        "lora_unet_nowhere.lora_up.weight": torch.zeros(4, 2),
    }
    path = write(tmp_path / "a.safetensors", file)
    with pytest.raises(AdapterInvalidError, match="None of the 1 layers"):
        load(path, {"unet": networks("sd1")["unet"]}, "sd1")
    with pytest.raises(AdapterInvalidError, match="no LoRA"):
        load(write(tmp_path / "b.safetensors", {"emb_params": torch.zeros(2, 768)}), networks("sd1"), "sd1")


CROSS = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("layer", "shape", "family", "title"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", (12, 4), "sd1", "Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", (12, 4), "flux", "Stable Diffusion 3"),
        (CROSS, (16, 768), "sdxl", "Stable Diffusion 1"),
        (CROSS, (16, 1024), "sd1", "Stable Diffusion 2"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", (8, 8), "sd1", "Stable Diffusion XL"),
    ],
)  # fmt: skip
def test_another_familys_file_says_whose_it_is(
    layer: str,
    shape: tuple[int, int],
    family: str,
    title: str,
    networks: Callable[[str], Networks],
    tmp_path: Path,
) -> None:
    file = {
        f"{layer}.lora_down.weight": torch.zeros(2, shape[1]),
        f"{layer}.lora_up.weight": torch.zeros(shape[0], 2),
    }
    path = write(tmp_path / "a.safetensors", file)
    with pytest.raises(AdapterFamilyError) as caught:
        load(path, networks(family), family)
    assert f"is for {title}," in caught.value.message
    assert FAMILIES[family].title in caught.value.message


def test_damage_names_the_layer(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = {"unet": networks("sd1")["unet"]}
    whole = small_lora(unet)
    down = next(name for name in whole if "down" in name)
    layer = down.partition(".")[0]
    for change in (
        {name: each for name, each in whole.items() if name != down},
        whole | {down: torch.zeros(3, *whole[down].shape[1:])},
        whole | {down: torch.zeros(2, 1)},
    ):
        with pytest.raises(AdapterInvalidError, match=layer):
            load(write(tmp_path / "a.safetensors", change), unet, "sd1")
    broken = whole[down].clone()
    broken[0, 0] = float("nan")
    with pytest.raises(AdapterInvalidError, match="no numbers"):
        load(write(tmp_path / "a.safetensors", whole | {down: broken}), unet, "sd1")


def test_pickles_are_refused(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02")
    with pytest.raises(PickleRefusedError) as caught:
        load(path, networks("sd1"), "sd1")
    assert "models convert" in caught.value.hint


@given(place=st.integers(0, 2000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_gives_our_errors(
    place: int,
    byte: int,
    cut: bool,
    networks: Callable[[str], Networks],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    unet = {"unet": networks("sd1")["unet"]}
    path = tmp_path_factory.mktemp("damaged") / "a.safetensors"
    write(path, small_lora(unet))
    content = bytearray(path.read_bytes())
    if cut:
        content = content[: place % len(content)]
    else:
        content[place % len(content)] = byte
    path.write_bytes(content)
    with suppress(SafelightError):
        load(path, unet, "sd1")


def test_the_file_may_go_afterwards(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = {"unet": networks("sd1")["unet"]}
    path = write(tmp_path / "a.safetensors", small_lora(unet))
    adapter = load(path, unet, "sd1")
    before = changed(adapter, unet)
    path.write_bytes(b"")
    after = changed(adapter, unet)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert adapter.nbytes == sum(each.nbytes for each in small_lora(unet).values())


def test_networks_without_weights_do(networks: Callable[[str], Networks], tmp_path: Path) -> None:
    unet = networks("sd1")["unet"]
    with torch.device("meta"):
        empty = type(unet).from_config(unet.config)
    path = write(tmp_path / "a.safetensors", small_lora({"unet": unet}))
    one, other = load(path, {"unet": unet}, "sd1"), load(path, {"unet": empty}, "sd1")
    assert one.changes["unet"].keys() == other.changes["unet"].keys()
    assert all(
        torch.equal(each, changed(one, {"unet": unet})[name])
        for name, each in changed(other, {"unet": unet}).items()
    )
