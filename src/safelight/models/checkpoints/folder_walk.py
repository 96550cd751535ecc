"""Walk folders of models, at any depth, reading again only the folders that have changed.

A folder's listing is kept until its modification time changes, so that a walk costs one ``stat`` for each folder and
nothing for its files. A folder that changed within the last two seconds is read each time: within one tick of a file
system's clock it can change again without a new time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safelight.models.checkpoints.diffusers_layout import INDEX_NAME
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES

WEIGHTS_SUFFIXES = frozenset({".safetensors", ".gguf", *PICKLE_SUFFIXES})
"""Suffixes of files of weights, in lower case; other files are not listed."""
SETTLING_SECONDS = 2.0
"""How long after a change a folder's modification time is not relied on; the coarsest clock is that of FAT."""
_NO_MODELS = frozenset({"__pycache__", "node_modules", "site-packages"})
_ENVIRONMENT = "pyvenv.cfg"
"""The mark of a virtual environment, which programs keep beside their models, with thousands of folders."""


@dataclass(frozen=True, eq=False)
class FolderListing:
    """What lies in a folder; equal to no other, so that a new listing means a change.

    Args:
        folder: The folder.
        files: Names of its files of weights, sorted.
        folders: Names of what may be folders in it, sorted; hidden ones are left out, links are not.
        is_diffusers: Whether it is a diffusers folder, of which files and folders are left out.
        settled: Whether its modification time was old enough to rely on.
        readable: Whether this process may read it.
    """

    folder: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]
    is_diffusers: bool
    settled: bool
    readable: bool = True


def list_folders(root: Path) -> tuple[FolderListing, ...]:
    """The listings of a folder and of all below it, links included, circles excluded; empty if it is not there."""
    return tuple(_list_folders(root, set()))


def walk_weights(root: Path, suffixes: Collection[str]) -> tuple[Path, ...]:
    """Diffusers folders, and files with one of the suffixes, in a folder at any depth.

    Hidden entries, virtual environments and what lies in a diffusers folder are left out.

    Args:
        root: The folder; it need not exist, and may be a diffusers folder itself.
        suffixes: Some of ``WEIGHTS_SUFFIXES``.
    """
    return weights_of(list_folders(root), frozenset(suffixes))


@lru_cache(maxsize=16)
def weights_of(listings: tuple[FolderListing, ...], suffixes: frozenset[str]) -> tuple[Path, ...]:
    """The diffusers folders in listings, and the files with one of the suffixes, in their order.

    A folder with the name of a weights file beside it belongs to that file (``sidecar``), and is left out.
    """
    found: list[Path] = []
    files = {listing.folder / name for listing in listings for name in listing.files}
    for listing in listings:
        if listing.is_diffusers and not any(
            listing.folder.with_name(listing.folder.name + suffix) in files
            for suffix in (".safetensors", ".gguf")
        ):
            found.append(listing.folder)
        found += [listing.folder / name for name in listing.files if Path(name).suffix.lower() in suffixes]
    return tuple(found)


def _list_folders(folder: Path, seen: set[tuple[int, int]]) -> Iterator[FolderListing]:
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            stat = place.stat()
        except OSError:  # vanished, a link to nowhere, or not for us
            continue
        identity = stat.st_dev, stat.st_ino
        settled = time.time_ns() - stat.st_mtime_ns > SETTLING_SECONDS * 1e9
        read = _read_folder if settled else _read_folder.__wrapped__
        # The time of its last change of state differs when its permissions were changed.
        listing = read(place, settled, *identity, stat.st_mtime_ns, stat.st_ctime_ns)
        if listing is None or (
            identity in seen and not listing.is_diffusers
        ):  # a checkpoint may have several names
            continue
        seen.add(identity)
        yield listing
        waiting += [place / name for name in reversed(listing.folders)]


@lru_cache(maxsize=50_000)
def _read_folder(folder: Path, settled: bool, *_: int) -> FolderListing | None:
    """Read a folder; None if it is none, or cannot be read."""
    files, folders, names = [], [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name) if entry.name in (INDEX_NAME, _ENVIRONMENT) else None
                if entry.name.startswith(".") or entry.name in _NO_MODELS:
                    continue
                if Path(entry.name).suffix.lower() in WEIGHTS_SUFFIXES and not entry.is_dir():
                    files.append(entry.name)
                elif entry.is_dir() or (entry.is_symlink() and not entry.is_file()):
                    folders.append(
                        entry.name
                    )  # a link to nowhere may lead to a folder when its drive is back
    except PermissionError:
        return FolderListing(folder, (), (), is_diffusers=False, settled=settled, readable=False)
    except OSError:
        return None
    if INDEX_NAME in names:
        return FolderListing(folder, (), (), is_diffusers=True, settled=settled)
    if _ENVIRONMENT in names:
        files, folders = [], []
    return FolderListing(
        folder, tuple(sorted(files)), tuple(sorted(folders)), is_diffusers=False, settled=settled
    )
