"""Other autoencoders and text encoders for a checkpoint: the fields vae and text_encoders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file
from tests.tiny.checkpoint_files import write, write_parts, write_vae
from tests.tiny.original_transformers import tiny_autoencoder

from safelight.errors import CheckpointInvalidError, PartMissingError
from safelight.generation.artifact import Artifact
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record, parse_infotext
from safelight.generation.recall.field_builder import AvailableModels, FieldBuilder
from safelight.generation.recall.infotext_fields import set_fields_from_infotext
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.loading import load_checkpoint
from safelight.models.checkpoints.parts import NamedParts
from safelight.settings import Settings
from safelight.studio import Studio

Tiny = Callable[[str], Path]


def tiny_vae(path: Path, *, original: bool) -> Path:
    """TAESD at a tiny size: its layout tells all of its configuration."""
    torch.manual_seed(6)
    tensors = dict(
        AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            num_encoder_blocks=(1, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 1),
        ).state_dict()
    )
    return write(path, tiny_autoencoder(tensors) if original else tensors)


@pytest.fixture
def home(tiny: Tiny, tmp_path: Path) -> Path:
    shutil.copytree(tiny("sd1"), tmp_path / "checkpoints" / "sd1")
    return tmp_path


@pytest.fixture
def engine(home: Path) -> Engine:
    return Engine(Settings(home=home, device="cpu"))


def generate(engine: Engine, **fields: object) -> Artifact:
    request = GenerationRequest.parse(
        prompt="red", seed=1, steps=2, width=64, height=64, **{"checkpoint": "sd1", **fields}
    )
    (artifact,) = engine.generate(request)
    return artifact


def test_another_autoencoder_decodes_a_folder_s_latents(engine: Engine, home: Path) -> None:
    write_vae(home / "checkpoints" / "vae" / "other.safetensors")
    own, other = generate(engine), generate(engine, vae="other")
    assert not np.array_equal(np.asarray(own.image), np.asarray(other.image))
    assert other.record.vae == "other"
    (part,) = other.record.checkpoint.parts
    assert (part.component, part.name) == ("vae", "other.safetensors")
    assert own.record.checkpoint.parts == ()
    assert "vae" not in own.record.to_dict()
    assert "parts" not in own.record.to_dict()["checkpoint"]
    assert len(engine._pool.keys) == 4  # U-Net and text encoder are shared


@pytest.mark.parametrize("name", ["Automatic", "none"])
def test_automatic_is_the_checkpoint_s_own(name: str, engine: Engine) -> None:
    assert np.array_equal(np.asarray(generate(engine).image), np.asarray(generate(engine, vae=name).image))


@pytest.mark.parametrize("original", [True, False])
def test_tiny_autoencoders(original: bool, engine: Engine, home: Path) -> None:
    tiny_vae(home / "checkpoints" / "taesd.safetensors", original=original)
    artifact = generate(engine, vae="taesd.safetensors")
    assert artifact.record.checkpoint.parts[0].name == "taesd.safetensors"
    again = generate(engine, vae="taesd", init_image=artifact.image, strength=0.5)  # it encodes, too
    assert again.image.size == (64, 64)


def test_both_layouts_of_a_tiny_autoencoder_are_the_same_network(tiny: Tiny, tmp_path: Path) -> None:
    loaded = [
        load_checkpoint(
            find_checkpoint(
                str(tiny("sd1")),
                tmp_path,
                named=NamedParts(vae=str(tiny_vae(tmp_path / f"{original}.safetensors", original=original))),
            )
        )
        for original in (True, False)
    ]
    one, other = (each.vae.network.state_dict() for each in loaded)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert loaded[0].vae.config["num_decoder_blocks"] == [1, 1, 1, 1]


def test_an_autoencoder_may_be_a_component_s_folder(tiny: Tiny, engine: Engine) -> None:
    own = generate(engine)
    same = generate(engine, vae=str(tiny("sd1") / "vae"))
    assert np.array_equal(np.asarray(own.image), np.asarray(same.image))


def test_an_autoencoder_of_other_latents_is_refused(engine: Engine, home: Path) -> None:
    write_vae(home / "checkpoints" / "sixteen.safetensors", 16)
    with pytest.raises(CheckpointInvalidError, match=r"sixteen.safetensors does not fit.*width 4") as caught:
        generate(engine, vae="sixteen")
    assert "width 16" in caught.value.hint


def test_a_missing_autoencoder_is_named_with_those_that_are_there(engine: Engine, home: Path) -> None:
    write_vae(home / "checkpoints" / "other.safetensors")
    with pytest.raises(PartMissingError, match="'another'") as caught:
        generate(engine, vae="another")
    assert "other.safetensors" in caught.value.hint


def test_another_text_encoder_for_a_folder(tiny: Tiny, engine: Engine, home: Path) -> None:
    own = load_file(tiny("sd1") / "text_encoder" / "model.safetensors")
    same = write(home / "text_encoders" / "same.safetensors", own)
    norm = next(name for name in own if name.endswith("final_layer_norm.weight"))
    other = write(home / "text_encoders" / "other.safetensors", own | {norm: own[norm] + 1})
    for file in (same, other):
        shutil.copy(tiny("sd1") / "text_encoder" / "config.json", file.with_suffix(".json"))
    plain, again, changed = (
        generate(engine, **named)
        for named in ({}, {"text_encoders": ("same",)}, {"text_encoders": ("other",)})
    )
    assert np.array_equal(np.asarray(plain.image), np.asarray(again.image))
    assert not np.array_equal(np.asarray(plain.image), np.asarray(changed.image))
    assert [part.name for part in changed.record.checkpoint.parts] == ["other.safetensors"]


def test_other_text_encoders_take_the_place_that_they_fit(tiny: Tiny, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_parts("flux", tiny("flux"), models)
    encoders = models / "text_encoders"
    changed = load_file(encoders / "t5xxl.safetensors")
    changed["encoder.final_layer_norm.weight"] += 1
    write(encoders / "t5_other.safetensors", changed)
    shutil.copy(encoders / "t5xxl.json", encoders / "t5_other.json")
    shutil.copytree(encoders / "t5xxl", encoders / "t5_other")
    for name in ("t5_other", "t5xxl"):
        found = find_checkpoint(
            "flux", tmp_path, folders=[models], named=NamedParts(text_encoders=(name, "clip_l"))
        )
        chosen = {part.component: part.path.stem for part in found.parts}
        assert (chosen["text_encoder_2"], chosen["text_encoder"]) == (name, "clip_l")
    engine = Engine(Settings(home=tmp_path, device="cpu", model_folders=[models]))
    artifact = generate(engine, checkpoint="flux")
    assert "Several files fit as text_encoder_2: t5_other.safetensors was taken" in artifact.record.notes[-1]


def test_a_missing_part_may_be_given_by_name(tiny: Tiny, tmp_path: Path) -> None:
    path = write_parts("flux", tiny("flux"), tmp_path / "models")
    elsewhere = tmp_path / "elsewhere" / "flux_vae.safetensors"
    elsewhere.parent.mkdir()
    shutil.move(tmp_path / "models" / "vae" / "flux_vae.safetensors", elsewhere)
    shutil.move(tmp_path / "models" / "vae" / "flux_vae.json", elsewhere.with_suffix(".json"))
    found = find_checkpoint(str(path), tmp_path / "home", named=NamedParts(vae=str(elsewhere)))
    assert elsewhere in found.other_files


def test_infotext_names_the_autoencoder_and_gives_it_back(engine: Engine, home: Path) -> None:
    write_vae(home / "checkpoints" / "other.safetensors")
    record = generate(engine, vae="other.safetensors").record
    text = infotext_from_record(record)
    assert f"VAE hash: {record.checkpoint.parts[0].digest[:10]}" in text
    assert "VAE: other.safetensors" in text
    for here, unfilled in ((True, []), (False, ["vae"])):
        builder = FieldBuilder(AvailableModels([], str, has_part=lambda _, here=here: here))
        set_fields_from_infotext(builder, parse_infotext(text))
        assert builder.fields.get("vae") == ("other.safetensors" if here else None)
        names = [each.name for each in builder.build("a1111").unfilled]
        assert [name for name in names if name == "vae"] == unfilled
        assert "VAE hash" not in names


def test_a_picture_is_reproduced_with_its_parts_and_another_part_is_told(home: Path) -> None:
    vae = write_vae(home / "checkpoints" / "other.safetensors")
    studio = Studio(Settings(home=home, device="cpu"))
    request = GenerationRequest.parse(
        prompt="red", seed=1, steps=2, width=64, height=64, checkpoint="sd1", vae="other"
    )
    (picture,) = studio.generate(request)
    data = picture.encode("png")
    assert studio.reproduce(data).identical
    vae.with_suffix("").rename(vae.parent / "renamed")
    vae.rename(vae.with_name("renamed.safetensors"))
    write_vae(vae, original=False)
    changed = load_file(vae)
    changed["decoder.conv_out.bias"] += 0.1
    write(vae, changed)
    assert any("checkpoint.parts" in each for each in studio.reproduce(data).differences)
