from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from safelight.errors import CheckpointInvalidError, SafelightError
from safelight.models.checkpoints.safetensors_header import main_precision, read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.inventory.weights_file import describe_weights_file
from safelight.runtime.quantization.tensor import QuantizedTensor, stored_nbytes

FOREIGN = Path(__file__).parent / "quantized_files"
"""Files that torchao and bitsandbytes wrote: see make.py there."""
FILES = {
    "torchao-int8": "int8",
    "torchao-int8-group": "int8",
    "torchao-int4": "int4",
    "torchao-fp8": "fp8",
    "bitsandbytes-nf4": "nf4",
    "bitsandbytes-nf4-nested": "nf4",
    "bitsandbytes-fp4": "fp4",
    "bitsandbytes-int8": "int8",
}
Tensors = dict[str, torch.Tensor]


@pytest.mark.parametrize(("name", "precision"), FILES.items())
def test_files_of_other_libraries_are_read_as_they_read_them(name: str, precision: str) -> None:
    path = FOREIGN / f"{name}.safetensors"
    expected = load_file(FOREIGN / f"{name}.expected.safetensors")["layer.weight"]
    header = read_header(path)
    assert set(header.tensors) <= {"layer.weight", "layer.bias"}
    assert header.tensors["layer.weight"].shape == tuple(expected.shape)
    assert main_precision([header.tensors["layer.weight"]]) == precision
    weight = read_tensors(path)["layer.weight"]
    assert isinstance(weight, QuantizedTensor)
    assert (
        weight.dequantize() - expected
    ).abs().max() <= expected.abs().max() * 2**-8  # they compute in bf16 or fp16
    assert stored_nbytes(weight) < expected.nbytes / 2
    half = weight.chunk(2)[1]
    assert isinstance(half, QuantizedTensor)
    assert torch.equal(half.dequantize(), weight.dequantize()[len(expected) // 2 :])
    assert torch.equal(torch.cat(weight.chunk(2)).dequantize(), weight.dequantize())


def read_foreign(name: str) -> tuple[Tensors, dict[str, str]]:
    with safe_open(FOREIGN / f"{name}.safetensors", "pt") as file:
        return load_file(FOREIGN / f"{name}.safetensors"), dict(file.metadata() or {})


def state(text: str | bytes) -> torch.Tensor:
    return torch.tensor(list(text.encode() if isinstance(text, str) else text), dtype=torch.uint8)


STATE = "layer.weight.quant_state.bitsandbytes__nf4"


def change_state(**changes: Any) -> Callable[[Tensors, dict[str, str]], None]:
    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        value = json.loads(bytes(tensors[STATE].tolist())) | changes
        tensors[STATE] = state(json.dumps(value))

    return change


def change_torchao(**changes: Any) -> Callable[[Tensors, dict[str, str]], None]:
    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        value = json.loads(metadata["layer.weight"])
        value["_data"] |= changes
        metadata["layer.weight"] = json.dumps(value)

    return change


def put(name: str, value: torch.Tensor | None) -> Callable[[Tensors, dict[str, str]], None]:
    def change(tensors: Tensors, metadata: dict[str, str]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("bitsandbytes-nf4", put("layer.weight.absmax", None), "absmax is missing"),
        ("bitsandbytes-nf4", put("layer.weight.absmax", torch.ones(15)), "15 elements, not 16"),
        ("bitsandbytes-nf4", put("layer.weight.absmax", torch.full((16,), torch.nan)), "not finite"),
        ("bitsandbytes-nf4", put("layer.weight.quant_map", torch.ones(8)), "8 elements, not 16"),
        ("bitsandbytes-nf4", put("layer.weight", torch.ones(512, 1)), "is F32, not U8"),
        ("bitsandbytes-nf4", put(STATE, state("{")), "cannot be used"),
        ("bitsandbytes-nf4", put(STATE, state("[1]")), "no JSON object"),
        ("bitsandbytes-nf4", put(STATE, state(b"\xff")), "cannot be used"),
        ("bitsandbytes-nf4", put(STATE, state("[" * 60_000)), "cannot be used"),
        ("bitsandbytes-nf4", put(STATE, state(" " * 70_000)), "70000 bytes"),
        ("bitsandbytes-nf4", change_state(shape=[2**39, 2**39]), "elements, not"),
        ("bitsandbytes-nf4", change_state(shape=[-1, 3]), "shape is not one"),
        ("bitsandbytes-nf4", change_state(blocksize=0), "blocks of 0"),
        ("bitsandbytes-nf4", change_state(quant_type="nf9"), "nf9, which is not known"),
        ("bitsandbytes-nf4-nested", change_state(nested_offset="x"), "no number"),
        ("bitsandbytes-nf4-nested", change_state(nested_blocksize=3), "blocks of 3 scales"),
        ("bitsandbytes-nf4-nested", put("layer.weight.nested_absmax", torch.ones(9)), "9 elements, not 2"),
        ("bitsandbytes-int8", put("layer.SCB", torch.ones(3)), "not one value for each row"),
        ("bitsandbytes-int8", put("layer.SCB", torch.full((16,), torch.inf)), "not finite"),
        ("bitsandbytes-int8", put("layer.weight", None), "no weight of eight bits"),
        ("torchao-int8", put("layer._weight_scale", None), "scale is missing"),
        ("torchao-int8", put("layer._weight_scale", torch.ones(3, 1)), "not 16 values"),
        ("torchao-int8", put("layer._weight_scale", torch.full((16, 1), torch.nan)), "not finite"),
        ("torchao-int8", put("layer._weight_qdata", torch.ones(16, 64)), "no matrix of eight bits"),
        ("torchao-int8", change_torchao(block_size=[16, 64]), r"blocks of \[16, 64\]"),
        ("torchao-int8", change_torchao(block_size=[1, 0]), "blocks of"),
        ("torchao-int8", change_torchao(block_size=[1, 48]), "no whole number"),
        ("torchao-int4", change_torchao(target_dtype={"_data": "int99"}), "int99"),
        ("torchao-fp8", put("layer._weight_scale", torch.ones(5)), "5 values for 16 rows"),
    ],
)  # fmt: skip
def test_mixed_up_parts_are_refused(
    name: str, change: Callable[[Tensors, dict[str, str]], None], says: str, tmp_path: Path
) -> None:
    tensors, metadata = read_foreign(name)
    change(tensors, metadata)
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointInvalidError, match=says):
        read_tensors(tmp_path / "m.safetensors")


