from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from tests.tiny import TINY
from tests.tiny.original_layout import write_single_file

from safelight.errors import (
    CheckpointFamilyError,
    CheckpointInvalidError,
    CheckpointMissingError,
    FileMissingError,
    PickleRefusedError,
    SafelightError,
)
from safelight.models.checkpoints import discovery
from safelight.models.checkpoints.discovery import (
    checkpoints_folder,
    describe_checkpoint,
    find_checkpoint,
    find_checkpoints,
)
from safelight.models.families import FAMILIES

Tiny = Callable[[str], Path]


@pytest.fixture
def home(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a folder, a file, and one of each in a subfolder."""
    monkeypatch.setattr(discovery, "STARTER_PATH", tmp_path / "no-starter")
    folder = checkpoints_folder(tmp_path / "home")
    shutil.copytree(tiny("sdxl-turbo"), folder / "quick")
    shutil.copytree(tiny("flux"), folder / "new" / "flux")
    write_single_file(tiny("sd1"), folder / "painter.safetensors")
    write_single_file(tiny("sd1-inpaint"), folder / "new" / "filler.v2.safetensors")
    return tmp_path / "home"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", TINY)
def test_every_family_and_variant_is_recognised(name: str, tiny: Tiny) -> None:
    assert describe_checkpoint(tiny(name), name).family is FAMILIES[name.replace("sd2-base", "sd2")]


def test_size_and_precision_of_a_checkpoint(tiny: Tiny) -> None:
    checkpoint = describe_checkpoint(tiny("sd1"), "mine")
    assert checkpoint.size == sum(path.stat().st_size for path in checkpoint.weights) - headers(
        checkpoint.weights
    )
    assert checkpoint.precision == "fp32"
    assert checkpoint.kind == "folder"
    expected = {"name": "mine", "family": "sd1", "variant": "", "precision": "fp32", "kind": "folder"}
    assert expected.items() <= checkpoint.to_dict().items()


def headers(files: tuple[Path, ...]) -> int:
    return sum(8 + int.from_bytes(file.read_bytes()[:8], "little") for file in files)


def test_all_checkpoints_are_found_with_their_names(home: Path) -> None:
    found = {each.name: (each.family.name, each.kind) for each in find_checkpoints(home)}
    assert found == {
        "painter": ("sd1", "file"),
        "quick": ("sdxl-turbo", "folder"),
        "new/flux": ("flux", "folder"),
        "new/filler.v2": ("sd1-inpaint", "file"),
    }


def test_unusable_checkpoints_are_reported_and_do_not_hide_the_others(home: Path) -> None:
    (checkpoints_folder(home) / "old.ckpt").write_bytes(b"\x80\x02}")
    (checkpoints_folder(home) / "half.safetensors").write_bytes(b"abc")
    problems: dict[str, type[SafelightError]] = {}
    found = find_checkpoints(home, lambda path, error: problems.update({path.name: type(error)}))
    assert len(found) == 4
    assert problems == {"old.ckpt": PickleRefusedError, "half.safetensors": CheckpointInvalidError}


def test_an_empty_data_directory_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "STARTER_PATH", tmp_path / "no-starter")
    assert find_checkpoints(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["painter", "painter.safetensors", "quick", "new/flux", "new/filler.v2"])
def test_names_resolve(home: Path, name: str) -> None:
    assert find_checkpoint(name, home).name == name.removesuffix(".safetensors")


def test_paths_resolve_unless_they_are_not_allowed(home: Path) -> None:
    path = str(checkpoints_folder(home) / "painter.safetensors")
    assert find_checkpoint(path, home).family.name == "sd1"
    with pytest.raises(CheckpointMissingError):
        find_checkpoint(path, home, allow_paths=False)
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("../checkpoints/quick", home, allow_paths=False)


def test_a_similar_name_is_suggested(home: Path) -> None:
    with pytest.raises(CheckpointMissingError, match="no checkpoint 'paintr'") as caught:
        find_checkpoint("paintr", home)
    assert "Did you mean painter" in caught.value.hint


@pytest.mark.parametrize("name", ["owner/model", "a" * 5000, "~nobody-here/x", "", "\0"])
def test_unknown_names_are_refused(home: Path, name: str) -> None:
    with pytest.raises(CheckpointMissingError):
        find_checkpoint(name, home)


def test_a_hub_id_is_looked_up_where_there_is_a_lookup(home: Path, tiny: Tiny) -> None:
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tiny("sd1")

    checkpoint = find_checkpoint("owner/model", home, hub_lookup=fetch)
    assert (checkpoint.kind, checkpoint.name, asked) == ("hub", "owner/model", ["owner/model"])


def test_the_starter_is_first_and_missing_with_a_hint(
    home: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointMissingError, match="did not come with"):
        find_checkpoint("starter", home)
    monkeypatch.setattr(discovery, "STARTER_PATH", tiny("sd1"))
    starter = find_checkpoint("starter", home)
    assert starter.family is FAMILIES["sd1-starter"]
    assert find_checkpoints(home)[0] == starter
    assert find_checkpoints(home)[0].family is starter.family


def test_digests_of_files_are_sha256_and_remembered(home: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint("painter", home)
    expected = hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    assert checkpoint.digest(tmp_path / "cache") == expected
    (memory,) = (tmp_path / "cache" / "digests").iterdir()
    edit(memory, sha256="f" * 64)
    assert checkpoint.digest(tmp_path / "cache") == "f" * 64
    os.utime(checkpoint.path, ns=(1, 1))
    assert checkpoint.digest(tmp_path / "cache") == expected


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense"])
def test_a_damaged_digest_cache_does_no_harm(home: Path, tmp_path: Path, content: str) -> None:
    checkpoint = find_checkpoint("painter", home)
    expected = checkpoint.digest(tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "digests").iterdir()
    memory.write_text(content)
    assert checkpoint.digest(tmp_path / "cache") == expected


def test_a_digest_is_known_once_it_was_computed(home: Path, tmp_path: Path) -> None:
    for checkpoint in (find_checkpoint("painter", home), find_checkpoint("quick", home)):
        assert checkpoint.cached_digest(tmp_path / "cache") is None
        digest = checkpoint.digest(tmp_path / "cache")
        assert checkpoint.cached_digest(tmp_path / "cache") == digest


def test_a_folders_digest_depends_on_its_weights_and_not_on_its_path(
    sd1: Path, tiny: Tiny, tmp_path: Path
) -> None:
    here, there = describe_checkpoint(sd1, "a"), describe_checkpoint(tiny("sd1"), "b")
    assert here.digest(tmp_path / "cache") == there.digest(tmp_path / "cache")
    assert here.digest(tmp_path / "cache") != describe_checkpoint(tiny("sd2"), "c").digest(tmp_path / "cache")
    weights = next((sd1 / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert describe_checkpoint(sd1, "a").digest(tmp_path / "cache") != there.digest(tmp_path / "cache")


def test_a_replaced_checkpoint_is_another_one(sd1: Path) -> None:
    before = describe_checkpoint(sd1, "a")
    assert before == describe_checkpoint(sd1, "a")
    os.utime(next((sd1 / "unet").glob("*.safetensors")), ns=(10**18, 2 * 10**18))
    assert before != describe_checkpoint(sd1, "a")


def test_shards_and_variants_of_weights_are_found(sd1: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(sd1 / "unet")
    shutil.rmtree(sd1 / "unet")
    unet.save_pretrained(sd1 / "unet", max_shard_size="300KB")
    vae = sd1 / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    names = [path.name for path in describe_checkpoint(sd1, "a").weights]
    assert "diffusion_pytorch_model.fp16.safetensors" in names
    assert len([name for name in names if "-of-" in name]) >= 2


def break_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def lose_component(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def lose_entry(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))


def lose_config(folder: Path) -> None:
    (folder / "unet" / "config.json").unlink()


def lose_weights(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_shard(folder: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="300KB")
    next((folder / "unet").glob("*-00002-of-*")).unlink()


def point_outside(folder: Path) -> None:
    lose_shard(folder)
    index = next((folder / "unet").glob("*.index.json"))
    places = json.loads(index.read_text())["weight_map"]
    edit(index, weight_map=dict.fromkeys(places, "../../other.safetensors"))


def name_no_class(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name=None)


def name_half_a_component(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["diffusers"])


@pytest.mark.parametrize(
    "damage",
    [
        *(break_index, lose_component, lose_entry, lose_config, lose_weights, cut_weights, lose_shard),
        *(point_outside, name_no_class, name_half_a_component),
    ],
)
def test_damaged_folders_are_refused_before_loading(sd1: Path, damage: Callable[[Path], None]) -> None:
    damage(sd1)
    with pytest.raises(CheckpointInvalidError):
        describe_checkpoint(sd1, "a")


def test_weights_that_are_only_a_pickle_are_refused(sd1: Path) -> None:
    lose_weights(sd1)
    (sd1 / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(PickleRefusedError, match="'unet'"):
        describe_checkpoint(sd1, "a")


def test_a_pickle_with_a_safetensors_suffix_is_refused(sd1: Path) -> None:
    torch.save({}, sd1 / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(PickleRefusedError, match="another name"):
        describe_checkpoint(sd1, "a")


def test_code_in_a_checkpoint_is_never_run(sd1: Path) -> None:
    edit(sd1 / "model_index.json", unet=["my_unet", "MyUNet"])
    (sd1 / "unet" / "my_unet.py").write_text("raise SystemExit")
    with pytest.raises(CheckpointFamilyError, match="never run"):
        describe_checkpoint(sd1, "a")


@pytest.mark.parametrize(
    ("component", "changes", "says"),
    [("unet", {"in_channels": 6}, "takes 6 channels"), ("unet", {"in_channels": 7}, "takes 7 channels")],
)
def test_models_for_other_tasks_are_refused(
    sd1: Path, component: str, changes: dict[str, object], says: str
) -> None:
    edit(sd1 / component / "config.json", **changes)
    with pytest.raises(CheckpointFamilyError, match=says):
        describe_checkpoint(sd1, "a")


def test_an_unknown_pipeline_is_refused_by_its_name(sd1: Path) -> None:
    edit(sd1 / "model_index.json", _class_name="StableCascadeCombinedPipeline")
    with pytest.raises(CheckpointFamilyError, match="StableCascadeCombinedPipeline"):
        describe_checkpoint(sd1, "a")


@pytest.mark.parametrize("kind", ["StableDiffusionImg2ImgPipeline", "StableDiffusionPAGInpaintPipeline"])
def test_the_pipeline_class_of_another_mode_gives_the_same_family(kind: str, sd1: Path) -> None:
    edit(sd1 / "model_index.json", _class_name=kind)
    assert describe_checkpoint(sd1, "a").family is FAMILIES["sd1"]


def test_unrelated_files_in_a_checkpoint_do_no_harm(sd1: Path) -> None:
    before = describe_checkpoint(sd1, "a")
    (sd1 / "scheduler" / ".#scheduler_config.json").symlink_to("nowhere")
    (sd1 / "unet" / "._config.json").write_bytes(b"x")
    assert describe_checkpoint(sd1, "a").configs == before.configs
    (sd1 / "scheduler" / "more.json").symlink_to("nowhere")
    with pytest.raises(FileMissingError, match=r"more\.json cannot be read"):
        describe_checkpoint(sd1, "a")


def test_replacing_a_file_with_an_older_one_is_noticed(sd1: Path) -> None:
    before = describe_checkpoint(sd1, "a")
    config = sd1 / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    os.utime(config, (1, 1))
    after = describe_checkpoint(sd1, "a")
    assert after.modified == before.modified
    assert after != before


def test_listing_imports_no_torch(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from safelight.models.checkpoints.discovery import find_checkpoints;"
        f"assert len(find_checkpoints(Path({str(home)!r}))) >= 4;"
        "assert not {'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
