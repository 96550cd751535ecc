from __future__ import annotations

import json
import pickle
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from safelight.errors import CheckpointInvalidError, FileMissingError, PickleRefusedError, SafelightError
from safelight.models.checkpoints.safetensors_header import TensorEntry, main_precision, read_header

WHOLE = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, {"who": "me"})


def write_safetensors(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_header(entries: object, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_header_lists_every_tensor(tmp_path: Path) -> None:
    header = read_header(write_safetensors(tmp_path / "m.safetensors", WHOLE))
    assert header.tensors == {"a": TensorEntry("F32", (2, 3), 24), "b": TensorEntry("F16", (4,), 8)}
    assert header.metadata == {"who": "me"}


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".PTH"])
def test_a_pickle_is_refused_by_its_name(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(PickleRefusedError, match="run any code"):
        read_header(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("protocol", range(1, 6))
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, protocol: int) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", pickle.dumps({"a": list(range(99))}, protocol))
    expected = (
        PickleRefusedError if protocol > 1 else CheckpointInvalidError
    )  # protocol 1 has no magic number
    with pytest.raises(expected):
        read_header(path)


def test_a_torch_archive_under_another_name_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.safetensors")
    with pytest.raises(PickleRefusedError, match="under another name"):
        read_header(tmp_path / "m.safetensors")


@pytest.mark.parametrize("length", [640, 896, 1152])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    empty = {"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "__metadata__": {"x": ""}}
    empty["__metadata__"]["x"] = "x" * (length - len(json.dumps(empty)))
    content = write_header(empty)
    assert len(content) == 8 + length
    assert read_header(write_safetensors(tmp_path / "m.safetensors", content)).tensors.keys() == {"a"}


@pytest.mark.parametrize("cut", [0, 5, 8, 9, 60, len(WHOLE) - 1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(CheckpointInvalidError):
        read_header(write_safetensors(tmp_path / "m.safetensors", WHOLE[:cut]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE + b"x", "where its header speaks of"),
        (struct.pack("<Q", 2**62) + b"{" + bytes(20), "does not begin with a header"),
        (struct.pack("<Q", 99) + b"{}" + bytes(20), "cut short"),
        (write_header({"a": {"dtype": "F32"}}), "damaged header"),
        (write_header({"a": 3}), "damaged header"),
        (
            write_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
            "does not have 4 bytes",
        ),
        (write_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "negative"),
        (struct.pack("<Q", 4) + b"{nil", "damaged header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer"),
        (b"GGUF" + bytes(40), "GGUF"),
        (b"<!DOCTYPE html><html>" + bytes(40), "does not begin with a header"),
    ],
)
def test_damaged_headers_are_refused_with_a_reason(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(CheckpointInvalidError, match=says):
        read_header(write_safetensors(tmp_path / "m.safetensors", content))


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        read_header(tmp_path / "m.safetensors")


@given(content=st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: WHOLE[:40] + tail))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write_safetensors(tmp_path_factory.getbasetemp() / "any.safetensors", content)
    with suppress(SafelightError):
        read_header(path)


def test_the_precision_is_that_of_most_bytes(tmp_path: Path) -> None:
    assert (
        main_precision(
            [TensorEntry("F16", (100,), 200), TensorEntry("F32", (10,), 40), TensorEntry("I64", (99,), 792)]
        )
        == "fp16"
    )
    assert main_precision([TensorEntry("F8_E4M3", (9,), 9)]) == "fp8"
    assert main_precision([TensorEntry("I64", (1,), 8)]) == ""
    save_file({"a": torch.zeros(8, dtype=torch.bfloat16)}, tmp_path / "m.safetensors")
    assert main_precision(list(read_header(tmp_path / "m.safetensors").tensors.values())) == "bf16"
