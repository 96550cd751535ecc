from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.filesystems import small_disk

from safelight.errors import (
    FileMissingError,
    ModelInvalidError,
    OutputError,
    OutputExistsError,
    PickleRefusedError,
    SafelightError,
)
from safelight.models.pickles.child import load_weights_only
from safelight.models.pickles.convert import convert_pickle


class Call:
    """Pickled as a call of a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_and_metadata_are_kept(tmp_path: Path, zipped: bool) -> None:
    """In torch's archive and in the older format; shared, transposed and half-precision tensors."""
    shared = torch.arange(12.0).reshape(3, 4)
    weights = {
        "plain": shared,
        "same": shared,
        "part": shared[1:],
        "turned": shared.T,
        "half": torch.randn(5).half(),
        "bf16": torch.randn(5).bfloat16(),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "number": torch.tensor(3),
    }
    source = tmp_path / "model.ckpt"
    torch.save(
        {"state_dict": weights, "epoch": 3, "title": "old", "optimizer_states": [{"x": 1}]},
        source,
        _use_new_zipfile_serialization=zipped,
    )
    before = source.read_bytes()
    done = convert_pickle(source)
    assert (done.path, done.tensors, done.precision) == (tmp_path / "model.safetensors", 8, "fp32")
    assert (done.metadata, done.left_out) == ({"epoch": "3", "title": "old"}, ("optimizer_states",))
    assert done.no_network
    assert done.limits
    assert source.read_bytes() == before
    given = load_file(done.path)
    for name, tensor in weights.items():
        assert torch.equal(given[name], tensor.detach())
        assert given[name].dtype == tensor.dtype
    with safe_open(done.path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["safelight.converted_from_sha256"] == done.source_digest
    assert (metadata["epoch"], metadata["safelight.converted_from"]) == ("3", "model.ckpt")
    assert names_in(tmp_path) == ["model.ckpt", "model.safetensors"]


def test_an_existing_file_is_replaced_only_on_demand(tmp_path: Path) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "a.safetensors"
    torch.save({"a": torch.ones(2)}, source)
    out.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        convert_pickle(source)
    assert out.read_bytes() == b"mine"
    convert_pickle(source, overwrite=True)
    assert torch.equal(load_file(out)["a"], torch.ones(2))


def hostile(marker: Path) -> dict[str, Any]:
    command = f"touch {marker}"
    return {
        "system": Call(os.system, command),
        "eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, "", "upper"),
        "rmtree": Call(shutil.rmtree, str(marker.parent / "precious")),
        "torch.load": Call(torch.load, str(marker)),
        "hub": Call(torch.hub.load, "owner/name", "entry"),
        "nested pickle": Call(pickle.loads, pickle.dumps(Call(os.system, command))),
        "import": Call(__import__, "antigravity"),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", sorted(hostile(Path("x"))))
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, name: str, zipped: bool) -> None:
    """Refused by the unpickler itself; the child process that surrounds it is tested below."""
    marker, precious = tmp_path / "ran", tmp_path / "precious"
    precious.mkdir()
    source = tmp_path / "evil.pt"
    torch.save(
        {"weight": torch.ones(2), "x": hostile(marker)[name]}, source, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(PickleRefusedError) as caught:
        load_weights_only(source)
    assert "nothing was run" in caught.value.message
    assert not marker.exists()
    assert precious.is_dir()


def test_a_hostile_pickle_is_refused_by_the_command_too(tmp_path: Path) -> None:
    source = tmp_path / "evil.ckpt"
    torch.save({"x": Call(os.system, f"touch {tmp_path / 'ran'}")}, source)
    with pytest.raises(PickleRefusedError) as caught:
        convert_pickle(source)
    assert "system" in caught.value.message
    assert names_in(tmp_path) == ["evil.ckpt"]


def test_a_plain_pickle_of_a_call_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "evil.bin"
    source.write_bytes(pickle.dumps(Call(os.system, f"touch {tmp_path / 'ran'}"), protocol=2))
    with pytest.raises(SafelightError):
        load_weights_only(source)
    assert names_in(tmp_path) == ["evil.bin"]


def test_torchscript_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "program.pt"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("program/constants.pkl", b"")
        archive.writestr("program/code/__torch__.py", b"")
    with pytest.raises(PickleRefusedError, match="TorchScript"):
        load_weights_only(source)


def test_callbacks_of_training_programs_are_left_out(tmp_path: Path) -> None:
    """Stable Diffusion 1.4's own file holds a Lightning callback; its class need not be installed."""
    source = tmp_path / "sd.ckpt"
    callback = (
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x05X\x09\x00\x00\x00callbacksq\x02"
        b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\nq\x03)\x81q\x04}q\x05X\x04\x00\x00\x00bestq\x06K\x01sbu."
    )
    torch.save({"state_dict": {"w": torch.ones(2)}}, source)
    with zipfile.ZipFile(source) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    prefix = next(iter(names)).split("/")[0]
    with zipfile.ZipFile(source, "w") as archive:
        for name, data in (names | {f"{prefix}/data.pkl": callback}).items():
            archive.writestr(name, data)
    loaded = load_weights_only(source)
    assert isinstance(loaded, dict)
    assert loaded["a"] == 5
    assert type(loaded["callbacks"]).__name__ == "_LeftOut"


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x02", b"garbage" * 100, b"\x80\x02}q\x00.", b"{}", b"\x80\x02" + b"(" * 5000]
)  # fmt: skip
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "damaged.pth"
    source.write_bytes(content)
    with pytest.raises((ModelInvalidError, PickleRefusedError)):
        load_weights_only(source)