def test_a_class_of_torchao_that_is_not_known(tmp_path: Path) -> None:
    tensors, metadata = read_foreign("torchao-int8")
    metadata["layer.weight"] = metadata["layer.weight"].replace("Int8Tensor", "NVFP4Tensor")
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointInvalidError, match="torchao's NVFP4Tensor, which is not known"):
        read_header(tmp_path / "m.safetensors")
    metadata["tensor_names"] = "3"
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointInvalidError, match="list of torchao's tensors"):
        read_header(tmp_path / "m.safetensors")


def test_a_shard_of_torchaos_has_the_names_of_all(tmp_path: Path) -> None:
    tensors, metadata = read_foreign("torchao-int8")
    save_file({"layer.bias": tensors["layer.bias"]}, tmp_path / "m.safetensors", metadata)
    assert set(read_header(tmp_path / "m.safetensors").tensors) == {"layer.bias"}


def test_torchaos_int4_tensors_which_need_a_gpu_to_be_made(tmp_path: Path) -> None:
    """From the published layout: two signed codes to a byte, scales and zero points transposed, w = q * s + z."""
    codes = torch.randint(-8, 8, (6, 64), dtype=torch.int8)
    scales, zeros = torch.rand(6, 2) + 0.1, torch.randn(6, 2)
    expected = (codes.view(6, 2, 32) * scales[..., None] + zeros[..., None]).view(6, 64)
    packed = (codes[:, ::2] & 0xF) | (codes[:, 1::2] << 4)
    described = {
        "_type": "Int4Tensor",
        "_data": {"block_size": [1, 32], "shape": [6, 64]},
        "_tensor_data_names": ["qdata", "scale", "zero_point"],
    }
    tensors = {
        "a._weight_qdata": packed,
        "a._weight_scale": scales.t().contiguous(),
        "a._weight_zero_point": zeros.t().contiguous(),
    }
    metadata = {"tensor_names": '["a.weight"]', "a.weight": json.dumps(described)}
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    weight = read_tensors(tmp_path / "m.safetensors")["a.weight"]
    assert isinstance(weight, QuantizedTensor)
    assert torch.allclose(weight.dequantize(), expected, atol=1e-5)


