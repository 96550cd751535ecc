"""Write a checkpoint with the weights of its linear and convolution layers quantized."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from safelight.atomic_write import path_exists, temporary_path
from safelight.errors import OutputError, OutputExistsError, UnsupportedError
from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.safetensors_header import Header, TensorEntry, read_header
from safelight.models.checkpoints.sidecar import files_beside
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.quantization.safetensors_writer import (
    DTYPE_NAMES,
    Layout,
    file_size,
    write_safetensors,
)
from safelight.models.quantization.sensitivity import LayerError, row_key
from safelight.models.quantization.stored_form import stored_layout, stored_metadata, stored_tensors
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.quantization.quantize import GROUPS, Target, quantize_weight

ERROR_LIMITS: Mapping[Target, float] = {"int8": 0.05, "fp8": 0.08, "int4": 0.08, "nf4": 0.08}
"""The largest relative error of a layer's output; layers above it have more bits."""
_MORE_BITS: Mapping[Target, Target | None] = {"int8": None, "fp8": None, "int4": "int8", "nf4": "int8"}
"""What a layer above the limit gets: eight bits instead of four, or its own precision."""
_CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_SMALLEST = 4096
"""Weights with fewer elements stay as they are."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are written and those of all; what it raises ends the writing."""


@dataclass
class Quantized:
    """What was written.

    Args:
        path: The new folder or file.
        size: Its bytes of weights.
        original_size: The bytes of weights of the original.
        layers: How many weights are in each format; "left out" for layers that keep their precision.
        left_out: The layers that do not have the requested format because of their error, with the error.
    """

    path: Path
    size: int = 0
    original_size: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, float] = field(default_factory=dict)


def check_target(path: Path) -> None:
    """Refuse to write over something, or to give a new file the configs that lie beside it.

    Raises:
        OutputExistsError: The path exists.
    """
    if any(path_exists(each) for each in (path, *_sidecars(path))):
        raise OutputExistsError(f"{path} exists already.", hint="Choose another name with --out.")


