"""Read an upscaler's weights: only safetensors, never pickles, and only networks that map an image to an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from safelight.errors import FileMissingError, ModelInvalidError, PickleRefusedError

if TYPE_CHECKING:
    import torch
    from spandrel import ImageModelDescriptor, ModelDescriptor

SUFFIX = ".safetensors"
PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle")
MAX_LAYER_INDEX = 999
"""Highest allowed layer index: a tensor named body.999999999 must not build a network with that many layers."""

_HINT = (
    "Give a .safetensors file of a super-resolution or restoration network that the package spandrel knows."
)
_LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that spandrel raises on tensors with inconsistent shapes."""


def read_network(path: Path) -> ImageModelDescriptor[torch.nn.Module]:
    """Read the network in a file, on the CPU in float32; its architecture is detected from its tensors.

    Raises:
        FileMissingError: The file does not exist or cannot be read.
        PickleRefusedError: The file is a pickle, by its name or its first bytes.
        ModelInvalidError: The file is damaged, the architecture unknown, or the network does not map image to image.
    """
    check_not_pickle(path)
    content = _check_and_describe(path)
    from safetensors.torch import load_file
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        network = ModelLoader("cpu").load_from_state_dict(load_file(path))
    except UnsupportedModelError as error:
        raise ModelInvalidError(
            f"{path.name} is of an unknown architecture ({content}).", hint=_HINT
        ) from error
    except _LOAD_ERRORS as error:
        raise ModelInvalidError(f"{path.name} cannot be built: {_first_line(error)}", hint=_HINT) from error
    return check_image_to_image(path, network)


def check_not_pickle(path: Path) -> None:
    """Check that a file is not a pickle, by its name and then by its first nine bytes.

    Raises:
        PickleRefusedError: The file is a pickle.
        FileMissingError: The file cannot be read.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise PickleRefusedError(f"{path.name} is a pickle file.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise FileMissingError(f"The upscaler {path} cannot be read: {reason}.") from error
    # A safetensors file starts with the header's length, eight bytes of any value, and then the JSON header.
    if head[8:] != b"{" and head.startswith((b"PK\x03\x04", b"\x80")):
        raise PickleRefusedError(f"{path.name} is a pickle file, whatever its name says.")


def check_image_to_image(path: Path, network: ModelDescriptor) -> ImageModelDescriptor[torch.nn.Module]:
    """Check that a network maps whole images to images, and return it.

    Args:
        path: The network's file, for the message.
        network: Any network that spandrel supports.

    Raises:
        ModelInvalidError: The network needs a mask or a face, shrinks images, or changes the number of channels.
    """
    from spandrel import ImageModelDescriptor

    name = f"{path.name} is {network.architecture.name}"
    if not isinstance(network, ImageModelDescriptor):
        raise ModelInvalidError(f"{name}, which fills in masks and does not upscale.", hint=_HINT)
    if network.purpose == "FaceSR":
        raise ModelInvalidError(f"{name}, which restores cut-out faces and no other pictures.", hint=_HINT)
    if network.scale < 1:
        raise ModelInvalidError(f"{name}, and it makes pictures smaller.", hint=_HINT)
    channels = network.input_channels, network.output_channels
    if channels not in ((1, 1), (3, 3), (4, 4)):
        raise ModelInvalidError(
            f"{name}, and it makes {channels[1]} channels from {channels[0]}.", hint=_HINT
        )
    return network


def _check_and_describe(path: Path) -> str:
    """Check that the file is complete, and describe its content without reading the tensors."""
    try:
        with safe_open(path, framework="np") as file:
            names, metadata = sorted(file.keys()), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelInvalidError(
            f"{path.name} is not a whole safetensors file: {error}.", hint=_HINT
        ) from error
    if any(_layer_index(part) > MAX_LAYER_INDEX for name in names for part in name.split(".")):
        raise ModelInvalidError(f"{path.name} has layers beyond the {MAX_LAYER_INDEX}th.", hint=_HINT)
    if said := metadata.get("modelspec.architecture"):
        return f"its metadata says {said[:80]!r}"
    return f"its tensors: {', '.join(name[:80] for name in names[:3]) or 'none'}{' …' if names[3:] else ''}"


def _layer_index(part: str) -> int:
    """Return a part of a tensor's name as a layer index; 0 if it is not a number."""
    try:
        return int(part)
    except ValueError:
        return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
