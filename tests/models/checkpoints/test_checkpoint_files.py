"""Checkpoints in weights files: whole ones, and those whose networks are in several files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file
from tests.tiny.checkpoint_files import (
    ENCODERS,
    original_autoencoder,
    write,
    write_in_diffusers_names,
    write_parts,
    write_whole,
)
from tests.tiny.generation import generate_array
from tests.tiny.original_layout import convert_unet, load_weights
from tests.tiny.original_transformers import hunyuan_image

from safelight.errors import CheckpointFamilyError, CheckpointInvalidError
from safelight.models.checkpoints import safetensors_header, single_file_loader
from safelight.models.checkpoints.discovery import (
    describe_checkpoint,
    find_checkpoint,
    find_checkpoints,
    find_path,
    parts_index,
)
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.checkpoints.loading import LoadedCheckpoint, describe_parts, load_checkpoint
from safelight.models.checkpoints.parts import NamedParts, PartFile, PartsIndex
from safelight.models.checkpoints.sections import read_contents
from safelight.models.checkpoints.sidecar import files_beside
from safelight.models.checkpoints.single_file import identify_single_file
from safelight.models.checkpoints.single_file_loader import PartLoader, SingleFileLoader
from safelight.runtime.pool import ModelPool

Tiny = Callable[[str], Path]
SHOWN = ("flux", "sd3", "qwen-image", "z-image", "sana", "hunyuan-image", "qwen-image-21")
"""Families of which a picture is generated too; those with equal networks give equal ones."""


def equal_networks(one: LoadedCheckpoint, other: LoadedCheckpoint) -> None:
    assert one.networks.keys() == other.networks.keys()
    for name, network in one.networks.items():
        given, wanted = network.network.state_dict(), other.networks[name].network.state_dict()
        assert given.keys() == wanted.keys()
        assert all(torch.equal(value, wanted[key]) for key, value in given.items()), name
        assert type(network.network) is type(other.networks[name].network)
        assert plain(network.network.config) == plain(other.networks[name].network.config)
    assert one.nbytes == other.nbytes


NO_EFFECT = ("architectures", "dtype", "transformers_version", "tie_word_embeddings", "out_channels")
"""Entries of configs on a network's origin, and those that its weights tell."""


def plain(config: object) -> object:
    """A config as JSON has it, without what has no effect."""
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)  # type: ignore[call-overload]

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {key: clean(each) for key, each in value.items() if key[0] != "_" and key not in NO_EFFECT}
        return value

    return clean(json.loads(json.dumps(values, default=str)))


def picture(loaded: LoadedCheckpoint) -> np.ndarray:
    mode = loaded.family.modes[0]
    return generate_array(loaded.pipeline(mode), loaded.family, mode)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ENCODERS)
def test_a_whole_file_gives_what_the_folder_gives(name: str, tiny: Tiny, tmp_path: Path) -> None:
    path = write_whole(name, tiny(name), tmp_path / f"{name}.safetensors")
    file, folder = (
        load_checkpoint(describe_checkpoint(path, name)),
        load_checkpoint(describe_checkpoint(tiny(name), name)),
    )
    assert file.family.key == folder.family.key or name == "pixart-alpha"
    equal_networks(file, folder)
    if name in SHOWN:
        assert np.array_equal(picture(file), picture(folder))


@pytest.mark.parametrize(
    "name",
    [
        "flux",
        "sdxl",
        "sd2",
        "sana",
        "qwen-image",
        "hidream",
        "krea2",
        "sana-sprint",
        "kolors",
        "hunyuan-image",
    ],
)
def test_a_file_in_diffusers_names(name: str, tiny: Tiny, tmp_path: Path) -> None:
    path = write_in_diffusers_names(tiny(name), tmp_path / f"{name}.safetensors")
    file = load_checkpoint(describe_checkpoint(path, name))
    equal_networks(file, load_checkpoint(describe_checkpoint(tiny(name), name)))


