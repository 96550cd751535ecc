from __future__ import annotations

import resource
import struct
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from safelight.errors import CheckpointInvalidError, FileMissingError, SafelightError
from safelight.models.checkpoints.gguf_header import read_gguf_metadata
from safelight.models.checkpoints.safetensors_header import main_precision, read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.runtime.quantization.block_sizes import BLOCK_SIZES
from safelight.runtime.quantization.tensor import QuantizedTensor

RANDOM = np.random.default_rng(3)


def write_gguf(
    path: Path,
    tensors: dict[str, np.ndarray],
    kinds: dict[str, str] | None = None,
    architecture: str = "flux",
    values: dict[str, Any] | None = None,
) -> Path:
    """Write a file with llama.cpp's own writer; ``kinds`` are the types of tensors that are packed already."""
    writer = GGUFWriter(path, architecture)
    for key, value in (values or {}).items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}[type(value)]
        add(key, value)
    for name, tensor in tensors.items():
        kind = (kinds or {}).get(name)
        writer.add_tensor(name, tensor, raw_dtype=GGMLQuantizationType[kind] if kind else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def packed_rows(kind: str, rows: int = 4, blocks: int = 2) -> np.ndarray:
    """Random blocks of a type, with scales that are finite: [rows, bytes of a row] uint8."""
    nbytes = BLOCK_SIZES[kind][1]
    data = RANDOM.integers(0, 256, (rows * blocks, nbytes), dtype=np.uint8)
    data[:, :: nbytes - 2] &= 0x3B  # neither end of a block is an fp16 infinity
    for at in {0, 2, nbytes - 2, nbytes - 4} & set(range(nbytes)):
        data[:, at + 1] &= 0x3B
    return data.reshape(rows, blocks * nbytes)


@pytest.fixture(scope="module")
def every_type(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensors = {kind: packed_rows(kind) for kind in BLOCK_SIZES}
    plain = RANDOM.standard_normal((3, 5)).astype(np.float32)
    bf16 = gguf.quants.quantize(plain, GGMLQuantizationType.BF16)
    return write_gguf(
        tmp_path_factory.mktemp("gguf") / "m.gguf",
        tensors | {"F32": plain, "F16": plain.astype(np.float16), "BF16": bf16},
        {kind: kind for kind in (*BLOCK_SIZES, "BF16")},
    )


@pytest.mark.parametrize("kind", BLOCK_SIZES)
def test_every_block_type_is_read_as_llama_cpp_reads_it(kind: str, every_type: Path) -> None:
    entry = read_header(every_type).tensors[kind]
    elements, nbytes = BLOCK_SIZES[kind]
    assert (entry.dtype, entry.shape, entry.nbytes) == (kind, (4, 2 * elements), 8 * nbytes)
    tensor = read_tensors(every_type, [kind])[kind]
    assert isinstance(tensor, QuantizedTensor)
    stored = next(each for each in GGUFReader(every_type).tensors if each.name == kind)
    expected = gguf.quants.dequantize(stored.data, GGMLQuantizationType[kind])
    assert np.array_equal(tensor.dequantize().numpy(), expected, equal_nan=True)
    assert np.isfinite(expected).mean() > 0.9
    rows = tensor[1:3]
    assert isinstance(rows, QuantizedTensor)
    assert torch.equal(rows.dequantize().nan_to_num(), tensor.dequantize()[1:3].nan_to_num())


def test_plain_tensors_of_a_gguf_file(every_type: Path) -> None:
    tensors = read_tensors(every_type, ["F32", "F16", "BF16"])
    assert [tensor.dtype for tensor in tensors.values()] == [torch.float32, torch.float16, torch.bfloat16]
    assert torch.allclose(tensors["F16"].float(), tensors["F32"], atol=2e-3)
    assert torch.allclose(tensors["BF16"].float(), tensors["F32"], atol=2e-2)
    assert set(read_header(every_type).tensors) == {*BLOCK_SIZES, "F32", "F16", "BF16"}
    with pytest.raises(CheckpointInvalidError, match="no tensor nowhere"):
        read_tensors(every_type, ["nowhere"])


def test_large_weights_are_dequantized_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"w": packed_rows("Q4_K", 7, 3)}, {"w": "Q4_K"})
    whole = read_tensors(path)["w"].dequantize()  # type: ignore[attr-defined]
    monkeypatch.setattr("safelight.runtime.quantization.formats.gguf._CHUNK_BYTES", 5 * 144)
    assert torch.equal(read_tensors(path)["w"].dequantize(), whole)  # type: ignore[attr-defined]


