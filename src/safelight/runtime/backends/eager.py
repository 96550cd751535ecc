"""Eager: torch runs a module as it is, one operation after the other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from safelight.runtime.backends import BackendPlan

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The data types of the weights by precision."""


def compile_eager(module: nn.Module, plan: BackendPlan, cache: Path | None = None) -> nn.Module:  # noqa: ARG001
    """The module itself."""
    return module
