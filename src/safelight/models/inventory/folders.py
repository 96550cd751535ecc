"""The model folders of other programs: what lies in them, and how they become folders of this installation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import tomlkit
import yaml
from tomlkit.exceptions import TOMLKitError

from safelight.atomic_write import atomic_write
from safelight.errors import FileMissingError, SafelightError, SettingsError, UsageError
from safelight.models.adapters.description import describe_adapter
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.folder_walk import (
    WEIGHTS_SUFFIXES,
    FolderListing,
    list_folders,
    walk_weights,
)
from safelight.models.checkpoints.parts import PartsIndex
from safelight.models.checkpoints.safetensors_header import (
    PICKLE_SUFFIXES,
    TensorEntry,
    main_precision,
    read_header,
)
from safelight.models.checkpoints.sections import read_contents
from safelight.models.checkpoints.single_file import identify_single_file
from safelight.models.controls.architectures import recognise
from safelight.models.digests import FileVersion, file_version
from safelight.models.inventory.file_kinds import identify

EXTRA_PATHS = "extra_model_paths.yaml"
"""ComfyUI's list of further folders."""
_NO_WEIGHTS = frozenset({"base_path", "is_default", "custom_nodes", "configs"})
"""Its entries that name no folders of weights."""


@dataclass(frozen=True)
class FoundFile:
    """A weights file or a diffusers folder.

    Args:
        path: Where it lies.
        type: What it is: checkpoint, LoRA, autoencoder … (``file_kinds.Kind``), or pickle.
        family: Its family, where the file tells; of an autoencoder or text encoder, its kind.
        size: Its bytes.
        precision: The floating-point type of most weights.
        usable: Whether pictures can be generated with it now, or with it as a part of a checkpoint.
        reason: Why it cannot be used.
    """

    path: Path
    type: str
    family: str | None
    size: int
    precision: str
    usable: bool
    reason: str = ""

    def to_dict(self) -> dict[str, object]:
        """The file for JSON output."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class FilePage:
    """Some of the files in a list of folders.

    Args:
        files: The files that match, with the folder that each was found in.
        total: The number of files with a matching name, whatever they are.
        next: Where the next page begins; None at the end.
    """

    files: tuple[tuple[Path, FoundFile], ...]
    total: int
    next: int | None


def inspect_folder(folder: Path) -> Iterator[FoundFile]:
    """Describe all weights in a folder, at any depth, by their headers alone, but for files that vanish.

    A folder that this process may not read is among them.
    """
    paths = tuple(walk_weights(folder, WEIGHTS_SUFFIXES))
    for path in paths:
        _read_once(path)
    parts = PartsIndex((folder,))
    for path in paths:
        if found := describe_file(path, parts):
            yield found
    for listing in list_folders(folder):
        if not listing.readable:
            reason = "This folder cannot be read: its permissions do not allow it."
            yield FoundFile(listing.folder, "unknown", None, 0, "", usable=False, reason=reason)


def list_files(
    folders: Sequence[Path],
    *,
    text: str = "",
    kind: str | None = None,
    usable: bool | None = None,
    start: int = 0,
    limit: int = 100,
    seconds: float = 2.0,
) -> FilePage:
    """A page of the files in folders. Headers are read for as long as the limits allow, so a page may be short.

    Args:
        folders: The folders; a file that lies in several is listed once.
        text: Part of the path below its folder.
        kind: Only files of this kind.
        usable: Only those that can, or cannot, be used.
        start: Where the page begins, as ``next`` of the one before.
        limit: How many files it has at most.
        seconds: How long headers are read.
    """
    wanted = text.casefold()
    places = _list_places(tuple((folder, list_folders(folder)) for folder in folders))
    named = [(folder, place) for folder, place in places if wanted in place.casefold()]
    found: list[tuple[Path, FoundFile]] = []
    parts = PartsIndex(tuple(folders))
    deadline = time.monotonic() + seconds
    for index, (folder, place) in enumerate(islice(named, start, None), start):
        if len(found) == limit or ((found or index > start) and time.monotonic() > deadline):
            return FilePage(tuple(found), len(named), index)
        path = folder / place
        file = describe_file(path, parts)
        if file and kind in (None, file.type) and usable in (None, file.usable):
            found.append((folder, file))
    return FilePage(tuple(found), len(named), None)


@lru_cache(maxsize=2)
def _list_places(walked: tuple[tuple[Path, tuple[FolderListing, ...]], ...]) -> tuple[tuple[Path, str], ...]:
    """Folders and places of weights below them, as text, since there may be a million; each file once."""
    found: dict[str, tuple[Path, str]] = {}
    for folder, listings in walked:
        for listing in listings:
            below = listing.folder.relative_to(folder).as_posix()
            names = ("",) if listing.is_diffusers else listing.files
            for name in names:
                place = name if below == "." else f"{below}/{name}".rstrip("/")
                found.setdefault(f"{folder}/{place}", (folder, place))
    return tuple(found.values())


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of weights with a name: its path below one of the folders or its own name, the suffix left out or not.

    Raises:
        UsageError: Several have it.
    """
    found = []
    for folder in folders:
        for path in walk_weights(folder, WEIGHTS_SUFFIXES):
            place = path.relative_to(folder)
            if name in (place.as_posix(), place.with_suffix("").as_posix()):
                return path
            if name in (path.name, path.stem) and path not in found:
                found.append(path)
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found[:8])
        raise UsageError(
            f"{len(found)} files are called {name}: {listed}.", hint="Give the path of one of them."
        )
    return found[0] if found else None


