"""Checkpoints of real sizes without their weights: sparse files, which take no room, and whose networks have no values.

Folder, configs and headers of the weights files are those of the published model; tokenizers and scheduler are a tiny
checkpoint's. Loading makes networks on torch's meta device, so that only the CUDA device of the tests
(``tests/fake_cuda.py``) can compute with them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from safelight.models.checkpoints import loading
from safelight.models.checkpoints.empty_networks import published_networks, published_options
from safelight.models.digests import FileDigests

_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.int64: "I64"}


def write_real_size(family: str, tiny: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write the folder of a published model; see above.

    Args:
        family: The family.
        tiny: A tiny checkpoint of this family.
        folder: The destination.
        dtype: The precision in which weights are stored.
    """
    networks = published_networks(family)
    shutil.copytree(tiny, folder, ignore=lambda _, names: [name for name in names if name in networks])
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | dict(published_options(family))))
    for name, network in networks.items():
        own: Any = network
        (folder / name).mkdir()
        if hasattr(own, "save_config"):
            own.save_config(folder / name)
            file = "diffusion_pytorch_model.safetensors"
        else:
            own.config.save_pretrained(folder / name)
            file = "model.safetensors"
        _write_sparse(network, folder / name / file, dtype)
    return folder


def _write_sparse(network: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Write the header of a weights file, and a hole in place of the weights."""
    header, position, seen = {}, 0, set[int]()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) in seen:  # weights that are tied are saved once
            continue
        seen.add(id(tensor))
        stored = dtype if tensor.is_floating_point() else tensor.dtype
        end = position + tensor.numel() * stored.itemsize
        header[name] = {"dtype": _TYPES[stored], "shape": [*tensor.shape], "data_offsets": [position, end]}
        position = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + position)


@contextmanager
def without_weights() -> Iterator[None]:
    """Load networks of folders without their weights within the block; their files are not hashed either."""

    def build(files: Any, _family: Any, dtype: torch.dtype) -> nn.Module:
        network = loading._build_empty(files)
        if hasattr(network, "tie_weights"):
            network.tie_weights()
        return network.to(dtype)

    def digest(_: FileDigests, path: Path) -> str:
        return hashlib.sha256(str(path).encode()).hexdigest()

    with patch.object(loading, "_read_network", build), patch.object(FileDigests, "digest", digest):
        yield