# ComfyUI


def fp8(rows: int = 4, columns: int = 6, dtype: torch.dtype = torch.float8_e4m3fn) -> torch.Tensor:
    return torch.linspace(-2, 2, rows * columns).view(rows, columns).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_plain_fp8(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"a.weight": fp8(dtype=dtype), "a.bias": fp8(1, 4, dtype=dtype)[0], "b": torch.ones(2, 2)}
    save_file(tensors, tmp_path / "m.safetensors")
    read = read_tensors(tmp_path / "m.safetensors")
    assert isinstance(read["a.weight"], QuantizedTensor)
    assert torch.equal(read["a.weight"].dequantize(), tensors["a.weight"].float())
    assert read["a.bias"].dtype == dtype  # small, and added to activations: to_precision converts it
    assert type(read["b"]) is torch.Tensor
    assert stored_nbytes(read["a.weight"]) == 24


@pytest.mark.parametrize("scale", [torch.tensor(3.0), torch.tensor([3.0])])
@pytest.mark.parametrize("new", [False, True])
def test_fp8_with_a_scale(scale: torch.Tensor, new: bool, tmp_path: Path) -> None:
    weight = fp8()
    tensors = {"x.a.weight": weight, "x.b.weight": fp8(), "x.a.bias": torch.ones(4)}
    if new:
        text = json.dumps({"format": "float8_e4m3fn", "full_precision_matrix_mult": False})
        tensors |= {
            "x.a.weight_scale": scale,
            "x.a.comfy_quant": state(text),
            "x.a.input_scale": torch.tensor(2.0),
        }
    else:
        mark = torch.zeros(0, dtype=torch.float8_e4m3fn)
        tensors |= {"x.a.scale_weight": scale, "x.a.scale_input": torch.tensor(2.0), "x.scaled_fp8": mark}
    save_file(tensors, tmp_path / "m.safetensors")
    header = read_header(tmp_path / "m.safetensors")
    assert set(header.tensors) == {"x.a.weight", "x.b.weight", "x.a.bias"}
    assert header.tensors["x.a.weight"].nbytes == 24 + 4
    read = read_tensors(tmp_path / "m.safetensors")
    assert torch.equal(read["x.a.weight"].dequantize(), weight.float() * 3)  # type: ignore[attr-defined]
    assert torch.equal(read["x.b.weight"].dequantize(), weight.float())  # type: ignore[attr-defined]
    assert describe_weights_file(tmp_path / "m.safetensors").precisions["fp8"] == 24 + 4 + 24


def test_fp8_with_a_scale_for_each_row(tmp_path: Path) -> None:
    scales = torch.arange(1.0, 5.0)
    layers = {"_quantization_metadata": json.dumps({"layers": {"a": {"format": "float8_e4m3fn"}}})}
    save_file({"a.weight": fp8(), "a.weight_scale": scales.unsqueeze(1)}, tmp_path / "m.safetensors", layers)
    read = read_tensors(tmp_path / "m.safetensors")["a.weight"]
    assert isinstance(read, QuantizedTensor)
    assert torch.equal(read.dequantize(), fp8().float() * scales[:, None])
    assert torch.equal(read[2:].dequantize(), read.dequantize()[2:])
    assert torch.equal(read.view(4, 2, 3).dequantize(), read.dequantize().view(4, 2, 3))


