"""The arguments and results of a network's calls as plain tensors and a structure that can be written as JSON.

Engines with static shapes take and return tensors in a fixed order. Everything else of a call (options, the nesting of
lists and dictionaries, the classes of results) is its structure; two calls with equal structures run the same form.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils import BaseOutput
from torch import Tensor, nn
from transformers import Cache
from transformers.utils import ModelOutput

from safelight.runtime.component import Patch

Structure = Any
"""JSON: scalars as they are; one-entry objects for tensors ({"tensor": [dtype, shape]}), lists and the like."""

_TIMESTEP = "timestep"
_OUTPUTS = (BaseOutput, ModelOutput)
_WITHOUT_NOISE = (AutoencoderKL, AutoencoderTiny)
"""Autoencoders that take a generator when they decode, and do not use it."""


class UnsupportedValueError(TypeError):
    """A value that is neither a tensor nor plain data, so that no form can be made for its call."""


@dataclass(frozen=True)
class NetworkCall:
    """A call of a network in plain form.

    Args:
        method: forward, encode or decode.
        structure: The structure of its arguments by name.
        tensors: The tensors among them, in order.
        patches: The patches of the network that are in effect; each is a ``PurePatch``.
    """

    method: str
    structure: Structure
    tensors: tuple[Tensor, ...]
    patches: tuple[Patch, ...] = ()

    @classmethod
    def of(
        cls,
        network: nn.Module,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        patches: tuple[Patch, ...] = (),
    ) -> NetworkCall:
        """The plain form of a call; patches may let the network take more arguments, by name.

        Arguments with their default values are left out, and timesteps are floats, as networks convert them anyway:
        so calls that give the same result have the same structure.

        Raises:
            UnsupportedValueError: An argument is neither a tensor nor plain data.
        """
        arguments = _named_arguments(getattr(network, method), args, kwargs)
        if isinstance(network, _WITHOUT_NOISE):
            arguments.pop("generator", None)
        structure, tensors = flatten(arguments)
        return cls(method, structure, tuple(tensors), patches)

    @property
    def signature(self) -> str:
        """Equal for calls that the same form can compute."""
        return json.dumps([self.method, self.structure, *self.patch_identities], sort_keys=True)

    @property
    def place(self) -> str:
        """The method, where it is not forward, the shapes of its first tensors, and the patches.

        As "2x4x64x64 2x77x768", or "decode 1x4x64x64".
        """
        shapes = ["x".join(map(str, tensor.shape)) for tensor in self.tensors if tensor.ndim > 1]
        method = [] if self.method == "forward" else [self.method]
        return " ".join([*method, *shapes[:3], *self.patch_identities])

    @property
    def patch_identities(self) -> tuple[str, ...]:
        """The identities of the patches, in order."""
        return tuple(patch.identity for patch in self.patches)


class CallModule(nn.Module):
    """A method of a network as a module that takes and returns tensors only.

    Args:
        network: The network.
        method: The method's name.
        structure: The structure of its arguments.
    """

    def __init__(self, network: nn.Module, method: str, structure: Structure) -> None:
        super().__init__()
        self.network, self.method, self.structure = network, method, structure

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the method's result."""
        return tuple(tensors_of(self.call(tensors)))

    def call(self, tensors: tuple[Tensor, ...]) -> Any:
        """The method's result."""
        # The network itself, where it can be called: patches may have put hooks on it.
        method = self.network if self.method == "forward" else getattr(self.network, self.method)
        return method(**unflatten(self.structure, iter(tensors)))


def flatten(value: Any) -> tuple[Structure, list[Tensor]]:
    """The structure of a value, and its tensors in order.

    Raises:
        UnsupportedValueError: Part of it is neither a tensor nor plain data.
    """
    tensors: list[Tensor] = []
    return _structure_of(value, tensors), tensors


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a value, in the order of ``flatten``; usable while torch traces."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, DiagonalGaussianDistribution):
        return [value.parameters]
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in tensors_of(part)]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in tensors_of(part)]
    return []


def unflatten(structure: Structure, tensors: Iterator[Tensor]) -> Any:
    """The value with a structure and tensors, in the structure's data types."""
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    match kind:
        case "tensor":
            return next(tensors).to(getattr(torch, content[0]))
        case "list":
            return [unflatten(part, tensors) for part in content]
        case "tuple":
            return tuple(unflatten(part, tensors) for part in content)
        case "dict":
            return {name: unflatten(part, tensors) for name, part in content.items()}
        case "distribution":
            return DiagonalGaussianDistribution(unflatten(content[0], tensors), deterministic=content[1])
    name, fields = content
    return _output_class(name)(**{name: unflatten(part, tensors) for name, part in fields.items()})


def _structure_of(value: Any, tensors: list[Tensor]) -> Structure:
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Cache):  # of language models that could go on writing; pipelines do not use it
        return None
    if isinstance(value, DiagonalGaussianDistribution):
        return {"distribution": [_structure_of(value.parameters, tensors), value.deterministic]}
    if isinstance(value, Mapping):
        fields = {name: _structure_of(part, tensors) for name, part in value.items()}
        if isinstance(value, _OUTPUTS):
            return {"output": [f"{type(value).__module__}:{type(value).__qualname__}", fields]}
        return {"dict": fields}
    if type(value) in (list, tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_structure_of(part, tensors) for part in value]}
    raise UnsupportedValueError(f"a {type(value).__name__} among the values of a call")


def _named_arguments(
    method: Any, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    signature = inspect.signature(method)
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values())
    known = {name: value for name, value in kwargs.items() if takes_all or name in signature.parameters}
    found: dict[str, object] = {}
    for name, value in signature.bind(*args, **known).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise UnsupportedValueError("arguments without names")
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= value
        elif isinstance(value, Tensor) or value is not parameter.default:
            found[name] = value
    found |= {name: value for name, value in kwargs.items() if name not in known}  # a patch takes them
    timestep = found.get(_TIMESTEP)
    if isinstance(timestep, Tensor) and not timestep.is_floating_point():
        found[_TIMESTEP] = timestep.float()
    return found


def _output_class(name: str) -> type[Any]:
    """A class of results of diffusers or transformers by its name.

    Raises:
        ValueError: It is none.
    """
    if name.startswith(("diffusers.", "transformers.")):
        found = resolve_name(name)
        if isinstance(found, type) and issubclass(found, _OUTPUTS):
            return found
    raise ValueError(f"{name} is no class of results")
