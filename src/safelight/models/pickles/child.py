"""The process that opens a pickle: ``python -m safelight.models.pickles.child FILE OUT``.

It reads with torch's weights-only unpickler, which builds tensors, dictionaries and numbers and calls nothing else,
and it does so after it has given up the network, other programs and unlimited memory. Its last line on standard output
is a JSON object: the result or an error.
"""

from __future__ import annotations

import json
import struct
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


class _NumpyType(_LeftOut):
    """Stands for a type of numpy's numbers, by its name in pickles."""

    def __init__(self, name: object = "", *_: object) -> None:
        super().__init__()
        self.name = str(name)


_NUMBERS = {"f4": "<f", "f8": "<d", "i1": "<b", "i2": "<h", "i4": "<i", "i8": "<q", "u1": "<B", "b1": "<?"}
"""Numpy's types of numbers in ``struct``'s codes."""


def _numpy_number(kind: object = None, data: object = None) -> object:
    """The number for which numpy's pickles call ``scalar``; training programs keep steps and learning rates so."""
    code = _NUMBERS.get(kind.name) if isinstance(kind, _NumpyType) else None
    if code is None or not isinstance(data, bytes) or len(data) != struct.calcsize(code):
        return _LeftOut()
    number: object = struct.unpack(code, data)[0]
    return number


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
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "typing.Any",
)
"""Objects beside the weights in files that training programs wrote; they are replaced by ``_LeftOut``."""
_STAND_INS: list[Any] = [
    *((_LeftOut, name) for name in _KNOWN_OBJECTS),
    (_NumpyType, "numpy.dtype"),
    (_numpy_number, "numpy.core.multiarray.scalar"),
    (_numpy_number, "numpy._core.multiarray.scalar"),
]


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
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_STAND_INS):
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
        raise ModelInvalidError(f"{path.name} cannot be read as weights: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """Why torch does not read a file; without its advice to set ``weights_only=False``, which runs any code."""
    message = str(error)
    if "legacy .tar format" in message:
        return "it is in the format that torch wrote until 2017"
    if "Unsupported operand" in message:
        return "torch did not write it"
    lines = message.rpartition("WeightsUnpickler error: ")[2].strip().splitlines() or [type(error).__name__]
    first = lines[0].partition("In PyTorch 2.6")[0].strip(" .")[:300]
    return first if "weights_only" not in first else type(error).__name__


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
        # That of a damaged model speaks of classifiers.
        hint = "" if error.hint == ModelInvalidError.default_hint else error.hint
        result = {"error": type(error).__name__, "message": error.message, "hint": hint}
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
