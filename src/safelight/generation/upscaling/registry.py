"""Find and load upscalers by name: those of the registry, and networks in the data directory and in the package."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safelight.atomic_write import path_exists
from safelight.errors import UpscalerUnknownError
from safelight.generation.upscaling.scale_factor import read_scale_factor
from safelight.generation.upscaling.tiles import Tiling
from safelight.generation.upscaling.upscaler import UPSCALERS, Upscaler
from safelight.generation.upscaling.weights import PICKLE_SUFFIXES, SUFFIX, check_not_pickle
from safelight.models import BUNDLED
from safelight.models.digests import file_digest
from safelight.runtime.component import Component, ComponentKey, ComponentSource

if TYPE_CHECKING:
    import torch

    from safelight.generation.upscaling.network import NetworkUpscaler

PACKAGED_FOLDER = BUNDLED / "upscalers"
"""Folder of the networks that ship with Safelight; it need not exist."""
CPU_TILE = 288
"""Side of tiles on the CPU in pixels. An RRDB network that enlarges four times takes about 3 GB for one and 10 GB for
one of 512 (0.6 GB were measured for 128), and compiling a form computes it several times. In a picture of 512 pixels an
eighth of the work is done twice."""


@dataclass(frozen=True)
class UpscalerInfo:
    """An available upscaler.

    Args:
        name: Its name in requests.
        kind: "resampling" for those of the registry, which need no weights; "network" for weights in a file.
        path: The network's file; None without one.
    """

    name: str
    kind: Literal["resampling", "network"]
    path: Path | None = None

    @property
    def factor(self) -> int | None:
        """Scale factor of one pass of a network; None without one, and if it cannot be determined from the file."""
        return None if self.path is None else read_scale_factor(self.path)

    def to_dict(self) -> dict[str, str | None]:
        """Return the upscaler's entry for JSON output."""
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
        from safelight.generation.upscaling.network import NetworkUpscaler
        from safelight.runtime.devices import find_device

        where = find_device(device).torch_device if isinstance(device, str) else device
        check_not_pickle(self.path)
        return NetworkUpscaler.load(
            self.path, file_digest(self.path, cache), where, dtype, tiling or Tiling()
        )

    def source(self, cache: Path, device: torch.device) -> ComponentSource:
        """The network as a component of the model pool, in fp32; two files with equal content are one component.

        Raises:
            FileMissingError, PickleRefusedError: As in ``load_upscaler``.
        """
        from safelight.generation.upscaling.network import NetworkUpscaler

        check_not_pickle(self.path)
        digest = file_digest(self.path, cache)
        key = ComponentKey(digest, "fp32")

        def load() -> Component:
            tiling = Tiling(CPU_TILE) if device.type == "cpu" else Tiling()
            network = NetworkUpscaler.load(self.path, digest, device, None, tiling)
            return Component(key, network, network.nbytes)

        return ComponentSource(key, self.size, load)

    def named(self, component: Component) -> NetworkUpscaler:
        """The upscaler of a loaded component, under this file's name."""
        network: NetworkUpscaler = component.network
        return network if network.name == self.name else replace(network, name=self.name)


def upscaler_folder(home: Path) -> Path:
    """Return the folder of the user's own upscalers, as NAME.safetensors.

    Args:
        home: The data directory.
    """
    return home / "upscalers"


def find_upscalers(home: Path) -> list[UpscalerInfo]:
    """Find all upscalers: those of the registry first, then networks sorted by name; no file is opened.

    A user's file takes precedence over one of the same name that ships with Safelight. Names of the registry are
    reserved: a file with such a name can only be given by its path.

    Args:
        home: The data directory.
    """
    files = {
        path.stem: path
        for folder in (PACKAGED_FOLDER, upscaler_folder(home))
        for path in _weight_files(folder)
    }
    networks = [UpscalerInfo(name, "network", files[name]) for name in sorted(files) if name not in UPSCALERS]
    return [*(UpscalerInfo(name, "resampling") for name in UPSCALERS), *networks]


def find_upscaler(name: str | Path, home: Path) -> Upscaler | UpscalerFile:
    """The upscaler that a name means: one that is ready, or the file of a network; the file is not opened.

    Args:
        name: As in ``load_upscaler``.
        home: The data directory.

    Raises:
        UpscalerUnknownError: Neither a known name nor a path.
    """
    if isinstance(name, str) and name in UPSCALERS:
        return UPSCALERS[name]
    return UpscalerFile.at(_resolve_path(name, home))


def load_upscaler(
    name: str | Path,
    home: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    tiling: Tiling | None = None,
) -> Upscaler:
    """Load an upscaler.

    Args:
        name: A name from ``find_upscalers``, or the path of a .safetensors file; a ``Path`` is always a path.
        home: The data directory.
        device: The device of a network; "auto" as in the setting.
        dtype: The precision: float32 (the default), float16 or bfloat16.
        tiling: How images are split into tiles for a network; by default 512 pixels with an overlap of 32.

    Raises:
        UpscalerUnknownError: Neither a known name nor a path.
        FileMissingError: The file does not exist or cannot be read.
        PickleRefusedError: The weights are in a format that can run code.
        ModelInvalidError: The weights are damaged, or the network does not upscale.
        BackendError: The network cannot run in that precision.
    """
    found = find_upscaler(name, home)
    return found.load(home / "cache", device, dtype, tiling) if isinstance(found, UpscalerFile) else found


def _resolve_path(name: str | Path, home: Path) -> Path:
    """Return the file of a name or path."""
    if isinstance(name, Path):
        return name
    known = {info.name: info.path for info in find_upscalers(home)}
    if path := known.get(name):
        return path
    path = Path(name)
    if {"/", os.sep} & set(name) or path.suffix.lower() in (SUFFIX, *PICKLE_SUFFIXES):
        return path
    for (
        suffix
    ) in PICKLE_SUFFIXES:  # returned so that loading it raises an error that explains why it is not listed
        if path_exists(pickle := upscaler_folder(home) / f"{name}{suffix}"):
            return pickle
    hint = _hint(name, list(known))
    raise UpscalerUnknownError(f"There is no upscaler {name!r}.", hint=hint, context={"name": name})


def _hint(name: str, known: list[str]) -> str:
    by_case = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    suggestion = f"Did you mean {by_case[near[0]]!r}? " if near else ""
    where = f"upscalers/NAME{SUFFIX} in the data directory"
    return f"{suggestion}Known are {', '.join(known)}; others are read from {where}."


def _weight_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"[!.]*{SUFFIX}") if path.is_file()]
