"""Find the tensors in what a pickle holds: training programs wrap a network's weights in dictionaries of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from safelight.errors import ModelInvalidError

MAX_DEPTH = 6
"""Dictionaries within dictionaries."""
MAX_ENTRIES = 1_000_000
"""Entries that are looked at: nested references to one dictionary could stand for any number of them."""

_WRAPPERS = ("state_dict", "params_ema", "params", "model_state_dict", "model", "module", "net", "generator")
"""Names under which programs store a network's weights beside other things; of several, the first is taken."""
_EMBEDDINGS = "string_to_param"
"""AUTOMATIC1111's textual inversion: the vectors by placeholder, of which there is one."""


@dataclass(frozen=True)
class Contents:
    """What a pickle holds.

    Args:
        tensors: The weights by name.
        metadata: Texts and numbers beside them, as text.
        left_out: The names of what is neither: optimizer states, callbacks, other copies of the weights.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def find_contents(loaded: object) -> Contents:
    """Take the weights out of a loaded pickle.

    Raises:
        ModelInvalidError: It holds no tensors, or tensors that safetensors cannot store.
    """
    if isinstance(loaded, torch.Tensor):
        raise ModelInvalidError("The file holds one tensor without a name: no network's weights.")
    if not isinstance(loaded, Mapping):
        raise ModelInvalidError(f"The file holds a {type(loaded).__name__}, not weights by name.")
    wrapper = next((name for name in _WRAPPERS if _holds_tensors(loaded.get(name))), None)
    if isinstance(loaded.get(_EMBEDDINGS), Mapping):
        weights: Mapping[object, object] = _rename_embedding(loaded[_EMBEDDINGS])
        wrapper = _EMBEDDINGS
    else:
        weights = loaded[wrapper] if wrapper else loaded
    tensors, metadata, left_out = {}, {}, []
    for name, value in _walk(weights):
        if name in tensors:  # such as the keys 1 and "1"
            raise ModelInvalidError(f"The file holds {name} twice.")
        if isinstance(value, torch.Tensor):
            tensors[name] = _plain_tensor(name, value)
        elif isinstance(value, str | bool | int | float):
            metadata[name] = str(value)
        else:
            left_out.append(name)
    if not tensors:
        raise ModelInvalidError("The file holds no tensors.")
    for key, value in loaded.items() if wrapper else ():
        if isinstance(value, str | bool | int | float):
            metadata[str(key)] = str(value)
        elif key != wrapper:
            left_out.append(str(key))
    return Contents(tensors, metadata, tuple(sorted(left_out)))


def _holds_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(each, torch.Tensor) for _, each in _walk(value))


def _rename_embedding(vectors: Mapping[object, object]) -> Mapping[object, object]:
    """The vectors under the name that other programs' safetensors have."""
    if len(vectors) != 1:
        raise ModelInvalidError(f"The embedding has {len(vectors)} placeholders; one is expected.")
    return {"emb_params": next(iter(vectors.values()))}


def _walk(mapping: Mapping[object, object], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """All values with their names; those of nested dictionaries are joined with dots."""
    if depth > MAX_DEPTH:
        raise ModelInvalidError(f"The file has more than {MAX_DEPTH} dictionaries within each other.")
    seen = 0
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        values = _walk(value, f"{name}.", depth + 1) if isinstance(value, Mapping) else [(name, value)]
        for each in values:
            seen += 1
            if seen > MAX_ENTRIES:
                raise ModelInvalidError(f"The file has more than {MAX_ENTRIES} entries.")
            yield each


def _plain_tensor(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as safetensors stores it: dense, contiguous, with memory of its own."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise ModelInvalidError(f"The tensor {name} is sparse, quantized or without data.")
    plain = tensor.detach()
    # expanded tensors claim more elements than there are bytes in the file
    if plain.numel() * plain.element_size() > plain.untyped_storage().nbytes():
        raise ModelInvalidError(f"The tensor {name} of shape {list(plain.shape)} has fewer values than that.")
    return plain.contiguous()
