"""Convert a pickle to safetensors in a child process that has no network and limited memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safelight.atomic_write import atomic_write, sha256_of
from safelight.errors import (
    FileMissingError,
    InternalError,
    ModelInvalidError,
    OutputError,
    OutputExistsError,
    PickleRefusedError,
)
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, main_precision, read_header

_ERRORS = {error.__name__: error for error in (ModelInvalidError, PickleRefusedError)}


@dataclass(frozen=True)
class Conversion:
    """A pickle that was converted.

    Args:
        path: The safetensors file.
        source: The pickle, which stays where it is.
        source_digest: The pickle's SHA-256.
        tensors: The number of tensors.
        size: The file's size in bytes.
        precision: The floating-point type of most weights.
        metadata: The texts and numbers beside the weights, which were kept.
        left_out: The names of what was not kept: optimizer states, for example.
        no_network: The kernel forbade the child process sockets and other programs.
        limits: The child process's memory, output and processor time were limited.
    """

    path: Path
    source: Path
    source_digest: str
    tensors: int
    size: int
    precision: str
    metadata: dict[str, str]
    left_out: tuple[str, ...]
    no_network: bool
    limits: bool

    def to_dict(self) -> dict[str, object]:
        """The conversion for JSON output."""
        return asdict(self) | {
            "path": str(self.path),
            "source": str(self.source),
            "left_out": list(self.left_out),
        }


def convert_pickle(path: Path, out: Path | None = None, *, overwrite: bool = False) -> Conversion:
    """Convert a weights file that is a pickle (.ckpt, .pt, .pth, .bin) to safetensors.

    Takes memory of about the file's size in the child process; the source is only read.

    Args:
        path: The pickle.
        out: The new file; beside the pickle, with the suffix .safetensors, when not given.
        overwrite: Replace ``out`` if it exists.

    Raises:
        FileMissingError: The pickle cannot be read.
        OutputExistsError, OutputError: ``out`` exists; it cannot be written.
        PickleRefusedError: The pickle would call something else than weights need; nothing was run.
        ModelInvalidError: It is damaged, is no pickle, or holds no weights by name.
    """
    out = out or path.with_suffix(".safetensors")
    _check_paths(path, out, overwrite)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    kept = {"safelight.converted_from": path.name, "safelight.converted_from_sha256": digest}
    with atomic_write(out) as temporary:
        result = _run_child(path, temporary, kept)
        header = read_header(temporary)
    return Conversion(
        path=out,
        source=path,
        source_digest=digest,
        tensors=len(header.tensors),
        size=out.stat().st_size,
        precision=main_precision(list(header.tensors.values())),
        metadata=result["metadata"],
        left_out=tuple(result["left_out"]),
        no_network=result["no_network"],
        limits=result["limits"],
    )


def _check_paths(path: Path, out: Path, overwrite: bool) -> None:
    if not path.is_file():
        raise FileMissingError(f"There is no file {path}.")
    if out.suffix.lower() != ".safetensors":
        raise OutputError(f"{out} does not end in .safetensors.", hint="Give the new file that suffix.")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} is already there.", hint="Give another --out, or pass --overwrite.")
    if path.suffix.lower() not in PICKLE_SUFFIXES:
        raise ModelInvalidError(
            f"{path} is not named like a pickle ({', '.join(sorted(PICKLE_SUFFIXES))}).",
            hint="A .safetensors file needs no conversion.",
        )


def _run_child(path: Path, out: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Run the child process; its errors become ours."""
    # -P: a file named torch.py in the working directory must not be imported.
    command = [sys.executable, "-P", "-m", "safelight.models.pickles.child"]
    arguments = [str(path.absolute()), str(out.absolute()), json.dumps(metadata)]
    child = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        result = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise _child_error(path, child) from None
    if name := result.get("error"):
        raise _ERRORS.get(name, InternalError)(result["message"], hint=result.get("hint", ""))
    return dict(result)


def _child_error(
    path: Path, child: subprocess.CompletedProcess[str]
) -> ModelInvalidError | OutputError | InternalError:
    last = (child.stderr.strip().splitlines() or ["no message"])[-1][:300]
    if child.returncode < 0:
        return ModelInvalidError(
            f"Reading {path} was ended by signal {-child.returncode}: it needs more memory or time than a file of "
            "its size should, or it is damaged.",
            hint="",
        )
    if "No space left" in last or "File too large" in last:
        return OutputError(f"The converted file cannot be written: {last}")
    return InternalError(f"Converting {path} failed: {last}")