def describe_file(path: Path, parts: PartsIndex | None = None) -> FoundFile | None:
    """A weights file or a diffusers folder; None if it vanished meanwhile.

    Args:
        path: It.
        parts: Where the networks that a checkpoint lacks are looked for, beside its own folder tree.
    """
    try:
        if path.is_dir():
            return _describe_folder(path)
        found = _describe_version(path, file_version(path))
        return _describe_whole(found, parts) if found.type in ("checkpoint", "denoiser") else found
    except (FileMissingError, OSError):
        return None


def _read_once(path: Path) -> None:
    """Keep what a file's header says; the index of parts would read all headers between one file and the next."""
    try:
        if not path.is_dir():
            found = _describe_version(path, file_version(path))
            if found.type in ("checkpoint", "denoiser"):
                identify_single_file(path)
            else:
                read_contents(path)
    except (SafelightError, OSError):  # describe_file says why
        pass


def _describe_folder(folder: Path) -> FoundFile:
    try:
        found = describe_checkpoint(folder, folder.name)
    except SafelightError as error:
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        return FoundFile(folder, "checkpoint", None, size, "", usable=False, reason=error.message)
    return FoundFile(folder, "checkpoint", found.family.name, found.size, found.precision, usable=True)


@lru_cache(maxsize=20_000)
def _describe_version(path: Path, version: FileVersion) -> FoundFile:
    """A file, whose header is read once until it changes."""
    suffix, size = path.suffix.lower(), version[0]
    if suffix in PICKLE_SUFFIXES:
        reason = "A pickle: convert it with safelight models convert."
        return FoundFile(path, "pickle", None, size, "", usable=False, reason=reason)
    try:
        header = read_header(path)
    except SafelightError as error:
        return FoundFile(path, "unknown", None, size, "", usable=False, reason=error.message)
    kind = identify(header)
    precision = header.derive(_precision)
    if kind.kind in ("checkpoint", "denoiser"):
        return FoundFile(path, kind.kind, kind.family, size, precision, usable=False)
    if kind.kind in ("autoencoder", "text encoder") and (sections := read_contents(path).sections):
        return FoundFile(path, kind.kind, sections[0].kinds[0], size, precision, usable=True)
    if kind.kind in ("ControlNet", "IP-Adapter") and (control := header.derive(recognise)) is not None:
        reason = f"It {control.reason}." if control.reason else ""
        return FoundFile(path, kind.kind, kind.family, size, precision, usable=not reason, reason=reason)
    if kind.kind in ("embedding", "image encoder") or (
        kind.kind == "LoRA" and describe_adapter(header).kinds
    ):
        return FoundFile(path, kind.kind, kind.family, size, precision, usable=True)
    reason = f"A file of this kind ({kind.kind}) is not used yet."
    return FoundFile(path, kind.kind, kind.family, size, precision, usable=False, reason=reason)


