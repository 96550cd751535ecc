"""Compressed files in the authors' names stay packed and give nearly the same picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.torch import load_file, save_file
from tests.tiny.checkpoint_files import write_whole
from tests.tiny.generation import generate_array

from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.loading import load_checkpoint
from safelight.models.families import TEXT
from safelight.runtime.quantization.tensor import QuantizedTensor

Tiny = Callable[[str], Path]


def compress_to_gguf(file: Path, path: Path) -> None:
    """As city96's converter does it: matrices packed, everything else plain."""
    writer = GGUFWriter(path, "flux")
    for name, tensor in load_file(file).items():
        values = tensor.float().numpy()
        fits = values.ndim == 2 and values.shape[1] % 32 == 0 and name.startswith("model.diffusion_model.")
        if fits:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compress_to_fp8(file: Path, path: Path) -> None:
    """As ComfyUI's scaled files."""
    tensors = {"model.diffusion_model.scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}
    for name, tensor in load_file(file).items():
        if tensor.ndim == 2 and name.startswith("model.diffusion_model.") and name.endswith(".weight"):
            scale = tensor.abs().max() / 448
            tensors[name] = (tensor / scale).to(torch.float8_e4m3fn)
            tensors[name.removesuffix("weight") + "scale_weight"] = scale
        else:
            tensors[name] = tensor
    save_file(tensors, path)


@pytest.mark.parametrize("name", ["flux", "sd3"])
@pytest.mark.parametrize("compress", [compress_to_gguf, compress_to_fp8])
def test_a_compressed_file_stays_packed_and_gives_nearly_the_same_picture(
    compress: Callable[[Path, Path], None], name: str, tiny: Tiny, tmp_path: Path
) -> None:
    plain = write_whole(name, tiny(name), tmp_path / "plain.safetensors")
    suffix = ".gguf" if compress is compress_to_gguf else ".safetensors"
    path = tmp_path / f"small{suffix}"
    compress(plain, path)
    for beside in tmp_path.glob("plain*"):
        if beside != plain:
            beside.rename(tmp_path / beside.name.replace("plain", "small"))
    loaded = load_checkpoint(describe_checkpoint(path, "small"))
    packed = [isinstance(weight, QuantizedTensor) for weight in loaded.denoiser.network.parameters()]
    assert sum(packed) > 10
    original = load_checkpoint(describe_checkpoint(tiny(name), name))
    assert loaded.denoiser.nbytes < 0.7 * original.denoiser.nbytes
    pictures = [generate_array(each.pipeline(), each.family, TEXT) for each in (original, loaded)]
    assert np.abs(pictures[0] - pictures[1]).mean() < (0.02 if compress is compress_to_gguf else 0.1)
