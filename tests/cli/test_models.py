from __future__ import annotations

import json
import shutil
from pathlib import Path

from safelight.models.checkpoints.discovery import STARTER_PATH


def test_list_has_installed_and_available_models(safelight):
    rows = {row["name"]: row["state"] for row in safelight("models", "list", "--json").json_body["models"]}
    assert rows == {"open-nsfw": "built in", "nsfw-image-detection-384": "can be pulled"}
    assert "nsfw-image-detection-384" in safelight("models", "list").out


def test_showing_or_removing_an_unknown_model(safelight):
    for command in ("show", "remove"):
        ran = safelight("models", command, "nsfw-image-detection-384", "--json")
        assert ran.status == 2
        assert ran.json_body["error"]["code"] == "model.not_pulled"


def test_pulling_an_invalid_name_uses_no_network(safelight):
    ran = safelight("models", "pull", "no-such-model", "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "model.reference"


def test_pulling_without_a_connection_is_a_download_error(process, home):
    ran = process("models", "pull", "owner/name", "--json", HF_ENDPOINT="http://127.0.0.1:9")
    assert ran.status == 3
    assert ran.json_body["error"]["code"] == "model.download"
    assert not (home / "models").exists()
    assert not (home / "checkpoints").exists()


def test_the_built_in_model_has_a_record_too(safelight):
    body = safelight("models", "show", "open-nsfw", "--json").json_body
    assert body["name"] == "open-nsfw"
    assert body["size"] == 23_590_724
    assert body["files"]["open-nsfw.onnx"].startswith("864bb37b")


def test_a_damaged_model_can_be_removed(safelight, home):
    folder = home / "models" / "a--b"
    folder.mkdir(parents=True)
    (folder / "safelight.json").write_text("{")
    assert safelight("models", "remove", "a/b").status == 0
    assert not folder.exists()


def test_a_pulled_model_is_shown_with_its_digests(safelight, tmp_path):
    folder = tmp_path / "home" / "models" / "owner--name"
    folder.mkdir(parents=True)
    files = {"config.json": "a" * 64, "model.safetensors": "b" * 64}
    record = {
        "name": "owner/name",
        "repository": "owner/name",
        "revision": "c" * 40,
        "files": files,
        "size": 5,
    }
    (folder / "safelight.json").write_text(json.dumps(record | {"pulled": "2026-01-01T00:00:00+00:00"}))
    ran = safelight("models", "show", "owner/name", SAFELIGHT_HOME=str(tmp_path / "home"))
    assert f"config.json  sha256 {'a' * 64}" in ran.out
    assert f"model.safetensors  sha256 {'b' * 64}" in ran.out


def test_checkpoints_are_listed_shown_and_removed(safelight, tiny, tmp_path):
    home = tmp_path / "home"
    own = {"SAFELIGHT_HOME": str(home)}
    folder = home / "checkpoints"
    shutil.copytree(tiny("sdxl"), folder / "painter")
    (folder / "broken.safetensors").write_bytes(b"not one")
    (folder / "old.ckpt").write_bytes(b"PK\x03\x04")
    listed = safelight("models", "list", "--json", **own).json_body
    assert [each["name"] for each in listed["checkpoints"]] == ["starter", "painter"]
    assert len(listed["problems"]) == 2
    shown = safelight("models", "show", "painter", "--json", **own).json_body
    assert (shown["family"], shown["kind"]) == ("sdxl", "folder")
    assert len(shown["digest"]) == 64
    for name in ("painter", "broken", "old.ckpt"):
        assert safelight("models", "remove", name, "--json", **own).json_body["removed"]["name"] == name
    assert not list(folder.iterdir())


def test_a_checkpoint_outside_the_data_directory_is_not_removed(safelight, tiny, tmp_path):
    home = tmp_path / "home"
    own = {"SAFELIGHT_HOME": str(home)}
    elsewhere = Path(shutil.copytree(tiny("sd1"), tmp_path / "mine"))
    linked = home / "checkpoints" / "linked"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(elsewhere)
    (linked.parent / "shared").symlink_to(tmp_path)
    for name in (str(elsewhere), "starter", "shared/mine"):
        ran = safelight("models", "remove", name, "--json", **own)
        assert ran.status == 2
        assert ran.json_body["error"]["code"] == "usage"
    assert safelight("models", "remove", "linked", **own).status == 0
    assert not linked.exists()
    assert (elsewhere / "model_index.json").exists()


def test_pulled_checkpoints_are_listed_and_removed(process, tiny, tmp_path):
    home = tmp_path / "home"
    repository = home / "hub" / "models--owner--painter"
    shutil.copytree(tiny("sd1"), repository / "snapshots" / ("c" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    own = {"SAFELIGHT_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}
    names = [each["name"] for each in process("models", "list", "--json", **own).json_body["checkpoints"]]
    assert names == ["starter", "owner/painter"]
    (repository / "snapshots" / ("c" * 40) / "vae" / "config.json").write_text("{")
    assert process("models", "remove", "owner/painter", **own).status == 0
    assert not repository.exists()


def test_convert_a_pickle_and_use_it(safelight, tmp_path):
    """The error about a pickle names the command that converts it."""
    import torch
    from safetensors.torch import load_file

    source = tmp_path / "old.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "global_step": 5, "optimizer": {}}, source)
    refused = safelight("models", "show", str(source), "--json")
    assert (refused.status, refused.json_body["error"]["code"]) == (2, "model.pickle_refused")
    assert "safelight models convert" in refused.json_body["error"]["hint"]
    done = safelight("models", "convert", str(source), "--json")
    assert done.status == 0
    body = done.json_body
    assert (body["tensors"], body["metadata"], body["left_out"]) == (1, {"global_step": "5"}, ["optimizer"])
    assert load_file(body["path"])["w"].tolist() == [1, 1]
    again = safelight("models", "convert", str(source), "--json")
    assert (again.status, again.json_body["error"]["code"]) == (2, "output.exists")
    there = safelight("models", "convert", str(source), "--overwrite")
    assert there.out.startswith(f"Wrote {tmp_path / 'old.safetensors'}: 1 tensors")
    assert "optimizer" in there.out


def test_adopt_another_programs_models(safelight, tmp_path):
    """The folder's checkpoints can be used by name afterwards; a dry run changes nothing."""
    import torch
    from safetensors.torch import save_file

    home, other = tmp_path / "home", tmp_path / "webui"
    (other / "models" / "Stable-diffusion" / "sub").mkdir(parents=True)
    shutil.copytree(STARTER_PATH, other / "models" / "Stable-diffusion" / "sub" / "painter")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(4, 8)}, other / "style.safetensors")
    own = {"SAFELIGHT_HOME": str(home)}
    dry = safelight("models", "adopt", str(other), "--dry-run", "--json", **own).json_body
    assert (dry["added"], dry["folders"]) == (False, [str(other)])
    assert sorted((each["type"], each["usable"]) for each in dry["files"]) == [
        ("LoRA", True),
        ("checkpoint", True),
    ]
    assert not (home / "safelight.toml").exists()
    shown = safelight("models", "adopt", str(other), **own)
    assert shown.status == 0
    assert "Files: 2; usable checkpoints: 1, other usable files: 1." in shown.out
    listed = safelight("models", "list", "--json", **own).json_body
    assert [each["name"] for each in listed["checkpoints"]] == ["starter", "sub/painter"]
    assert listed["problems"] == []
    assert safelight("models", "show", "sub/painter", "--json", **own).json_body["family"] == "sd1"
    refused = safelight("models", "remove", "sub/painter", "--json", **own)
    assert (refused.status, refused.json_body["error"]["code"]) == (2, "usage")
    assert (other / "models" / "Stable-diffusion" / "sub" / "painter").is_dir()
    missing = safelight("models", "adopt", str(tmp_path / "nothing"), "--json", **own)
    assert (missing.status, missing.json_body["error"]["code"]) == (2, "file.missing")


def test_show_any_weights_file(safelight, tmp_path):
    """A LoRA is no checkpoint, and is shown with its parts, words and tags."""
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "style.safetensors"
    metadata = {
        "modelspec.trigger_phrase": "applestyle",
        "ss_tag_frequency": json.dumps({"a": {"red apple": 12}}),
        "ss_network_dim": "4",
    }
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file({f"{layer}.lora_down.weight": torch.zeros(4, 768).half()}, path, metadata)
    body = safelight("models", "show", str(path), "--json").json_body
    assert (body["type"], body["family"], body["precisions"]) == ("LoRA", "sd1", {"fp16": 6144})
    assert (body["trigger_words"], body["training_tags"]) == (["applestyle"], {"red apple": 12})
    assert body["components"] == [{"name": "denoiser", "tensors": 1, "elements": 3072, "size": 6144}]
    assert len(body["digest"]) == 64
    shown = safelight("models", "show", str(path)).out
    assert "LoRA of rank 4, 1 layer with kohya names" in shown
    for text in ("LoRA for sd1", "denoiser: 1 tensors", "applestyle", "red apple 12", "ss_network_dim: 4"):
        assert text in shown


def test_show_the_components_of_a_checkpoint(safelight):
    body = safelight("models", "show", "starter", "--json").json_body
    assert {part["name"] for part in body["components"]} == {"text_encoder", "unet", "vae"}
    assert sum(part["size"] for part in body["components"]) == body["size"]
    assert "unet: " in safelight("models", "show", "starter").out


def test_files_of_any_kind_are_listed_shown_and_removed_by_name(safelight, tmp_path):
    import torch
    from safetensors.torch import save_file

    own = {"SAFELIGHT_HOME": str(tmp_path / "home")}
    other = tmp_path / "webui" / "models" / "Lora"
    loras = tmp_path / "home" / "loras"
    lora, vae = (
        {"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 768)},
        {"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)},
    )
    for folder in (other, loras, tmp_path / "home" / "vae"):
        folder.mkdir(parents=True)
    save_file(lora, loras / "ink.safetensors")
    save_file(lora, other / "wash.safetensors")
    save_file(lora, other / "twice.safetensors")
    save_file(lora, loras / "twice.safetensors")
    save_file(vae, tmp_path / "home" / "vae" / "sharp.safetensors")
    assert safelight("models", "adopt", tmp_path / "webui", **own).status == 0
    listed = safelight("models", "list", "--kind", "lora", "--json", **own).json_body["files"]
    names = sorted(Path(each["path"]).stem for each in listed)
    assert names == ["ink", "twice", "twice", "wash"]
    assert "sharp.safetensors" in safelight("models", "list", "--kind", "VAE", **own).out
    assert safelight("models", "list", "--kind", "picture", **own).status == 2
    for name, kind in (
        ("ink", "LoRA"),
        ("wash", "LoRA"),
        ("models/Lora/wash", "LoRA"),
        ("sharp", "autoencoder"),
    ):
        assert safelight("models", "show", name, "--json", **own).json_body["type"] == kind
    several = safelight("models", "show", "twice", **own)
    assert several.status == 0  # the data directory's own, by its path there
    assert str(loras / "twice.safetensors") in several.out
    assert (
        safelight("models", "show", "none", "--json", **own).json_body["error"]["code"]
        == "checkpoint.missing"
    )
    assert safelight("models", "remove", "ink", **own).status == 0
    assert not (loras / "ink.safetensors").exists()
    assert safelight("models", "remove", "wash", **own).status == 2
    assert (other / "wash.safetensors").exists()