def test_the_shape_before_a_converter_for_comfyui_changed_it(tmp_path: Path) -> None:
    values = {"comfy.gguf.orig_shape.conv": [4, 16, 3, 3]}
    tensors = {"conv": packed_rows("Q8_0", 9, 2)}
    path = write_gguf(tmp_path / "m.gguf", tensors, {"conv": "Q8_0"}, "sdxl", values)
    assert read_header(path).tensors["conv"].shape == (4, 16, 3, 3)
    assert read_tensors(path)["conv"].shape == (4, 16, 3, 3)
    write_gguf(path, tensors, {"conv": "Q8_0"}, "sdxl", {"comfy.gguf.orig_shape.conv": [4, 16, 3, 4]})
    with pytest.raises(CheckpointInvalidError, match="original shape"):
        read_header(path)


def test_metadata_are_texts_and_lists_are_read_apart(tmp_path: Path) -> None:
    values = {"general.name": "tiny", "tokenizer.ggml.tokens": ["a", "b"], "x.count": 7, "x.list": [1, 2, 3]}
    path = write_gguf(tmp_path / "m.gguf", {"w": np.zeros((2, 2), np.float32)}, values=values)
    metadata = read_header(path).metadata
    assert (metadata["general.name"], metadata["x.count"], "x.list" in metadata) == ("tiny", "7", False)
    assert read_gguf_metadata(path)["tokenizer.ggml.tokens"] == ["a", "b"]
    assert read_gguf_metadata(path)["x.list"] == [1, 2, 3]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(CheckpointInvalidError):
        read_gguf_metadata(path)
    with pytest.raises(FileMissingError):
        read_gguf_metadata(tmp_path / "none.gguf")


def test_long_lists_take_no_memory_where_only_the_header_is_wanted(tmp_path: Path) -> None:
    """A list of bytes takes sixteen times its size in memory."""
    key, count = b"a", 20_000_000
    head = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(key)) + key + struct.pack("<IIQ", 9, 0, count)
    path = tmp_path / "m.gguf"
    path.write_bytes(head + bytes(count))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_header(path).metadata == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_the_precision_of_a_mixture_is_that_of_most_weights(tmp_path: Path) -> None:
    tensors = {"a": packed_rows("Q4_K", 9), "b": packed_rows("Q6_K"), "c": np.zeros((2, 2), np.float32)}
    path = write_gguf(tmp_path / "m.gguf", tensors, {"a": "Q4_K", "b": "Q6_K"})
    assert main_precision(list(read_header(path).tensors.values())) == "q4_k"


# Text encoders


def text_encoder(prefix: str, parts: list[str]) -> dict[str, np.ndarray]:
    blocks = {f"{prefix}blk.0.{part}.weight": np.full((2, 2), 3, np.float32) for part in parts}
    return {"token_embd.weight": np.zeros((4, 2), np.float32), **blocks}


def test_a_t5_encoder_has_the_names_of_transformers(tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=4, d_model=2, d_kv=1, d_ff=2, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    wanted = {key: value.shape for key, value in T5EncoderModel(config).state_dict().items()}
    parts = [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_o",
        "attn_rel_b",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ]
    tensors = text_encoder("enc.", parts) | {"enc.output_norm.weight": np.zeros(2, np.float32)}
    path = write_gguf(tmp_path / "m.gguf", tensors, architecture="t5encoder")
    wanted.pop("encoder.embed_tokens.weight", None)  # the same as shared.weight
    assert set(read_header(path).tensors) == set(wanted)
    assert set(read_tensors(path)) == set(wanted)


@pytest.mark.parametrize("architecture", ["qwen2vl", "qwen3", "gemma2", "gemma3", "llama"])
def test_a_language_model_has_the_names_of_transformers(architecture: str, tmp_path: Path) -> None:
    import transformers

    common = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
    kinds: dict[str, Any] = {
        "qwen2vl": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
        "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }
    config, kind = kinds[architecture]
    network = kind(config(vocab_size=4, num_key_value_heads=2, head_dim=2, pad_token_id=0, **common))
    wanted = {key: value.numpy() for key, value in network.state_dict().items()}
    arch = {"qwen2vl": "QWEN2", "qwen3": "QWEN3", "gemma2": "GEMMA2", "gemma3": "GEMMA3", "llama": "LLAMA"}[
        architecture
    ]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch], 1)
    stored = {}
    for key, value in wanted.items():
        name = names.get_name(key, (".weight", ".bias"))
        if architecture == "gemma2" and key == "lm_head.weight":  # tied
            continue
        assert name is not None, key
        if "gemma" in architecture and key.endswith("norm.weight"):
            value = value + 1  # as llama.cpp's converter does
        if architecture == "llama" and ("q_proj" in key or "k_proj" in key):
            value = value.reshape(2, 2, 1, 4).swapaxes(1, 2).reshape(4, 4)
        stored[name] = value.astype(np.float32)
    path = write_gguf(
        tmp_path / "m.gguf", stored, None, architecture, {f"{architecture}.attention.head_count": 2}
    )
    read = read_tensors(path)
    assert set(read) == set(wanted) - ({"lm_head.weight"} if architecture == "gemma2" else set())
    for key, value in ((key, wanted[key]) for key in read):
        assert np.allclose(read[key].numpy(), value, atol=1e-6), key


