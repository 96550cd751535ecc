"""Pages of mapped weights files are given back, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from safelight.runtime.mapped_pages import MappedPages

MEGABYTE = 2**20


def resident_files() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="what /proc has")
def test_pages_are_given_back_and_the_values_stay(tmp_path: Path) -> None:
    values = torch.arange(16 * MEGABYTE, dtype=torch.int32)
    save_file({"a": values}, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        mapped = file.get_tensor("a")
    own, pages = values.clone(), MappedPages()
    assert pages.may_hold(mapped)
    assert pages.may_hold(mapped[5:])
    assert not pages.may_hold(own)
    (tmp_path / "a.safetensors").unlink()
    assert MappedPages().may_hold(mapped)
    assert torch.equal(mapped, values)
    full = resident_files()
    pages.release(mapped)
    assert full - resident_files() > 60 * MEGABYTE
    pages.release(own)
    assert torch.equal(own, values)
    assert torch.equal(mapped, values)
