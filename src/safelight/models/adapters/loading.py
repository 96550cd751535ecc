"""Load an adapter for the networks of a checkpoint: which parameters it changes, and how.

Layers that match and layers that do not are counted. A file that matches nothing, that is for another family, or that
is damaged is an error: an adapter never has silently no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from safelight.errors import AdapterFamilyError, AdapterInvalidError, CheckpointInvalidError, ModelError
from safelight.models.adapters.changes import SumOfChanges, WeightChange, take_rows
from safelight.models.adapters.description import AdapterDescription, describe_adapter
from safelight.models.adapters.family_fit import fits_family
from safelight.models.adapters.layer_changes import LayerShape, make_changes
from safelight.models.adapters.layer_keys import LayerKeys, group_keys
from safelight.models.adapters.layer_names import LayerNames, Part, Place
from safelight.models.adapters.peft_options import PeftOptions, read_peft_options
from safelight.models.checkpoints.layouts.layout import Shapes
from safelight.models.checkpoints.safetensors_header import Header, read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.families import FAMILIES, Family
from safelight.models.inventory.file_kinds import identify
from safelight.runtime.quantization.tensor import QuantizedTensor

Changes = dict[str, dict[str, WeightChange]]
_FAILURES = (ValueError, RuntimeError, IndexError)
"""What changes raise for tensors whose shapes do not fit."""
_EXPONENTS = {
    torch.float32: (torch.int32, 0x7F800000),
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
}
"""The bits of the exponent, which are all set in what is no number."""


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter in memory, for the networks of one family.

    Args:
        path: Its file.
        digest: The file's SHA-256.
        description: What the file is.
        changes: The changes by component and parameter, such as "unet" and "mid_block.resnets.0.conv1.weight".
        matched: How many of its layers are the networks'.
        unmatched: The names of the others, and of tensors that belong to no layer.
        nbytes: Bytes of what it keeps in memory.
    """

    path: Path
    digest: str
    description: AdapterDescription
    changes: Mapping[str, Mapping[str, WeightChange]] = field(repr=False)
    matched: int
    unmatched: tuple[str, ...]
    nbytes: int


def load_adapter(
    path: Path, networks: Mapping[str, torch.nn.Module], family: Family, digest: str
) -> LoadedAdapter:
    """Load an adapter; what it keeps is in memory of its own, in the file's precision.

    Args:
        path: A safetensors file.
        networks: The checkpoint's networks by component; their weights are not read, so they may be without any.
        family: The checkpoint's family.
        digest: The file's SHA-256.

    Raises:
        FileMissingError, PickleRefusedError: As in ``read_header``.
        AdapterInvalidError: It is no adapter, damaged, or none of its layers is the checkpoint's.
        AdapterFamilyError: It is for another family.
    """
    header = _read_header(path)
    found = identify(header)
    if found.kind != "LoRA":
        raise AdapterInvalidError(f"{path} is no LoRA: {_describe_kind(found.kind)}.")
    layers, loose = group_keys(header.tensors)
    shapes = {name: parameter_shapes(network) for name, network in networks.items()}
    known = {name: keys for name, keys in layers.items() if keys.kind}
    places = LayerNames(shapes, family).find(known)
    other = found.family if found.family and not fits_family(found.family, family) else None
    if not places or (other and len(places) < len(known)):
        raise _nothing_matches(path, len(known), family, other)
    options = read_peft_options(path, header)
    tensors = _read(path, (known[name] for name in places))
    loader = _Loader(shapes, options, tensors)
    try:
        changes = loader.load({name: known[name] for name in places}, places)
    except _LayerError as error:
        if other:
            raise _nothing_matches(path, len(known), family, other) from error
        raise AdapterInvalidError(
            f"{path} has a layer {error.layer} that cannot be used: {error.reason}."
        ) from error
    return LoadedAdapter(
        path=path,
        digest=digest,
        description=describe_adapter(header),
        changes=changes,
        matched=len(places),
        unmatched=(*(name for name in layers if name not in places), *loose),
        nbytes=sum(each.nbytes for each in tensors.values()),
    )


def parameter_shapes(network: torch.nn.Module) -> Shapes:
    """The shapes of a network's parameters by name; of a tied one under each of its names."""
    return {name: tuple(each.shape) for name, each in network.named_parameters(remove_duplicate=False)}


