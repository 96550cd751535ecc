"""Make the files here with torchao and bitsandbytes themselves; neither is needed to read them, nor to run the tests.

    pip install torchao==0.18 bitsandbytes==0.50 && python tests/models/checkpoints/quantized_files/make.py

Each file NAME.safetensors has its library's layout; NAME.expected.safetensors has what the library makes of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent


def write(name: str, tensors: dict, metadata: dict, expected: torch.Tensor) -> None:
    save_file(
        {key: value.contiguous().clone() for key, value in tensors.items()},
        HERE / f"{name}.safetensors",
        metadata,
    )
    save_file({"layer.weight": expected.float().contiguous()}, HERE / f"{name}.expected.safetensors")


def make_torchao() -> None:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import (
        Float8WeightOnlyConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        PerGroup,
        quantize_,
    )

    configs = {
        "torchao-int8": Int8WeightOnlyConfig(),
        "torchao-int8-group": Int8WeightOnlyConfig(granularity=PerGroup(32)),
        "torchao-int4": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
        "torchao-fp8": Float8WeightOnlyConfig(),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        network = torch.nn.ModuleDict({"layer": torch.nn.Linear(64, 16)}).to(torch.bfloat16)
        quantize_(network, config)
        tensors, metadata = flatten_tensor_state_dict(
            {key: value.data for key, value in network.state_dict().items()}
        )
        write(name, tensors, metadata, network["layer"].weight.dequantize())


def make_bitsandbytes() -> None:
    import bitsandbytes as bnb
    from bitsandbytes import functional

    for name, kind, nested, shape in (
        ("bitsandbytes-nf4", "nf4", False, (16, 64)),
        ("bitsandbytes-nf4-nested", "nf4", True, (32, 576)),
        ("bitsandbytes-fp4", "fp4", False, (16, 64)),
    ):
        torch.manual_seed(0)
        weight = torch.randn(shape)
        codes, state = functional.quantize_4bit(
            weight, blocksize=64, quant_type=kind, compress_statistics=nested
        )
        tensors = {"layer.weight": codes}
        tensors |= {f"layer.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        write(name, tensors, {"format": "pt"}, functional.dequantize_4bit(codes, state))
    torch.manual_seed(0)
    weight = torch.randn(16, 64, dtype=torch.float16)
    codes, scales, _ = functional.int8_vectorwise_quant(weight)
    tensors = {
        "layer.weight": codes,
        "layer.SCB": scales,
        "layer.weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    write("bitsandbytes-int8", tensors, {"format": "pt"}, functional.int8_vectorwise_dequant(codes, scales))
    assert bnb.__version__


if __name__ == "__main__":
    make_torchao()
    make_bitsandbytes()
