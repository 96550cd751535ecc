"""Upscalers by name: Pillow's filters, the weights in the data directory, the weights that ship with Safelight."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safelight.errors import UpscalerUnknownError
from safelight.files import exists
from safelight.generation.upscaling.factor import factor_of
from safelight.generation.upscaling.resampling import RESAMPLING, ResamplingUpscaler
from safelight.generation.upscaling.tiles import Tiling
from safelight.generation.upscaling.upscaler import Upscaler
from safelight.generation.upscaling.weights import PICKLES, SUFFIX

if TYPE_CHECKING:
    import torch

    from safelight.generation.upscaling.network import NetworkUpscaler

PACKAGED = Path(__file__).parents[2] / "models" / "upscalers"
"""Where weights lie that ship with Safelight; the folder need not be there."""


@dataclass(frozen=True)
class UpscalerInfo:
    """An upscaler that can be asked for.

    Args:
        name: By which.
        kind: "resampling" for interpolation, "network" for weights in a file.
        path: That file.
    """

    name: str
    kind: Literal["resampling", "network"]
    path: Path | None = None

    @property
    def factor(self) -> int | None:
        """How many times a network enlarges in one go; None for filters, and where the file's header does not tell."""
        return None if self.path is None else factor_of(self.path)

    def to_dict(self) -> dict[str, str | None]:
        """The entry for JSON output."""
        return {"name": self.name, "kind": self.kind, "path": str(self.path) if self.path else None}


@dataclass(frozen=True)
class UpscalerFile:
    """A network's weights on the disk; a file that was replaced is not equal to the one before.

    Args:
        name: By which it is asked for.
        path: The file.
        size: Its bytes.
        modified: When it was last written, in nanoseconds since 1970.
    """

    name: str
    path: Path
    size: int
    modified: int

    @classmethod
    def at(cls, path: Path) -> UpscalerFile:
        """The file at a path; what is not there or no network is found when it is loaded."""
        try:
            stat = path.stat()
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return cls(path.stem, path, 0, 0)
        return cls(path.stem, path, stat.st_size, stat.st_mtime_ns)

    def load(
        self,
        cache: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        tiling: Tiling | None = None,
    ) -> NetworkUpscaler:
        """The network, ready to work; the arguments are those of ``load_upscaler``.

        Args:
            cache: Where digests of files are remembered.
            device: Where it runs.
            dtype: In which precision.
            tiling: How pictures are cut for it.

        Raises:
            FileMissingError, PickleRefusedError, ModelInvalidError, BackendError: As in ``load_upscaler``.
        """
        from safelight.generation.devices import device_named
        from safelight.generation.upscaling.network import NetworkUpscaler

        where = device_named(device) if isinstance(device, str) else device
        return NetworkUpscaler.load(self.path, cache, where, dtype, tiling or Tiling())


def upscaler_folder(home: Path) -> Path:
    """Where a user's own upscalers lie, as NAME.safetensors.

    Args:
        home: The data directory.
    """
    return home / "upscalers"


def find_upscalers(home: Path) -> list[UpscalerInfo]:
    """All upscalers: Pillow's filters first, then networks by name; no file is opened.

    A user's file hides one of the same name that ships with Safelight. The filters' names are theirs alone: a file
    of such a name can be given by its path.

    Args:
        home: The data directory.
    """
    files = {path.stem: path for folder in (PACKAGED, upscaler_folder(home)) for path in _weights(folder)}
    networks = [
        UpscalerInfo(name, "network", files[name]) for name in sorted(files) if name not in RESAMPLING
    ]
    return [*(UpscalerInfo(name, "resampling") for name in RESAMPLING), *networks]


def find_upscaler(name: str | Path, home: Path) -> ResamplingUpscaler | UpscalerFile:
    """The upscaler that a name means: one that is ready, or the file of a network; the file is not opened.

    Args:
        name: As in ``load_upscaler``.
        home: The data directory.

    Raises:
        UpscalerUnknownError: Neither a known name nor a path.
    """
    if isinstance(name, str) and name in RESAMPLING:
        return ResamplingUpscaler(name)
    return UpscalerFile.at(_resolve(name, home))


def load_upscaler(
    name: str | Path,
    home: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    tiling: Tiling | None = None,
) -> Upscaler:
    """An upscaler, ready to work.

    Args:
        name: As `find_upscalers` lists it, or the path of a .safetensors file; a `Path` is always a path.
        home: The data directory.
        device: Where a network runs; "auto" as in the setting.
        dtype: In which precision: float32 (also when not given), float16 or bfloat16.
        tiling: How pictures are cut for a network; 512 pixels with 32 of overlap when not given.

    Raises:
        UpscalerUnknownError: Neither a known name nor a path.
        FileMissingError: A path to nothing that can be read.
        PickleRefusedError: Weights in a format that can run code.
        ModelInvalidError: Damaged weights, or no network that upscales.
        BackendError: The network cannot run in that precision.
    """
    found = find_upscaler(name, home)
    return found.load(home / "cache", device, dtype, tiling) if isinstance(found, UpscalerFile) else found


def _resolve(name: str | Path, home: Path) -> Path:
    """The file that a name or path means."""
    if isinstance(name, Path):
        return name
    known = {info.name: info.path for info in find_upscalers(home)}
    if path := known.get(name):
        return path
    path = Path(name)
    if {"/", os.sep} & set(name) or path.suffix.lower() in (SUFFIX, *PICKLES):
        return path
    for suffix in PICKLES:  # so that its owner learns why it is not listed
        if exists(pickle := upscaler_folder(home) / f"{name}{suffix}"):
            return pickle
    raise UpscalerUnknownError(f"There is no upscaler {name!r}.", hint=_hint(name, list(known)))


def _hint(name: str, known: list[str]) -> str:
    by_case = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    suggestion = f"Did you mean {by_case[near[0]]!r}? " if near else ""
    where = f"upscalers/NAME{SUFFIX} in the data directory"
    return f"{suggestion}Known are {', '.join(known)}; others are read from {where}."


def _weights(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"[!.]*{SUFFIX}") if path.is_file()]