@pytest.mark.parametrize("name", ["flux", "sd3", "qwen-image", "z-image", "chroma", "flux2", "lumina2"])
def test_a_transformer_with_parts_from_other_files(name: str, tiny: Tiny, tmp_path: Path) -> None:
    models = tmp_path / "ComfyUI" / "models"
    write_parts(name, tiny(name), models)
    found = find_checkpoint(name, tmp_path / "home", folders=[models])
    assert {path.name for path in found.other_files} == {
        f"{name}_vae.safetensors",
        *(f"{key}.safetensors" for key in ENCODERS[name]),
    }
    file = load_checkpoint(found)
    equal_networks(file, load_checkpoint(describe_checkpoint(tiny(name), name)))
    if name == "flux":
        assert np.array_equal(picture(file), picture(load_checkpoint(describe_checkpoint(tiny(name), name))))


def test_parts_are_found_beside_a_checkpoint_that_is_given_by_path(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path / "models")
    found = find_checkpoint(str(path), tmp_path / "home")
    assert sorted(each.name for each in found.other_files) == [
        "clip_l.safetensors",
        "flux_vae.safetensors",
        "t5xxl.safetensors",
    ]


def test_parts_are_no_checkpoints_and_no_problems(tiny: Tiny, tmp_path: Path) -> None:
    write_parts("flux", tiny("flux"), tmp_path / "checkpoints")
    problems: list[Path] = []
    found = find_checkpoints(tmp_path, lambda path, _: problems.append(path))
    assert [each.name for each in found] == ["starter", "diffusion_models/flux"]
    assert not problems


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("vae/flux_vae.safetensors", "lacks the autoencoder (4 latent channels; usually ae.safetensors)."),
        (
            "text_encoders/t5xxl.safetensors",
            "lacks the T5 text encoder of width 32 (text_encoder_2; usually t5xxl_fp16.safetensors).",
        ),
        (
            "text_encoders/clip_l.safetensors",
            "lacks the CLIP-L text encoder of width 32 (text_encoder; usually clip_l.safetensors).",
        ),
    ],
)
def test_what_a_checkpoint_lacks_is_named(lost: str, says: str, tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(CheckpointInvalidError) as caught:
        find_checkpoint(str(path), tmp_path / "home")
    assert caught.value.message.endswith(says)


def test_of_several_files_the_choice_is_deterministic(tiny: Tiny, tmp_path: Path) -> None:
    """The same folder tree first, then the highest precision, then the name; another family's names never."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write_parts("flux", tiny("flux"), inside)
    vae = load_file(inside / "vae" / "flux_vae.safetensors")
    config = (inside / "vae" / "flux_vae.json").read_text()
    (inside / "vae" / "flux_vae.safetensors").unlink()

    def chosen(*files: tuple[Path, torch.dtype]) -> tuple[str, tuple[str, ...]]:
        for path, dtype in files:
            write(path, {key: value.to(dtype) for key, value in vae.items()})
            path.with_suffix(".json").write_text(config)
        found = find_checkpoint("flux", tmp_path / "home", folders=[inside, outside])
        (part,) = [part for part in found.parts if part.component == "vae"]
        for path, _ in files:
            path.unlink()
        return part.path.relative_to(tmp_path).as_posix(), part.others

    half, full = torch.bfloat16, torch.float32
    assert chosen((outside / "b.safetensors", full), (inside / "c.safetensors", half)) == (
        "inside/c.safetensors",
        ("b.safetensors",),
    )
    assert (
        chosen((inside / "a.safetensors", half), (inside / "c.safetensors", full))[0]
        == "inside/c.safetensors"
    )
    assert (
        chosen((inside / "b.safetensors", half), (inside / "a.safetensors", half))[0]
        == "inside/a.safetensors"
    )
    assert (
        chosen((inside / "a_sd3_vae.safetensors", full), (inside / "z.safetensors", half))[0]
        == "inside/z.safetensors"
    )
    assert (
        chosen((inside / "a.safetensors", full), (inside / "ae.safetensors", half))[0]
        == "inside/ae.safetensors"
    )


def test_a_part_is_one_component_for_all_checkpoints_that_use_it(tiny: Tiny, tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = write_parts("flux", tiny("flux"), models)
    shutil.copytree(first.with_suffix(""), first.with_name("other"))
    shutil.copy(first.with_suffix(".json"), first.with_name("other.json"))
    changed = load_file(first)
    changed["img_in.bias"] += 1
    write(first.with_name("other.safetensors"), changed)
    one, other = (
        describe_parts(find_checkpoint(name, tmp_path / "home", folders=[models]))
        for name in ("flux", "other")
    )
    shared = {"vae", "text_encoder", "text_encoder_2"}
    assert {name for name in one.sources if one.sources[name].key == other.sources[name].key} == shared
    assert set(one.part_digests) == shared
    pool = ModelPool(10**9)
    with pool.lease(one.sources.values()) as ours, pool.lease(other.sources.values()) as theirs:
        same = {name for name, a, b in zip(one.sources, ours, theirs, strict=True) if a.network is b.network}
    assert same == shared
    assert len(pool.keys) == 5


def forbid(*_: object, **__: object) -> None:
    raise AssertionError("weights were read")


@pytest.mark.parametrize("change", ["missing", "shape"])
@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("diffusion_models/flux.safetensors", "double_blocks.0.img_mlp.0.weight"),
        ("vae/flux_vae.safetensors", "decoder.mid.block_1.conv1.weight"),
        ("text_encoders/t5xxl.safetensors", "encoder.block.1.layer.0.SelfAttention.q.weight"),
    ],
)
def test_a_bad_tensor_of_any_part_is_found_before_weights_are_read(
    file: str, key: str, change: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    tensors = load_file(tmp_path / file)
    tensors.pop(key) if change == "missing" else tensors.update({key: torch.zeros(3, 5)})
    write(tmp_path / file, tensors)
    monkeypatch.setattr(single_file_loader, "read_tensors", forbid)
    with pytest.raises(CheckpointInvalidError, match=r"lacks a tensor|not laid out|in the shape"):
        describe_parts(find_checkpoint(str(path), tmp_path / "home"))


def test_an_encoder_of_another_width_does_not_fit(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    write(tmp_path / "text_encoders" / "t5xxl.safetensors", load_weights(tiny("sd3") / "text_encoder_3"))
    with pytest.raises(CheckpointInvalidError, match="T5 text encoder of width 32"):
        find_checkpoint(str(path), tmp_path / "home")


@pytest.mark.parametrize("given", ["beside", "inside", "folder"])
def test_what_shapes_do_not_tell_may_be_given(given: str, tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    config = path.with_suffix(".json").read_text()
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointInvalidError, match="axes_dims_rope"):
        describe_parts(find_checkpoint(str(path), tmp_path / "home"))
    if given == "beside":
        path.with_suffix(".json").write_text(json.dumps({"transformer": json.loads(config)}))
    elif given == "inside":
        write(path, load_file(path), {"config": config})
    else:
        (path.with_suffix("") / "transformer").mkdir()
        (path.with_suffix("") / "transformer" / "config.json").write_text(config)
    network = empty_networks(find_checkpoint(str(path), tmp_path / "home"))["transformer"]
    assert network.config.axes_dims_rope == [4, 4, 8]
    assert {tensor.device.type for tensor in network.parameters()} == {"meta"}


def test_a_change_of_what_is_given_is_a_change_of_the_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    before = find_checkpoint(str(path), tmp_path / "home")
    config = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(config | {"note": "changed"}))
    assert find_checkpoint(str(path), tmp_path / "home") != before


def test_the_tokenizer_of_an_encoder_with_few_words_is_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    shutil.rmtree(tmp_path / "text_encoders" / "t5xxl")
    with pytest.raises(
        CheckpointInvalidError, match="knows 98 tokens, its usual tokenizer has 32100"
    ) as caught:
        describe_parts(find_checkpoint(str(path), tmp_path / "home"))
    assert "t5xxl/tokenizer/" in caught.value.hint


def test_the_tokenizer_that_is_not_shipped_is_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("lumina2", tiny("lumina2"), tmp_path)
    tokenizer = tmp_path / "text_encoders" / "gemma2_2b" / "tokenizer"
    (tokenizer / "tokenizer_config.json").unlink()
    describe_parts(find_checkpoint(str(path), tmp_path / "home"))  # tokenizer.json is enough
    shutil.move(tokenizer / "tokenizer.json", tmp_path / "text_encoders" / "tokenizer.json")
    shutil.rmtree(tokenizer)
    describe_parts(find_checkpoint(str(path), tmp_path / "home"))  # beside the file, too
    (tmp_path / "text_encoders" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointInvalidError, match="needs a tokenizer") as caught:
        describe_parts(find_checkpoint(str(path), tmp_path / "home"))
    assert "safelight models pull tokenizer:gemma2 " in caught.value.hint


def test_hunyuan_image_with_fused_queries_keys_and_values(tiny: Tiny, tmp_path: Path) -> None:
    """As ComfyUI's files are; Tencent's have them apart."""
    path = write_parts("hunyuan-image-distilled", tiny("hunyuan-image-distilled"), tmp_path)
    tensors = hunyuan_image(load_weights(tiny("hunyuan-image-distilled") / "transformer"), fused=True)
    write(path, tensors)
    assert identify_single_file(path).family.name == "hunyuan-image-distilled"
    part = PartFile("transformer", "hunyuan-image", path, "", "HunyuanImageTransformer2DModel")
    loaded = PartLoader(part).load(torch.float32).state_dict()
    wanted = load_weights(tiny("hunyuan-image-distilled") / "transformer")
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)


def test_guiders_of_a_file_are_the_published_ones(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("hunyuan-image", tiny("hunyuan-image"), tmp_path)
    guiders = SingleFileLoader(identify_single_file(path)).guiders()
    steps = {name: each.config.adaptive_projected_guidance_start_step for name, each in guiders.items()}
    assert steps == {"guider": 5, "ocr_guider": 38}


def test_models_of_kandinsky_for_video_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("kandinsky5", tiny("kandinsky5"), tmp_path)
    tensors = load_file(path) | {"visual_embeddings.in_layer.weight": torch.zeros(32, 36)}
    with pytest.raises(CheckpointFamilyError, match="for video or for editing"):
        identify_single_file(write(path, tensors))


@pytest.mark.parametrize("names", ["original", "diffusers"])
def test_kolors_unet_with_its_encoder_in_another_file(names: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("kolors")
    unet = load_weights(folder / "unet")
    encoder, vae = tmp_path / "text_encoders" / "chatglm3.safetensors", tmp_path / "vae" / "sdxl.safetensors"
    path = tmp_path / "unet" / "kolors.safetensors"
    if names == "original":
        projection = {name: unet.pop(name) for name in [*unet] if name.startswith("encoder_hid_proj.")}
        unet = convert_unet(unet) | projection
    chatglm = {f"transformer.{name}": each for name, each in load_weights(folder / "text_encoder").items()}
    chatglm.pop("transformer.rotary_pos_emb.inv_freq")  # computed
    write(encoder, chatglm)
    write(vae, load_weights(folder / "vae"))
    write(path, unet)
    for file, component in ((encoder, "text_encoder"), (vae, "vae"), (path, "unet")):
        shutil.copy(folder / component / "config.json", file.with_suffix(".json"))
    home = tmp_path / "home"
    with pytest.raises(CheckpointInvalidError, match="needs a tokenizer") as caught:
        describe_parts(find_checkpoint(str(path), home))
    assert "tokenizer:chatglm " in caught.value.hint
    shutil.copytree(folder / "tokenizer", home / "tokenizers" / "chatglm")
    found = find_checkpoint(str(path), home)
    assert {each.device.type for each in empty_networks(found)["text_encoder"].parameters()} == {"meta"}
    file = load_checkpoint(found)
    assert file.family.name == "kolors"
    assert file.options == {"force_zeros_for_empty_prompt": False}
    equal_networks(file, load_checkpoint(describe_checkpoint(folder, "kolors")))


Changes = Callable[[dict[str, torch.Tensor]], None]


@pytest.mark.parametrize(
    ("name", "metadata", "stem", "family"),
    [
        ("z-image", {}, "z_image_turbo_bf16", "z-image-turbo"),
        ("z-image", {"modelspec.title": "Z-Image Turbo"}, "m", "z-image-turbo"),
        ("z-image", {}, "m", "z-image"),
        ("flux2-klein", {}, "m", "flux2-klein-distilled"),
        ("flux2-klein", {}, "flux-2-klein-base-4b", "flux2-klein"),
        ("flux", {}, "m", "flux"),
        ("flux-schnell", {}, "m", "flux-schnell"),
        ("flux-fill", {}, "m", "flux-fill"),
        ("flux", {"modelspec.architecture": "flux-1-kontext-dev"}, "m", "flux-kontext"),
        ("qwen-image", {}, "qwen_image_edit_bf16", "qwen-image-edit"),
        ("qwen-image", {}, "Qwen-Image-Edit-2509-Q4_K_M", "qwen-image-edit-plus"),
        ("sd3-35-medium", {}, "m", "sd3-35-medium"),
        ("pixart-sigma", {}, "PixArt-alpha-512", "pixart-alpha"),
    ],
)
def test_variants(
    name: str, metadata: Mapping[str, str], stem: str, family: str, tiny: Tiny, tmp_path: Path
) -> None:
    path = write_parts(name, tiny(name), tmp_path)
    moved = write(path.with_name(f"{stem}.safetensors"), load_file(path), dict(metadata))
    assert identify_single_file(moved).family.name == family


def test_models_without_a_pipeline_are_named(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    tensors = load_file(path)
    tensors["img_in.weight"] = torch.zeros(32, 32)
    with pytest.raises(CheckpointFamilyError, match="flux-control"):
        identify_single_file(write(path, tensors))
    unet = load_weights(tiny("sd1") / "unet")
    unet["conv_in.weight"] = torch.zeros(16, 8, 3, 3)
    assert (
        identify_single_file(write(tmp_path / "p2p.safetensors", unet)).family.name == "sd1-instruct-pix2pix"
    )


def test_the_networks_of_a_file_are_found_in_its_header(tiny: Tiny, tmp_path: Path) -> None:
    path = write_whole("sd3", tiny("sd3"), tmp_path / "sd3.safetensors")
    found = {
        section.prefix: (section.role, section.kinds[0], section.width)
        for section in read_contents(path).sections
    }
    assert found == {
        "model.diffusion_model.": ("denoiser", "sd3", None),
        "vae.": ("vae", "kl", 16),
        "text_encoders.clip_l.transformer.": ("text encoder", "clip", 32),
        "text_encoders.clip_g.transformer.": ("text encoder", "clip", 32),
        "text_encoders.t5xxl.transformer.": ("text encoder", "t5", 64),
    }


def test_candidates_are_read_once_for_a_list(tiny: Tiny, tmp_path: Path) -> None:
    write_parts("flux", tiny("flux"), tmp_path)
    index = PartsIndex((tmp_path,))
    assert index.candidates is index.candidates
    assert {each.section.role for each in index.candidates} == {"vae", "text encoder"}
    write(tmp_path / "more.safetensors", original_autoencoder("flux", tiny("flux")))
    assert len(PartsIndex((tmp_path,)).candidates) == len(index.candidates) + 1


GGUF_NAMES = {
    "shared.weight": "token_embd.weight",
    "encoder.final_layer_norm.weight": "enc.output_norm.weight",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
    "layer.0.SelfAttention.": "attn_",
    "layer.0.layer_norm": "attn_norm",
    "layer.1.layer_norm": "ffn_norm",
    "layer.1.DenseReluDense.wi_0": "ffn_gate",
    "layer.1.DenseReluDense.wi_1": "ffn_up",
    "layer.1.DenseReluDense.wo": "ffn_down",
    "encoder.block.": "enc.blk.",
    "model.embed_tokens": "token_embd",
    "model.norm.": "output_norm.",
    "model.layers.": "blk.",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""llama.cpp's names, which GGUF files of text encoders have."""


@pytest.mark.parametrize(
    ("family", "encoder", "architecture"),
    [("auraflow", "t5", "t5encoder"), ("flux2-klein", "qwen3", "qwen3")],
)
def test_text_encoders_in_gguf_files(
    family: str, encoder: str, architecture: str, tiny: Tiny, tmp_path: Path
) -> None:
    tensors = load_weights(tiny(family) / "text_encoder")
    renamed = {}
    for name, tensor in tensors.items():
        if ".block.1.layer.0.SelfAttention.relative_attention_bias" in name:
            continue  # T5 has it in its first block only
        for old, new in GGUF_NAMES.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    renamed.pop("lm_head.weight", None)
    path = tmp_path / "encoder.gguf"
    writer = GGUFWriter(path, architecture)
    for name, tensor in renamed.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (section,) = read_contents(path).sections
    assert (section.kinds[0], section.width) == (encoder, 32)
    loader = PartLoader(PartFile("text_encoder", encoder, path, section.prefix))
    loader.check()
    loaded = loader.load(torch.float32).state_dict()
    common = [name for name in tensors if name in loaded and "embed_tokens" not in name]
    assert len(common) > 15
    assert all(torch.equal(loaded[name], tensors[name]) for name in common)


def test_absurd_numbers_of_blocks_build_nothing(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("qwen-image", tiny("qwen-image"), tmp_path)
    path.with_suffix(".json").unlink()
    far = load_file(path) | {"transformer_blocks.99999999999.attn.to_q.weight": torch.zeros(1)}
    many = load_file(path) | {f"transformer_blocks.{n}.x": torch.zeros(1) for n in range(2, 1500)}
    for tensors in (far, many):
        write(path, tensors)
        with pytest.raises(CheckpointInvalidError):
            describe_parts(find_checkpoint(str(path), tmp_path / "home"))


def test_pulled_parts_are_found_in_the_folders_of_their_kind(tiny: Tiny, tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = write_parts("flux", tiny("flux"), home)
    (home / "checkpoints").mkdir(exist_ok=True)
    moved = path.rename(home / "checkpoints" / path.name)
    path.with_suffix(".json").rename(moved.with_suffix(".json"))
    for part in parts_index(home, [home]).candidates:
        folder = home / ("vae" if part.section.role == "vae" else "text_encoders")
        folder.mkdir(exist_ok=True)
        for file in part.path.parent.glob(f"{part.path.stem}*"):
            file.rename(folder / file.name)
    found = find_checkpoint(moved.stem, home, allow_paths=False)
    assert {part.path.parent.name for part in found.parts} == {"checkpoints", "vae", "text_encoders"}


@pytest.mark.parametrize(
    ("name", "encoder", "component"),
    [("flux", "t5xxl", "text_encoder_2"), ("sdxl", "clip_l", "text_encoder")],
)
def test_another_text_encoder_for_a_diffusers_folder(
    name: str, encoder: str, component: str, tiny: Tiny, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny(name), tmp_path / "home" / "checkpoints" / "own")
    tensors = {key: tensor + 1 for key, tensor in load_weights(folder / component).items()}
    file = write(tmp_path / "home" / "text_encoders" / f"{encoder}.safetensors", tensors)
    shutil.copy(folder / component / "config.json", file.with_suffix(".json"))
    named = NamedParts(text_encoders=(encoder,), allow_paths=False)
    plain = describe_parts(find_checkpoint("own", tmp_path / "home"))
    parts = describe_parts(find_checkpoint("own", tmp_path / "home", named=named))
    changed = {each for each in parts.sources if parts.sources[each].key != plain.sources[each].key}
    assert (changed, set(parts.part_digests)) == ({component}, {component})
    loaded = parts.sources[component].load().network.state_dict()
    own = load_weights(folder / component)
    assert all(torch.equal(loaded[key], own[key] + 1) for key in loaded if key in own)
    if name == "flux":
        write_parts("flux", folder, tmp_path / "models")
        shutil.rmtree(tmp_path / "models" / "text_encoders" / "t5xxl")
        (tmp_path / "models" / "text_encoders" / "t5xxl.safetensors").unlink()
        shutil.copytree(folder / "tokenizer_2", file.with_suffix("") / "tokenizer")
        single = find_checkpoint("flux", tmp_path / "home", folders=[tmp_path / "models"], named=named)
        assert describe_parts(single).sources[component].key == parts.sources[component].key
        given = describe_parts(find_checkpoint("own", tmp_path / "home", named=named))
        assert given.tokenizers_digest != plain.tokenizers_digest
        wrong = NamedParts(text_encoders=(encoder, encoder))
        with pytest.raises(CheckpointInvalidError, match="does not fit"):
            find_checkpoint("own", tmp_path / "home", named=wrong)


def test_a_tokenizer_with_no_number_is_not_the_second_encoders(tiny: Tiny, tmp_path: Path) -> None:
    path = write_whole("hidream", tiny("hidream"), tmp_path / "hidream.safetensors")
    describe_parts(describe_checkpoint(path, "hidream"))
    shutil.rmtree(path.with_suffix("") / "tokenizer_4")
    with pytest.raises(CheckpointInvalidError, match="needs a tokenizer") as caught:
        describe_parts(describe_checkpoint(path, "hidream"))
    assert "tokenizer:llama " in caught.value.hint


def test_a_tokenizer_that_several_files_share_is_watched(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("lumina2", tiny("lumina2"), tmp_path)
    given = tmp_path / "text_encoders" / "gemma2_2b" / "tokenizer"
    shared = given.rename(tmp_path / "x") / "tokenizer.json"
    shared = shared.rename(tmp_path / "text_encoders" / "tokenizer.json")
    before = find_checkpoint(str(path), tmp_path / "home")
    digest = describe_parts(before).tokenizers_digest
    shared.write_text(shared.read_text() + "\n")
    assert find_checkpoint(str(path), tmp_path / "home") != before
    assert describe_parts(before).tokenizers_digest != digest


def test_a_damaged_config_beside_a_file_is_an_error(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    good = path.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(good[:-20])
    found = find_checkpoint(str(path), tmp_path / "home")  # lists go on
    with pytest.raises(CheckpointInvalidError, match=r"flux\.json is not JSON") as caught:
        describe_parts(found)
    assert "repair it" in caught.value.hint
    path.with_suffix(".json").write_text(good)
    assert find_checkpoint(str(path), tmp_path / "home") != found


def test_a_header_is_parsed_once_for_the_description_of_a_part(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path)
    found = find_checkpoint(str(path), tmp_path / "home")
    parsed: list[Path] = []
    parse = safetensors_header._parse

    def count(file: Path, text: bytes) -> object:
        parsed.append(file)
        return parse(file, text)

    monkeypatch.setattr(safetensors_header, "_parse", count)
    safetensors_header._read_header.cache_clear()
    describe_parts(found)
    assert sorted(parsed) == sorted({*parsed})
    assert len(parsed) == 4


def test_weights_in_a_folder_of_the_same_name_are_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "anime").mkdir()
    for name in ("other.safetensors", "other.gguf", "config.json"):
        (tmp_path / "anime" / name).write_text("{}")
    (tmp_path / "anime.json").write_text('{"text_encoder_2": {}}')
    beside = [file.name for file in files_beside(tmp_path / "anime.safetensors")]
    assert beside == ["anime.json", "config.json"]


def test_two_files_of_one_name_do_not_hide_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("x.safetensors", "x.gguf"):
        (folder / name).write_bytes(b"")
    assert find_path("x", tmp_path) == find_path("x.safetensors", tmp_path) == folder / "x.safetensors"
    assert find_path("x.gguf", tmp_path) == folder / "x.gguf"