def test_rows_of_weights_with_different_scales_are_not_joined_packed(tmp_path: Path) -> None:
    tensors = {"a.weight": fp8(), "a.weight_scale": torch.tensor(2.0)}
    save_file(tensors | {"b.weight": fp8(), "b.weight_scale": torch.tensor(3.0)}, tmp_path / "m.safetensors")
    read = list(read_tensors(tmp_path / "m.safetensors").values())
    assert torch.equal(torch.cat(read), torch.cat([each.dequantize() for each in read]))
    assert isinstance(torch.cat([read[0], read[0]]), QuantizedTensor)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"a.weight": fp8(), "a.weight_scale": torch.ones(3)}, "3 values for 4 rows"),
        ({"a.weight": fp8(), "a.weight_scale": torch.tensor(torch.nan)}, "not finite"),
        ({"a.weight": fp8(), "a.scale_weight": torch.tensor([torch.inf])}, "not finite"),
        ({"a.scale_weight": torch.ones(1)}, "a weight that is not there"),
        ({"a.weight": torch.ones(2, 2), "a.weight_scale": torch.ones(1)}, "a weight of the type F32"),
        (
            {"a.weight": torch.ones(2, 2, dtype=torch.uint8), "a.comfy_quant": state('{"format": "nvfp4"}')},
            "nvfp4, which is not known",
        ),
    ],
)
def test_mixed_up_scales_of_fp8_are_refused(tensors: Tensors, says: str, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointInvalidError, match=says):
        read_tensors(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "text", ["3", "{", '{"layers": 3}', '{"layers": {"a": {"format": "mxfp8"}}}', "[" * 9999]
)
def test_damaged_metadata_of_comfyui(text: str, tmp_path: Path) -> None:
    save_file({"a.weight": fp8()}, tmp_path / "m.safetensors", {"_quantization_metadata": text})
    with pytest.raises(CheckpointInvalidError, match="cannot be used"):
        read_header(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"format": "int9", "group": 4, "shape": [2, 4]}, "int9, which is not known"),
        ({"format": "int8", "group": 0, "shape": [2, 4]}, "groups of 0"),
        ({"format": "int8", "group": 3, "shape": [2, 4]}, "groups of 3"),
        ({"format": "int8", "group": 4, "shape": [2]}, "groups of 4"),
        ({"format": "int8", "group": 4, "shape": [2, "x"]}, "shape is not one"),
        ({"format": "int8", "group": 4, "shape": [2, 8]}, r"has the shape \[2, 4\], not \[2, 8\]"),
        (3, "cannot be used"),
    ],
)
def test_our_own_layout_is_checked(described: object, says: str, tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(2, 4, dtype=torch.int8), "a.weight.scales": torch.ones(2, 1)}
    metadata = {"safelight.quantization": json.dumps({"a.weight": described})}
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointInvalidError, match=says):
        read_header(tmp_path / "m.safetensors")
    del tensors["a.weight.scales"]
    metadata = {"safelight.quantization": '{"a.weight": {"format": "int8", "group": 4, "shape": [2, 4]}}'}
    save_file(tensors, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointInvalidError, match="scales is missing"):
        read_header(tmp_path / "m.safetensors")


def mutate_json(random: Random, value: Any) -> Any:
    """Change one value somewhere in a JSON value."""
    other = random.choice(
        [None, True, -1, 0, 1, 3, 2**40, 2**70, 1.5, "x", "int8", "nf4", [], [1], {}, {"_data": 1}]
    )
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return value | {key: mutate_json(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        return [*value[:at], mutate_json(random, value[at]), *value[at + 1 :]]
    return other


def test_500_mutated_descriptions_are_read_or_refused(tmp_path: Path) -> None:
    random, path, read = Random(10), tmp_path / "m.safetensors", 0
    own = {"a.weight": {"format": "int8", "group": 4, "shape": [2, 4]}}
    ours = {"a.weight": torch.ones(2, 4, dtype=torch.int8), "a.weight.scales": torch.ones(2, 1)}
    files = [read_foreign(name) for name in FILES if name != "bitsandbytes-int8"]  # which has no description
    files += [
        (ours, {"safelight.quantization": json.dumps(own)}),
        (
            {"a.weight": fp8(), "a.comfy_quant": state('{"format": "float8_e4m3fn"}')},
            {"_quantization_metadata": '{"layers": {"a": {"format": "float8_e4m3fn"}}}'},
        ),
    ]
    for _ in range(500):
        tensors, metadata = (dict(each) for each in random.choice(files))
        texts = [name for name in tensors if "quant_state" in name or "comfy_quant" in name]
        described = [name for name, text in metadata.items() if text[:1] in "{["]
        name = random.choice(texts + described)
        if name in texts:
            value = json.loads(bytes(tensors[name].tolist()))
            tensors[name] = state(json.dumps(mutate_json(random, value)))
        else:
            metadata[name] = json.dumps(mutate_json(random, json.loads(metadata[name])))
        save_file(tensors, path, metadata)
        with suppress(SafelightError):
            header = read_header(path)
            for name, tensor in read_tensors(path).items():
                assert tuple(tensor.shape) == header.tensors[name].shape
            read += 1
    assert 20 < read < 450