def check_not_quantized(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that is quantized already; other files with parts of it do not count.

    Raises:
        UnsupportedError: It is.
    """
    for file in checkpoint.weights if checkpoint.path.is_dir() else (checkpoint.path,):
        for entry in read_header(file).tensors.values():
            if entry.packing is not None:
                raise UnsupportedError(
                    f"{checkpoint.name} is quantized already ({entry.dtype}).",
                    hint="Quantize the original checkpoint.",
                )


def write_quantized(
    checkpoint: Checkpoint,
    path: Path,
    target: Target,
    layers: Mapping[bytes, LayerError],
    precision: str,
    on_progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> Quantized:
    """Write a checkpoint with quantized weights: a folder for a folder, a file for a file.

    Of a checkpoint whose parts come from several files, the file of the denoiser is written; its other parts are found
    as the original's are. What lies beside a file for what it cannot hold (``sidecar``) is copied.

    It is written under a temporary name and renamed when it is complete; whatever ends the writing before leaves
    nothing.

    Args:
        checkpoint: The original.
        path: The new folder or file, which must not exist.
        target: The format.
        layers: The layers that may be quantized, by ``sensitivity.row_key`` of their first row.
        precision: The precision in which they were measured.
        on_progress: Called while it is written.

    Raises:
        OutputExistsError: The path exists.
        OutputError: It cannot be written, or the disk is too small.
        UnsupportedError: None of the checkpoint's weights is one of these layers.
    """
    check_target(path)
    whole = checkpoint.path.is_dir()
    weights = checkpoint.weights if whole else (checkpoint.path,)
    done = Quantized(path, original_size=sum(file.stat().st_size for file in weights))
    files = {
        file: _FilePlan(file, read_header(file), target, layers, DTYPES[precision], done) for file in weights
    }
    if not any(plan.targets for plan in files.values()):
        raise UnsupportedError(f"{checkpoint.name} has no weights that could be quantized to {target}.")
    done.size = sum(plan.size for plan in files.values())
    progress = _Progress(done.size, on_progress)
    with _removed_on_failure() as copies, _written_whole(path, done.size) as temporary:
        if whole:
            _copy_configs(checkpoint.path, temporary, files, target)
        for file, plan in files.items():
            place = temporary / file.relative_to(_root(checkpoint, file)) if whole else temporary
            plan.write(place, progress)
        on_progress(done.size, done.size)
        if not whole:
            _copy_sidecar(checkpoint.path, path, copies)
    return done


class _FilePlan:
    """What one weights file becomes."""

    def __init__(
        self,
        file: Path,
        header: Header,
        target: Target,
        layers: Mapping[bytes, LayerError],
        dtype: torch.dtype,
        done: Quantized,
    ) -> None:
        self.file, self.header = file, header
        self.targets: dict[str, Target] = {}
        tensors = read_tensors(file)
        for name, entry in header.tensors.items():
            layer = _layer_of(name, entry, tensors[name], layers, dtype)
            if layer is None:
                continue
            chosen = _choose(layer, target)
            if chosen != target and layer.repeated:
                done.left_out[layer.name] = layer.error
            done.layers[chosen or "left out"] += 1
            if chosen is not None:
                self.targets[name] = chosen
        self.layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, entry in header.tensors.items():
            self.layout |= self._layout(name, entry)
        shapes = {name: (header.tensors[name].shape, chosen) for name, chosen in self.targets.items()}
        self.metadata = dict(header.metadata) | stored_metadata(shapes)
        self.size = file_size(self.layout, self.metadata)

    def write(self, path: Path, progress: _Progress) -> None:
        """Write the new file."""
        write_safetensors(path, self.layout, self.metadata, self._tensors(), progress.add)

    def _layout(self, name: str, entry: TensorEntry) -> Layout:
        chosen = self.targets.get(name)
        if chosen is None:
            return {name: (entry.dtype, entry.shape)}
        return stored_layout(name, entry.shape, entry.dtype, chosen)

    def _tensors(self) -> Iterator[Mapping[str, torch.Tensor]]:
        tensors = read_tensors(self.file)  # mapped into memory: read as they are needed
        for name, entry in self.header.tensors.items():
            tensor, chosen = tensors.pop(name), self.targets.get(name)
            if chosen is None:
                yield {name: tensor}
            else:
                yield stored_tensors(name, quantize_weight(tensor, chosen), entry.dtype, chosen)


def _layer_of(
    name: str,
    entry: TensorEntry,
    tensor: torch.Tensor,
    layers: Mapping[bytes, LayerError],
    dtype: torch.dtype,
) -> LayerError | None:
    """The layer that a weight belongs to; of several that one tensor holds (q, k and v), the worst one."""
    if len(entry.shape) < 2 or entry.elements < _SMALLEST or tensor.dtype not in DTYPE_NAMES:
        return None
    if not tensor.is_floating_point() or name.endswith("bias"):
        return None
    step = math.gcd(entry.shape[0], 64)
    found = [layers.get(row_key(tensor, row, dtype)) for row in range(0, entry.shape[0], step)]
    known = [layer for layer in found if layer is not None]
    if found[0] is None or not known:
        return None
    return max(known, key=lambda layer: (not layer.repeated, math.isnan(layer.error), layer.error))


def _choose(layer: LayerError, target: Target) -> Target | None:
    """The format of a layer; None where it keeps its precision."""
    if not layer.repeated:
        return None
    if math.isnan(layer.error) or layer.error > ERROR_LIMITS[target]:
        return _MORE_BITS[target]
    return target


def _copy_sidecar(file: Path, new: Path, copies: list[Path]) -> None:
    """Copy the configs and tokenizers beside a weights file, and add what there is then to ``copies``."""
    (folder, _), (new_folder, new_json) = _sidecars(file), _sidecars(new)
    for each in files_beside(file):
        if each.suffix in _CONFIG_SUFFIXES:
            inside = each.is_relative_to(folder)
            copies.append(new_folder if inside else new_json)
            place = new_folder / each.relative_to(folder) if inside else new_json
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, place)


@contextmanager
def _removed_on_failure() -> Iterator[list[Path]]:
    """Yield a list of files and folders, which are removed if the block fails."""
    paths: list[Path] = []
    try:
        yield paths
    except BaseException:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()
        raise


def _sidecars(path: Path) -> tuple[Path, ...]:
    """The folder and the file with configs beside a weights file; a folder has none."""
    return (path.with_suffix(""), path.with_suffix(".json")) if path.suffix == ".safetensors" else ()


def _root(checkpoint: Checkpoint, file: Path) -> Path:
    """The folder that a weights file's path is relative to."""
    for root in (checkpoint.path, checkpoint.path.absolute()):
        if file.is_relative_to(root):
            return root
    return file.parent.parent  # a component's folder lies in the checkpoint's


def _copy_configs(folder: Path, new: Path, files: Mapping[Path, _FilePlan], target: Target) -> None:
    """Copy everything but the weights; a quantized component's config says how it is quantized."""
    layout = read_folder(folder)
    names = {
        path.name for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".md", ".txt")
    }
    new.mkdir()
    for name in sorted(names):
        shutil.copyfile(folder / name, new / name)
    for component in layout.components.values():
        (new / component.name).mkdir()
        for path in component.folder.iterdir():
            if path.is_file() and path.suffix in _CONFIG_SUFFIXES:
                shutil.copyfile(path, new / component.name / path.name)
        if any(files[file.absolute()].targets for file in component.weights):
            config = dict(component.config()) | {"quantization_config": _config(target)}
            text = json.dumps(config, indent=2, sort_keys=True) + "\n"
            (new / component.name / "config.json").write_text(text, encoding="utf-8")


def _config(target: Target) -> dict[str, Any]:
    return {"quant_method": "safelight", "format": target, "group_size": GROUPS[target]}


class _Progress:
    """Counts written bytes."""

    def __init__(self, total: int, on_progress: Progress) -> None:
        self._total, self._done, self._on_progress = total, 0, on_progress
        on_progress(0, total)

    def add(self, count: int) -> None:
        """Some bytes more."""
        self._done += count
        self._on_progress(self._done, self._total)


@contextmanager
def _written_whole(path: Path, size: int) -> Iterator[Path]:
    """Yield a temporary path beside a path, renamed when the block succeeds and deleted when it does not."""
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OutputError(
                f"{path} takes {size / 1e6:.0f} MB, and its disk has {free / 1e6:.0f} MB left.",
                hint="Make room, or move the data directory.",
            )
        yield temporary
        temporary.rename(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)
