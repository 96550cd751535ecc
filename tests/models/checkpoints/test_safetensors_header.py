from __future__ import annotations

import copy
import json
import pickle
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file

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
        (
            write_header({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)),
            "negative",
        ),
        (struct.pack("<Q", 4) + b"{nil", "damaged header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer"),
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


def test_the_precision_is_that_of_most_weights(tmp_path: Path) -> None:
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


def test_files_of_the_same_tensors_keep_their_own_metadata_and_places(tmp_path: Path) -> None:
    network = {"a": torch.arange(6.0), "b": torch.zeros(4, dtype=torch.int8)}  # int8 may be codes: not shared
    headers = []
    for number, who in enumerate(["me", "somebody else"]):
        path = write_safetensors(tmp_path / f"{number}.safetensors", save(network, {"who": who}))
        headers.append(read_header(path))
    assert [header.metadata for header in headers] == [{"who": "me"}, {"who": "somebody else"}]
    assert headers[0].tensors == headers[1].tensors
    first, second = (header.stored["a"].offset for header in headers)
    assert second - first == 8  # the longer name, and the spaces that align


def test_headers_of_the_same_tensors_share_what_is_derived(tmp_path: Path) -> None:
    asked = []

    def count(tensors: Mapping[str, TensorEntry]) -> int:
        asked.append(len(tensors))
        return len(tensors)

    for number in range(3):
        data = save({"derived": torch.arange(6.0)}, {"number": "x" * number})
        path = write_safetensors(tmp_path / f"{number}.safetensors", data)
        assert read_header(path).derive(count) == 1
    assert asked == [1]
    other = write_safetensors(tmp_path / "other.safetensors", save({"derived": torch.arange(7.0)}))
    assert read_header(other).derive(count) == 1
    assert asked == [1, 1]


ENTRY = '{"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"__metadata__": {{"a": "b"}}, "x": {ENTRY}, "x": {ENTRY}}}',
        f'{{"__metadata__": {{"a": "b"}}, "x": 3, "x": {ENTRY}}}',
        f'{{"__metadata__": {{"a": "b"}}, "x": {ENTRY}, "__metadata__": {{"c": "d"}}}}',
        f'{{"__metadata__": {{"a": "b", "a": "c"}}, "x": {ENTRY}}}',
        f'{{"x": {ENTRY[:-1]}, "dtype": "I8"}}}}',
        '{"__metadata__": {"a": "b"},}',
        f'{{"__metadata__": {{"a": "b"}} "x": {ENTRY}}}',
        f'{{"__metadata__": {{"a": "b"}}, "x": {ENTRY}}} "y"',
        f'{{"__metadata__": {{"a": 3}}, "x": {ENTRY}}}',
        f'{{"__metadata__": ["a"], "x": {ENTRY}}}',
        '{"x": {"dtype": "U8", "shape": {}, "data_offsets": [0, 1]}}',
        '{"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, true]}}',
    ],
)
def test_headers_that_are_no_json_of_the_format_are_refused(tmp_path: Path, text: str) -> None:
    content = struct.pack("<Q", len(text)) + text.encode() + bytes(text.endswith(("1]}}", "true]}}")))
    with pytest.raises(CheckpointInvalidError, match="damaged header"):
        read_header(write_safetensors(tmp_path / "m.safetensors", content))


def test_metadata_may_stand_anywhere(tmp_path: Path) -> None:
    for number, text in enumerate(
        [
            f'{{"x": {ENTRY}, "__metadata__": {{"a": "b: \\"c\\""}}}}   ',
            f'{{ "__metadata__" : {{"a": "b: \\"c\\""}} , "x": {ENTRY}}}',
        ]
    ):
        path = tmp_path / f"{number}.safetensors"
        header = read_header(write_safetensors(path, struct.pack("<Q", len(text)) + text.encode()))
        assert header.metadata == {"a": 'b: "c"'}
        assert header.tensors.keys() == {"x"}


def mutate(random: Random, entries: dict[str, Any]) -> object:
    """Change one thing in a header: a name, a type, a side, an offset, a value's kind, or the order."""
    names = [name for name in entries if name != "__metadata__"]
    entry = entries[random.choice(names)]
    number = random.choice([-1, 0, 1, 2, 3, 7, 24, 25, 32, 2**31, 2**63, 2**80, 1.5, "4", None, True, [], {}])
    match random.randrange(8):
        case 0:
            entry["shape"][random.randrange(len(entry["shape"]))] = number
        case 1:
            entry["data_offsets"][random.randrange(2)] = number
        case 2:
            entry["dtype"] = random.choice(
                ["F16", "F32", "F64", "I8", "BOOL", "F8_E4M3", "Q4_K", "", 5, None]
            )
        case 3:
            entry[random.choice(["dtype", "shape", "data_offsets"])] = number
        case 4:
            del entry[random.choice(list(entry))]
        case 5:
            entries[random.choice(["", "a", "__metadata__", "c"])] = copy.deepcopy(
                random.choice([entry, number])
            )
        case 6:
            entry["shape"].append(number)
        case 7:
            entries[names[0]]["data_offsets"], entries[names[1]]["data_offsets"] = (
                entries[names[1]]["data_offsets"],
                entries[names[0]]["data_offsets"],
            )
    return entries


def test_what_is_accepted_of_500_mutated_headers_the_library_accepts_too(tmp_path: Path) -> None:
    random, path = Random(5), tmp_path / "m.safetensors"
    length = struct.unpack("<Q", WHOLE[:8])[0]
    accepted = 0
    for _ in range(500):
        entries: Any = json.loads(WHOLE[8 : 8 + length])
        for _ in range(random.choice([1, 1, 2, 3])):
            with suppress(
                LookupError, TypeError, AttributeError
            ):  # an earlier change took away what this one changes
                mutate(random, entries)
        content = write_header(entries, WHOLE[8 + length :])
        write_safetensors(path, content)
        try:
            header = read_header(path)
        except SafelightError:
            header = None
        try:
            loaded = load(content)
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
            loaded = None
        accepted += header is not None
        if header is not None:
            assert loaded is not None, entries
            assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
                name: tuple(tensor.shape) for name, tensor in loaded.items()
            }
    assert 10 < accepted < 300


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ([[0, 8], [0, 8]], "begin at 0, not at 8"),
        ([[0, 8], [4, 12]], "begin at 4, not at 8"),
        ([[0, 8], [12, 20]], "begin at 12, not at 8"),
        ([[4, 12], [12, 20]], "begin at 4, not at 0"),
    ],
)
def test_tensors_that_overlap_or_leave_gaps(tmp_path: Path, places: list[list[int]], says: str) -> None:
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": place}
        for name, place in zip("ab", places, strict=True)
    }
    with pytest.raises(CheckpointInvalidError, match=says):
        read_header(write_safetensors(tmp_path / "m.safetensors", write_header(entries, bytes(20))))


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    text = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    content = struct.pack("<Q", len(text)) + text + b"x"
    with pytest.raises(CheckpointInvalidError, match="twice"):
        read_header(write_safetensors(tmp_path / "m.safetensors", content))