def test_attention_heads_are_put_back_in_order_packed(tmp_path: Path) -> None:
    blocks = packed_rows("Q8_0", 8, 1)
    tensors = {"token_embd.weight": np.zeros((4, 2), np.float32), "blk.0.attn_q.weight": blocks}
    values: dict[str, Any] = {"llama.attention.head_count": 2}
    path = write_gguf(tmp_path / "m.gguf", tensors, {"blk.0.attn_q.weight": "Q8_0"}, "llama", values)
    tensor = read_tensors(path)["model.layers.0.self_attn.q_proj.weight"]
    assert isinstance(tensor, QuantizedTensor)
    plain = torch.from_numpy(gguf.quants.dequantize(blocks, GGMLQuantizationType.Q8_0))
    assert torch.equal(tensor.dequantize(), plain[[0, 2, 1, 3, 4, 6, 5, 7]])
    write_gguf(path, tensors, {"blk.0.attn_q.weight": "Q8_0"}, "llama", {"llama.attention.head_count": 3})
    with pytest.raises(CheckpointInvalidError, match="attention heads"):
        read_header(path)


# Damaged files


def handmade(
    tensors: list[bytes],
    values: list[bytes] | None = None,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: int = 64,
) -> bytes:
    values = values or []
    header = struct.pack("<4sIQQ", b"GGUF", version, *(counts or (len(tensors), len(values))))
    body = header + b"".join(values) + b"".join(tensors)
    return body + bytes(-len(body) % 32) + bytes(data)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str = "w", shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def alignment(value: int) -> bytes:
    return text("general.alignment") + struct.pack("<II", 4, value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (handmade([], version=1), "version is 1"),
        (handmade([], version=0x03000000), "version is"),
        (handmade([tensor()], counts=(2**60, 0)), "speaks of 1152921504606846976 tensors"),
        (handmade([tensor()], counts=(99_000, 0)), "speaks of 99000 tensors"),
        (handmade([tensor()], counts=(1, 2**63)), "values"),
        (handmade([tensor(kind=16)]), "IQ2_XXS, which is not read"),
        (handmade([tensor(kind=77)]), "number 77, which is not read"),
        (handmade([tensor(shape=(1,) * 5)]), "5 dimensions"),
        (handmade([tensor(shape=(2**40, 2**40))]), "cut short"),
        (handmade([tensor(shape=(33,), kind=8)]), "rows of 'w' have 33"),
        (handmade([tensor(offset=3)]), "not aligned"),
        (handmade([tensor(offset=2**62)]), "cut short"),
        (handmade([tensor(), tensor("v")]), "overlap"),
        (handmade([tensor(), tensor(offset=32)]), "twice"),
        (handmade([tensor()], [alignment(0)]), "alignment is 0"),
        (handmade([tensor()], [alignment(48)]), "alignment is 48"),
        (handmade([tensor()], [alignment(32), alignment(32)]), "twice"),
        (handmade([tensor()], [text("a") + struct.pack("<I", 99)]), "unknown type 99"),
        (handmade([tensor()], [text("a") + struct.pack("<IQ", 8, 2**40)]), "text of 1099511627776 bytes"),
        (handmade([tensor()], [text("a") + struct.pack("<IIQ", 9, 4, 2**40)]), "speaks of"),
        (handmade([tensor()], [text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9]), "nested too deep"),
        (handmade([tensor("x" * 3000)]), "text of 3000 bytes"),
        (handmade([tensor()])[:56], "does not end within the file"),
        (handmade([tensor(shape=(99,))]), "cut short"),
        (b"GGUF" + bytes(40), "version is 0"),
        (b"GGUF", "too few|does not end"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_files_are_refused_with_a_reason(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalidError, match=says):
        read_header(path)


def test_what_is_accepted_of_500_mutated_headers_can_be_read(every_type: Path, tmp_path: Path) -> None:
    whole, random, accepted = every_type.read_bytes(), Random(11), 0
    length = whole.index(b"F32") + 900
    path = tmp_path / "m.gguf"
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(random.choice([1, 1, 2, 3])):
            at = random.randrange(4, min(length, 1200))
            match random.randrange(4):
                case 0:
                    content[at] = random.randrange(256)
                case 1:
                    content[at : at + 8] = struct.pack("<Q", random.choice([0, 1, 2**31, 2**63, 2**64 - 1]))
                case 2:
                    del content[at : at + random.choice([1, 4, 8])]
                case 3:
                    content = content[: random.randrange(4, len(content))]
                    break
        path.write_bytes(content)
        with suppress(SafelightError):
            header = read_header(path)
            accepted += 1
            for name, entry in header.tensors.items():
                assert entry.elements < 1e6
                assert tuple(read_tensors(path, [name])[name].shape) == entry.shape
    assert 10 < accepted < 400
