from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.torch import save_file
from tests.tiny.original_layout import write_single_file

from safelight.errors import (
    CheckpointInvalidError,
    CheckpointMissingError,
    FileMissingError,
    SafelightError,
    SettingsError,
    UsageError,
)
from safelight.models.checkpoints.discovery import find_checkpoint, find_checkpoints
from safelight.models.inventory.folders import add_model_folders, folders_of, inspect_folder
from safelight.settings import Settings


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Path]) -> Path:
    """A folder as A1111's users have it: checkpoints two levels deep, and other files beside them."""
    root = tmp_path_factory.mktemp("webui")
    checkpoints = root / "models" / "Stable-diffusion"
    (checkpoints / "anime").mkdir(parents=True)
    write_single_file(tiny("sd1"), checkpoints / "anime" / "line.safetensors")
    write_single_file(tiny("sd1"), checkpoints / "no vae.safetensors", leave_out="vae")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, checkpoints / "old.ckpt")
    (checkpoints / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    (checkpoints / "notes.txt").write_text("mine")
    (checkpoints / ".hidden.safetensors").write_bytes(b"x")
    (root / "models" / "Lora").mkdir()
    save_file(
        {"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 768)},
        root / "models" / "Lora" / "style.safetensors",
    )
    (root / "embeddings").mkdir()
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}}, root / "embeddings" / "bad-hands.pt")
    (root / "models" / "unet").mkdir()
    writer = GGUFWriter(root / "models" / "unet" / "flux.gguf", "flux")
    key = "double_blocks.0.img_attn.norm.key_norm.scale"
    for name, blocks, kind in ((key, 1, "F32"), ("double_blocks.0.img_attn.qkv.weight", 16, "Q8_0")):
        data = np.zeros((4, 32), np.float32) if kind == "F32" else np.zeros((4, 34 * blocks), np.uint8)
        writer.add_tensor(name, data, raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copytree(tiny("sdxl"), checkpoints / "folders" / "deep" / "xl")
    (root / "models" / "circle").symlink_to(root / "models")
    return root


def test_every_file_is_described(webui: Path) -> None:
    found = {str(each.path.relative_to(webui)): each for each in inspect_folder(webui)}
    shown = {name: (each.type, each.family, each.usable) for name, each in found.items()}
    assert shown == {
        "models/Stable-diffusion/anime/line.safetensors": ("checkpoint", "sd1", True),
        "models/Stable-diffusion/folders/deep/xl": ("checkpoint", "sdxl", True),
        "models/Stable-diffusion/no vae.safetensors": ("checkpoint", None, False),
        "models/Stable-diffusion/old.ckpt": ("pickle", None, False),
        "models/Stable-diffusion/cut.safetensors": ("unknown", None, False),
        "models/Lora/style.safetensors": ("LoRA", "sd1", True),
        "embeddings/bad-hands.pt": ("pickle", None, False),
        "models/unet/flux.gguf": ("denoiser", "flux", False),
    }
    assert found["models/unet/flux.gguf"].precision == "q8_0"
    assert "lacks the autoencoder" in found["models/Stable-diffusion/no vae.safetensors"].reason
    assert "safelight models convert" in found["embeddings/bad-hands.pt"].reason
    assert found["models/Stable-diffusion/anime/line.safetensors"].precision == "fp32"


def test_checkpoints_of_the_folder_have_short_names_and_other_files_are_no_problems(
    webui: Path, tmp_path: Path
) -> None:
    problems: list[str] = []
    found = find_checkpoints(tmp_path, lambda path, _: problems.append(path.name), folders=[webui])
    assert [each.name for each in found] == ["starter", "anime/line", "folders/deep/xl"]
    assert sorted(problems) == ["cut.safetensors", "flux.gguf", "no vae.safetensors", "old.ckpt"]
    assert find_checkpoint("anime/line", tmp_path, folders=[webui], allow_paths=False).family.name == "sd1"
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("anime/line", tmp_path, allow_paths=False)
    with pytest.raises(CheckpointMissingError, match="line"):
        find_checkpoint("anime/lines", tmp_path, folders=[webui], allow_paths=False)


def test_new_and_replaced_files_are_seen_at_once(
    webui: Path, tmp_path: Path, tiny: Callable[[str], Path]
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    home = tmp_path / "home"

    def names() -> list[str]:
        return [each.name for each in find_checkpoints(home, folders=[folder])]

    assert names() == ["starter"]
    shutil.copy(
        webui / "models" / "Stable-diffusion" / "anime" / "line.safetensors", folder / "line.safetensors"
    )
    assert names() == ["starter", "line"]
    write_single_file(tiny("sdxl"), folder / "line.safetensors")
    assert find_checkpoint("line", home, folders=[folder]).family.name == "sdxl"
    (folder / "line.safetensors").write_bytes(b"damaged")
    with pytest.raises(SafelightError):
        find_checkpoint("line", home, folders=[folder])
    (folder / "line.safetensors").unlink()
    assert names() == ["starter"]


def test_names_that_two_folders_have(webui: Path, tmp_path: Path) -> None:
    """The data directory's own comes first, and then the folders in their order."""
    source = webui / "models" / "Stable-diffusion" / "anime" / "line.safetensors"
    for folder in ("home/checkpoints", "one", "two"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / folder / "line.safetensors")
    home, folders = tmp_path / "home", [tmp_path / "one", tmp_path / "two"]
    found = {each.name: each.path for each in find_checkpoints(home, folders=folders)}
    assert found["line"] == tmp_path / "home" / "checkpoints" / "line.safetensors"
    assert found["one/line"] == tmp_path / "one" / "line.safetensors"
    assert found["two/line"] == tmp_path / "two" / "line.safetensors"
    for folder in ("more/one", "one/unet"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / folder / "line.safetensors")
    folders = [
        tmp_path / "one",
        tmp_path / "more" / "one",
        tmp_path / "one" / "unet",
    ]  # the last within the first
    names = {each.path: each.name for each in find_checkpoints(home, folders=folders)}
    assert names[tmp_path / "one" / "unet" / "line.safetensors"] == "one/line (2)"
    assert names[tmp_path / "more" / "one" / "line.safetensors"] == "one/line (3)"
    assert len(names) == 5


def test_links_that_lead_nowhere_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gone.safetensors").symlink_to(tmp_path / "nothing.safetensors")
    problems: list[Path] = []
    found = find_checkpoints(tmp_path, lambda path, _: problems.append(path), folders=[tmp_path / "other"])
    assert [each.name for each in found] == ["starter"]
    assert problems == []
    assert list(inspect_folder(tmp_path / "other")) == []
    (tmp_path / "checkpoints").mkdir()
    own = tmp_path / "checkpoints" / "gone.safetensors"
    own.symlink_to(tmp_path / "nothing.safetensors")
    found = find_checkpoints(tmp_path, lambda path, _: problems.append(path), folders=[tmp_path / "other"])
    assert [each.name for each in found] == ["starter"]
    assert problems == [own]


def test_links_that_lead_nowhere_do_not_hide_the_parts_beside_them(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a.safetensors").symlink_to(tmp_path / "nothing.safetensors")
    write_single_file(tiny("sd1"), folder / "painter.safetensors", leave_out="vae")
    shutil.copy(next((tiny("sd1") / "vae").glob("*.safetensors")), folder / "vae.safetensors")
    checkpoint = find_checkpoint("painter", tmp_path, folders=[folder])
    assert checkpoint.other_files == (folder / "vae.safetensors",)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "models" / "locked"
    locked.mkdir(parents=True)
    write_network(locked / "a.safetensors", {"vector_in.in_layer.weight": (8, 8)})
    for folder in (locked, tmp_path / "models"):
        os.utime(folder, (1_700_000_000, 1_700_000_000))
    real = os.scandir

    def scan(folder: Path) -> object:
        if folder == locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    with monkeypatch.context() as patched:  # tests may run as root, to whom all is allowed
        patched.setattr(os, "scandir", scan)
        (found,) = inspect_folder(tmp_path / "models")
        assert (found.path, found.usable) == (locked, False)
        assert "permissions" in found.reason
    locked.chmod(0o750)  # which does not change its modification time
    assert [found.path.name for found in inspect_folder(tmp_path / "models")] == ["a.safetensors"]


def test_a_problem_is_reported_each_time(tmp_path: Path) -> None:
    """By errors of their own: two threads may ask at the same time."""
    path = tmp_path / "checkpoints" / "cut.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    errors = []
    for _ in range(2):
        with pytest.raises(CheckpointInvalidError) as caught:
            find_checkpoint("cut", tmp_path)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].to_dict() == errors[1].to_dict()


def test_a_vanished_folder_is_empty(tmp_path: Path) -> None:
    assert [each.name for each in find_checkpoints(tmp_path, folders=[tmp_path / "gone"])] == ["starter"]
    assert list(inspect_folder(tmp_path / "gone")) == []


def test_files_that_vanish_between_the_walk_and_the_reading(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """As on a drive that is pulled out: the folder's listing is kept while its time does not change."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_single_file(tiny("sd1"), folder / "painter.safetensors")
    shutil.copytree(tiny("sd1"), folder / "whole")
    os.utime(folder, (1_700_000_000, 1_700_000_000))
    found = find_checkpoints(tmp_path, folders=[folder])
    assert {"painter", "whole"} < {each.name for each in found}
    (folder / "painter.safetensors").unlink()
    shutil.rmtree(folder / "whole" / "unet")
    os.utime(folder, (1_700_000_000, 1_700_000_000))
    problems: list[Path] = []
    found = find_checkpoints(tmp_path, lambda path, _: problems.append(path), folders=[folder])
    assert [each.name for each in found] == ["starter"]
    assert problems == [folder / "whole"]
    (whole,) = inspect_folder(folder)
    assert (whole.path, whole.usable) == (folder / "whole", False)
    for name in ("painter", "whole"):
        with pytest.raises(SafelightError):
            find_checkpoint(name, tmp_path, folders=[folder])


def test_comfyuis_list_of_folders(tmp_path: Path) -> None:
    for folder in ("models/checkpoints", "models/loras", "more loras", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    listed = tmp_path / "extra_model_paths.yaml"
    listed.write_text(
        f"""
comfyui:
    base_path: {tmp_path}
    is_default: true
    checkpoints: models/checkpoints/
    loras: |
        models/loras
        more loras
    vae: models/vae/
other:
    checkpoints: elsewhere
    empty:
none:
"""
    )
    expected = [tmp_path / name for name in ("models/checkpoints", "models/loras", "more loras", "elsewhere")]
    assert folders_of(listed) == expected
    assert folders_of(tmp_path) == [tmp_path, *expected]


def test_comfyuis_bases_may_be_relative_or_have_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("home/a", "disk/b", "list/rel/c", "list/rel/d", "list/custom_nodes"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISK", str(tmp_path / "disk"))
    listed = tmp_path / "list" / "extra_model_paths.yaml"
    listed.write_text(
        """# mine
one: {base_path: "~", loras: a}  # at home
two: {base_path: $DISK/, loras: b/}
three:
    base_path: rel
    loras: [c, "d"]
    custom_nodes: ../custom_nodes
"""
    )
    places = ("home/a", "disk/b", "list/rel/c", "list/rel/d")
    assert folders_of(listed) == [tmp_path / place for place in places]


@pytest.mark.parametrize("content", ["a: [", "- x", "5", "!!python/object/apply:os.system ['true']", "\x00"])
def test_damaged_lists_of_folders(tmp_path: Path, content: str) -> None:
    listed = tmp_path / "extra_model_paths.yaml"
    listed.write_text(content)
    with pytest.raises(UsageError):
        folders_of(listed)


def test_input_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        folders_of(tmp_path / "nothing")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError):
        folders_of(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "before", ["", "# mine\nport = 7000  # changed\n", "port = 7000\n\n[tables]\nx = 1\n"]
)
def test_the_setting_is_added_and_the_rest_of_the_file_stays(tmp_path: Path, before: str) -> None:
    path = tmp_path / "safelight.toml"
    path.write_text(before)
    one, two = tmp_path / "one", tmp_path / "two"
    assert add_model_folders(tmp_path, [one]) == [one]
    assert add_model_folders(tmp_path, [one, two / "inner", two]) == [one, two]
    written = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert add_model_folders(tmp_path, [two / "other"]) == [one, two]
    assert path.read_text() == written
    for line in filter(None, before.splitlines()):
        assert line in written
    if "tables" not in before:
        settings = Settings.load(home=tmp_path)
        assert settings.model_folders == (one, two)
        assert settings.port == (7000 if before else 7860)


def test_a_damaged_settings_file_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "safelight.toml").write_text("port = [")
    with pytest.raises(SettingsError):
        add_model_folders(tmp_path, [tmp_path])
    assert (tmp_path / "safelight.toml").read_text() == "port = ["


def test_each_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model folder has a thousand files, and a header of a checkpoint takes milliseconds."""
    root, home = tmp_path / "models", tmp_path / "home"
    (root / "loras").mkdir(parents=True)
    for number in range(4):  # more than one: the index of parts reads all of them between two
        write_network(root / f"flux {number}.safetensors", {"vector_in.in_layer.weight": (8, 8)})
        write_network(root / "loras" / f"{number}.safetensors", {"x.lora_down.weight": (1, 768)})
    opened: Counter[str] = Counter()
    real_open = Path.open

    def count(path: Path, *args: object, **options: object) -> object:
        opened.update([path.name] if path.is_relative_to(root) else [])
        return real_open(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", count)
    find_checkpoints(home, folders=[root])
    assert sorted(opened.values()) == [1] * 8
    find_checkpoints(home, folders=[root])
    assert sorted(opened.values()) == [1] * 8
    list(inspect_folder(root))
    assert max(opened.values()) == 2


def write_network(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    key = "double_blocks.0.img_attn.norm.key_norm.scale"
    save_file({name: torch.zeros(shape) for name, shape in {key: (4,), **shapes}.items()}, path)