def _precision(tensors: Mapping[str, TensorEntry]) -> str:
    return main_precision(tensors.values())


def _describe_whole(found: FoundFile, parts: PartsIndex | None) -> FoundFile:
    """A file with a denoiser: whether it is a whole checkpoint, with networks from other files where it lacks some."""
    try:
        checkpoint = describe_checkpoint(found.path, found.path.stem, parts=parts)
    except SafelightError as error:
        return replace(found, reason=" ".join(filter(None, (error.message, error.hint))))
    return replace(found, family=checkpoint.family.name, usable=True)


def folders_of(given: Path) -> list[Path]:
    """The folders that a folder or ComfyUI's ``extra_model_paths.yaml`` stands for, as far as they exist.

    Raises:
        FileMissingError: There is no such folder or file.
        UsageError: The file is no list of folders.
    """
    if given.is_dir():
        listed = given / EXTRA_PATHS
        return [given.resolve(), *(_extra_folders(listed) if listed.is_file() else [])]
    if not given.is_file():
        raise FileMissingError(f"There is no folder {given}.")
    if given.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(
            f"{given} is a file.",
            hint="Give the folder that it lies in, or ComfyUI's extra_model_paths.yaml.",
        )
    return _extra_folders(given)


def _extra_folders(path: Path) -> list[Path]:
    """The folders in ComfyUI's ``extra_model_paths.yaml``: by program, a base and paths below it, one a line.

    As ComfyUI does, ~ and environment variables in a base are replaced, and what is relative lies beside the file.
    """
    try:
        programs = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if programs is None:
        return []
    if not isinstance(programs, dict):
        raise UsageError(f"{path} is not a list of folders by program.")
    found: dict[Path, None] = {}
    for entries in programs.values():
        if not isinstance(entries, dict):
            continue
        base = path.parent / os.path.expandvars(os.path.expanduser(str(entries.get("base_path") or "")))  # noqa: PTH111
        for kind, listed in entries.items():
            if kind in _NO_WEIGHTS:
                continue
            texts = listed if isinstance(listed, list) else [listed]
            lines = [line for text in texts if isinstance(text, str) for line in text.splitlines()]
            for line in filter(None, map(str.strip, lines)):
                found[(base / line).resolve()] = None
    return [folder for folder in found if folder.is_dir()]


def add_model_folders(home: Path, folders: Sequence[Path]) -> list[Path]:
    """Add folders to the setting ``model_folders`` in ``safelight.toml``; everything else in the file stays as it is.

    Args:
        home: The data directory.
        folders: Absolute paths; one that lies within another, or is there already, is not added.

    Returns:
        All folders of the setting now.

    Raises:
        SettingsError: The file cannot be read.
        OutputError: It cannot be written.
    """

    def add(present: list[Path]) -> list[Path]:
        wanted = list(present)
        for folder in sorted(folders, key=lambda each: len(each.parts)):
            if not any(folder.is_relative_to(each) for each in wanted):
                wanted.append(folder)
        return wanted

    return _change_setting(home, add)


def remove_model_folder(home: Path, folder: Path) -> list[Path]:
    """Take a folder out of the setting ``model_folders`` in ``safelight.toml``; the folder itself is not touched.

    Returns:
        All folders of the setting now.

    Raises:
        FileMissingError: It is not in the setting.
        SettingsError: The file cannot be read.
        OutputError: It cannot be written.
    """

    def remove(present: list[Path]) -> list[Path]:
        if folder not in present:
            raise FileMissingError(f"{folder} is not in model_folders.", hint="")
        return [each for each in present if each != folder]

    return _change_setting(home, remove)


def _change_setting(home: Path, change: Callable[[list[Path]], list[Path]]) -> list[Path]:
    path = (home / "safelight.toml").resolve()  # a link stays one
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    present = [Path(str(each)) for each in document.get("model_folders", [])]
    wanted = change(present)
    if wanted != present:
        document["model_folders"] = [str(folder) for folder in wanted]
        with atomic_write(path) as temporary:
            temporary.touch(0o600)  # it may hold the database's password
            temporary.write_text(tomlkit.dumps(document), encoding="utf-8")
    return wanted
