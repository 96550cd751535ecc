"""The process that opens a pickle: ``python -m safelight.models.pickles.child FILE OUT``.

It reads with torch's weights-only unpickler, which builds tensors, dictionaries and numbers and calls nothing else,
and it does so after it has given up the network, other programs and unlimited memory. Its last line on standard output
is a JSON object: the result or an error.
"""

from __future__ import annotations

import json
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from safelight.errors import ModelInvalidError, PickleRefusedError, SafelightError
from safelight.models.pickles.contents import Contents, find_contents
from safelight.models.pickles.isolation import forbid_network_and_programs, limit_resources

SPARE_MEMORY = 2**30
"""Bytes of address space for torch's own work, beside the weights."""
MAX_SECONDS = 3600


class _LeftOut:
    """Stands for an object of a training program that weights are stored with; it does nothing with its contents."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_KNOWN_OBJECTS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.types._EVALUATE_OUTPUT",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "argparse.Namespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "typing.Any",
)
"""Objects beside the weights in files that training programs wrote; they are replaced by ``_LeftOut``."""


def load_weights_only(path: Path) -> object:
    """Load a pickle with torch's weights-only unpickler.

    Raises:
        PickleRefusedError: It holds something else than weights.
        ModelInvalidError: It is damaged, or needs more memory than its size allows.
    """
    entries = _archive_entries(path)
    if any("constants.pkl" in entry.filename or "/code/" in entry.filename for entry in entries):
        raise PickleRefusedError(
            f"{path.name} is a TorchScript program, not weights.",
            hint="Give the file with the weights that it was made from.",
        )
    # Tensors that are compressed in the archive cannot be mapped: torch would take them for numbers.
    mapped = bool(entries) and all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    stand_ins = [(_LeftOut, name) for name in _KNOWN_OBJECTS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError as error:
        raise ModelInvalidError(f"{path.name} needs more memory than a file of its size should.") from error
    except Exception as error:  # the unpickler's errors are of many kinds, and a damaged file's of any
        message = str(error)
        if named := message.partition("GLOBAL ")[2].split():
            raise PickleRefusedError(
                f"{path.name} would call {named[0]}, which weights do not need; nothing was run.",
                hint="Do not open this file with another program either, unless you trust its origin.",
            ) from error
        if "allocate memory" in message:
            raise ModelInvalidError(
                f"{path.name} needs more memory than a file of its size should."
            ) from error
        first = message.strip().splitlines()[0][:300] if message.strip() else type(error).__name__
        raise ModelInvalidError(f"{path.name} cannot be read as weights: {first}") from error


def _archive_entries(path: Path) -> list[zipfile.ZipInfo]:
    """The entries of torch's archive; none for a file in the older format.

    Raises:
        ModelInvalidError: The archive's directory is damaged.
    """
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ModelInvalidError(f"{path.name} is a damaged archive: {error}") from error


def convert(path: Path, out: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Write a pickle's weights as safetensors; returns what the parent reports."""
    found = find_contents(load_weights_only(path))
    _separate(found)
    save_file(found.tensors, out, metadata={"format": "pt"} | found.metadata | metadata)
    return {"tensors": len(found.tensors), "metadata": found.metadata, "left_out": list(found.left_out)}


def _separate(found: Contents) -> None:
    """Give tensors that share memory a copy each, one after the other: safetensors stores each by itself."""
    seen: set[int] = set()
    for name, tensor in found.tensors.items():
        place = tensor.untyped_storage().data_ptr()
        if place in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            found.tensors[name] = tensor.clone()
        seen.add(place)


def main() -> None:
    """Convert the file named on the command line, and print the result."""
    path, out, metadata = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    size = path.stat().st_size
    isolated = {
        "limits": limit_resources(3 * size + SPARE_MEMORY, 2 * size + 2**20, MAX_SECONDS),
        "no_network": forbid_network_and_programs(),
    }
    try:
        result = convert(path, out, metadata) | isolated
    except SafelightError as error:
        result = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    except UnicodeEncodeError as error:
        result = {"error": "ModelInvalidError", "message": f"{path.name} has a name that is no text: {error}"}
    except MemoryError:
        result = {
            "error": "ModelInvalidError",
            "message": f"{path.name} needs more memory than its size allows.",
        }
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()