@pytest.mark.parametrize("content", [b"<html>", pickle.dumps({"a": print}, 4), pickle.dumps(3)])
def test_torchs_advice_to_run_any_code_is_not_passed_on(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "other.ckpt"
    source.write_bytes(content)
    with pytest.raises(ModelInvalidError) as caught:
        load_weights_only(source)
    assert "weights_only" not in caught.value.message
    assert "Re-running" not in caught.value.message


def test_numpys_numbers_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "trained.ckpt"
    numbers = {"step": np.int64(-7), "rate": np.float32(0.5), "loss": np.float64(1e-3), "ema": np.bool_(True)}
    torch.save({"state_dict": {"a": torch.ones(2)}, **numbers}, source)
    done = convert_pickle(source)
    assert done.metadata == {"step": "-7", "rate": "0.5", "loss": "0.001", "ema": "True"}
    assert done.left_out == ()


def test_a_damaged_directory_of_an_archive(tmp_path: Path) -> None:
    source = tmp_path / "damaged.ckpt"
    torch.save({"a": torch.ones(4)}, source)
    content = source.read_bytes()
    source.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x09"))
    with pytest.raises(ModelInvalidError):
        load_weights_only(source)


def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "damaged.pth"
    source.write_bytes(b"garbage" * 100)
    with pytest.raises(ModelInvalidError):
        convert_pickle(source)
    assert names_in(tmp_path) == ["damaged.pth"]


def test_a_compressed_archive(tmp_path: Path) -> None:
    source, plain = tmp_path / "a.ckpt", tmp_path / "plain.ckpt"
    torch.save({"a": torch.arange(100.0)}, plain)
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    loaded = load_weights_only(source)
    assert isinstance(loaded, dict)
    assert torch.equal(loaded["a"], torch.arange(100.0))


def test_a_truncated_archive(tmp_path: Path) -> None:
    source = tmp_path / "cut.ckpt"
    torch.save({"a": torch.ones(5000)}, source)
    source.write_bytes(source.read_bytes()[:9000])
    with pytest.raises(ModelInvalidError):
        load_weights_only(source)


def test_an_archive_that_claims_to_expand_a_thousandfold(tmp_path: Path) -> None:
    """More memory than a file of its size may take: the child process cannot get it."""
    source, plain = tmp_path / "bomb.ckpt", tmp_path / "plain.ckpt"
    torch.save({"a": torch.zeros(100_000)}, plain)
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
        other.getinfo(next(name for name in other.namelist() if name.endswith("/data/0"))).file_size = (
            3 * 2**30
        )
    plain.unlink()
    with pytest.raises(ModelInvalidError, match="memory"):
        convert_pickle(source)
    assert names_in(tmp_path) == ["bomb.ckpt"]


def test_a_full_disk(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    torch.save({"a": torch.ones(2_000_000)}, source)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 4):
        with pytest.raises(OutputError):
            convert_pickle(source, disk / "a.safetensors")
        assert names_in(disk) == []


def test_input_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        convert_pickle(tmp_path / "nothing.ckpt")
    other = tmp_path / "a.safetensors"
    other.write_bytes(b"x")
    with pytest.raises(ModelInvalidError, match="not named like a pickle"):
        convert_pickle(other, tmp_path / "b.safetensors")
    source = tmp_path / "a.pt"
    torch.save({"a": torch.ones(1)}, source)
    with pytest.raises(OutputError, match="safetensors"):
        convert_pickle(source, tmp_path / "b.bin")
