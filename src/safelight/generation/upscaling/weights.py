"""Reading an upscaler's weights: safetensors alone, never a pickle, and only networks from picture to picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from safelight.errors import FileMissingError, ModelInvalidError, PickleRefusedError

if TYPE_CHECKING:
    import torch
    from spandrel import ImageModelDescriptor, ModelDescriptor

SUFFIX = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle")
DEPTH = 999
"""The highest index a layer may have: one tensor called body.999999999 must not build a network of that many."""

_HINT = (
    "Give a .safetensors file of a super-resolution or restoration network that the package spandrel knows."
)
_BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What spandrel's readers raise on tensors whose shapes contradict each other."""


def read_network(path: Path) -> ImageModelDescriptor[torch.nn.Module]:
    """The network of a file, on the CPU in float32; which architecture it has is told from its tensors.

    Raises:
        FileMissingError: There is no such file, or it cannot be read.
        PickleRefusedError: A pickle, by its name or by its first bytes.
        ModelInvalidError: Damaged, of an unknown architecture, or no network from picture to picture.
    """
    check_no_pickle(path)
    content = _check_tensors(path)
    from safetensors.torch import load_file
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        network = ModelLoader("cpu").load_from_state_dict(load_file(path))
    except UnsupportedModelError as error:
        raise ModelInvalidError(
            f"{path.name} is of an unknown architecture ({content}).", hint=_HINT
        ) from error
    except _BROKEN as error:
        raise ModelInvalidError(f"{path.name} cannot be built: {_first_line(error)}", hint=_HINT) from error
    return picture_to_picture(path, network)


def check_no_pickle(path: Path) -> None:
    """See that a file is no pickle, by its name first, then by its first nine bytes.

    Raises:
        PickleRefusedError: It is one.
        FileMissingError: It cannot be read.
    """
    if path.suffix.lower() in PICKLES:
        raise PickleRefusedError(f"{path.name} is a pickle file.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise FileMissingError(f"The upscaler {path} cannot be read: {reason}.") from error
    # A safetensors file begins with eight bytes of length, which can be any, and then its JSON header.
    if head[8:] != b"{" and head.startswith((b"PK\x03\x04", b"\x80")):
        raise PickleRefusedError(f"{path.name} is a pickle file, whatever its name says.")


def picture_to_picture(path: Path, network: ModelDescriptor) -> ImageModelDescriptor[torch.nn.Module]:
    """The network, once it is certain that it makes whole pictures from pictures alone.

    Args:
        path: Where it was read, for the message.
        network: Any network that spandrel knows.

    Raises:
        ModelInvalidError: It needs a mask or a face, makes pictures smaller, or changes the number of channels.
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


def _check_tensors(path: Path) -> str:
    """See that the file is whole, and say what is in it without reading the tensors themselves."""
    try:
        with safe_open(path, framework="np") as file:
            names, metadata = sorted(file.keys()), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelInvalidError(
            f"{path.name} is not a whole safetensors file: {error}.", hint=_HINT
        ) from error
    if any(_index(part) > DEPTH for name in names for part in name.split(".")):
        raise ModelInvalidError(f"{path.name} has layers beyond the {DEPTH}th.", hint=_HINT)
    if said := metadata.get("modelspec.architecture"):
        return f"its metadata says {said[:80]!r}"
    return f"its tensors: {', '.join(name[:80] for name in names[:3]) or 'none'}{' …' if names[3:] else ''}"


def _index(part: str) -> int:
    """A part of a tensor's name as spandrel counts it; 0 where it is no number."""
    try:
        return int(part)
    except ValueError:
        return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