class _LayerError(Exception):
    """A layer cannot be used."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(reason)
        self.layer, self.reason = layer, reason


class _Loader:
    """Makes the changes of an adapter.

    Args:
        networks: The shapes of the networks' parameters.
        options: peft's options by component.
        tensors: The adapter's tensors.
    """

    def __init__(
        self,
        networks: Mapping[str, Shapes],
        options: Mapping[str, PeftOptions],
        tensors: Mapping[str, torch.Tensor],
    ) -> None:
        self._networks, self._options, self._tensors = networks, options, tensors

    def load(self, layers: Mapping[str, LayerKeys], places: Mapping[str, Place]) -> Changes:
        """The changes by component and parameter."""
        found: dict[str, dict[str, list[WeightChange]]] = {}
        for name, keys in layers.items():
            place = places[name]
            try:
                changes = self._changes_of(keys, place)
            except _FAILURES as error:
                raise _LayerError(name, str(error).partition("\n")[0]) from error
            for parameter, change in changes:
                found.setdefault(place.component, {}).setdefault(parameter, []).append(change)
        return {
            component: {
                name: changes[0] if len(changes) == 1 else SumOfChanges(tuple(changes))
                for name, changes in parameters.items()
            }
            for component, parameters in found.items()
        }

    def _changes_of(self, keys: LayerKeys, place: Place) -> list[tuple[str, WeightChange]]:
        """A layer's changes by the parameter's name."""
        shapes = self._networks[place.component]
        first = place.parts[0].module
        options = self._options.get(place.component, self._options.get("", PeftOptions()))
        weight = shapes.get(f"{first}.weight", ())
        whole = (place.total, *weight[1:]) if place.total else weight
        layer = LayerShape(whole, f"{first}.bias" in shapes)
        parts = {part: self._tensors[key] for part, key in keys.parts.items()}
        assert keys.kind is not None
        changes = make_changes(keys.kind, parts, layer, options, first)
        found = []
        for parameter, change in changes.items():
            for part in place.parts:
                name = f"{part.module}.{parameter}"
                if name not in shapes:
                    raise ValueError(f"the checkpoint's layer {part.module} has no {parameter}")
                own = _of_part(change, part, place.total)
                own.check(shapes[name])
                found.append((name, own))
        return found


def _of_part(change: WeightChange, part: Part, total: int) -> WeightChange:
    return change if part.rows is None else take_rows(change, torch.tensor(part.rows), total)


def _read_header(path: Path) -> Header:
    try:
        return read_header(path)
    except CheckpointInvalidError as error:
        raise AdapterInvalidError(error.message, hint=error.hint) from error


def _read(path: Path, layers: Iterable[LayerKeys]) -> dict[str, torch.Tensor]:
    """The tensors of layers, copied from the file, which may change later."""
    names = [key for keys in layers for key in keys.parts.values()]
    try:
        tensors = read_tensors(path, names)
    except CheckpointInvalidError as error:
        raise AdapterInvalidError(error.message) from error
    found = {}
    for name, tensor in tensors.items():
        plain = tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor
        copied = None if plain.is_complex() else _copy_numbers(plain)
        if copied is None:
            raise AdapterInvalidError(f"{path} is damaged: {name} has values that are no numbers.")
        found[name] = copied
    return found


def _copy_numbers(tensor: torch.Tensor) -> torch.Tensor | None:
    """A copy, in fp32 unless it is in half precision; None if some values are no numbers.

    numpy does it, since torch would wake its threads for each of thousands of small tensors.
    """
    plain = tensor if tensor.dtype in _EXPONENTS else tensor.float()
    integers, exponent = _EXPONENTS[plain.dtype]
    bits = plain.view(integers).numpy().copy()
    if bits.size and int((bits & exponent).max()) == exponent:
        return None
    return torch.from_numpy(bits).view(plain.dtype)


def _nothing_matches(path: Path, layers: int, family: Family, other: str | None) -> ModelError:
    if other:
        title = FAMILIES[other].title if other in FAMILIES else other
        return AdapterFamilyError(f"{path} is for {title}, and the checkpoint is a {family.title}.")
    return AdapterInvalidError(
        f"None of the {layers} layers of {path} is one of the checkpoint's, a {family.title}.",
        hint="It may be for another family, or its layers have names that are not known.",
    )


def _describe_kind(kind: str) -> str:
    return "what it is cannot be told from its content" if kind == "unknown" else f"it is of the kind {kind}"
