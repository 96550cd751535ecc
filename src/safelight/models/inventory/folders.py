"""The model folders of other programs: what lies in them, and how they become folders of this installation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import tomlkit
import yaml
from tomlkit.exceptions import TOMLKitError

from safelight.atomic_write import atomic_write
from safelight.errors import FileMissingError, SafelightError, SettingsError, UsageError
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.folder_walk import WEIGHTS_SUFFIXES, walk_weights
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, main_precision, read_header
from safelight.models.digests import FileVersion, file_version
from safelight.models.inventory.file_kinds import identify

EXTRA_PATHS = "extra_model_paths.yaml"
"""ComfyUI's list of further folders."""


@dataclass(frozen=True)
class FoundFile:
    """A weights file or a diffusers folder.

    Args:
        path: Where it lies.
        type: What it is: checkpoint, LoRA, autoencoder … (``file_kinds.Kind``), pickle, GGUF.
        family: Its family, where the file tells.
        size: Its bytes.
        precision: The floating-point type of most weights.
        usable: Whether pictures can be generated with it now.
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
    """Describe all weights in a folder, at any depth, by their headers alone, but for files that vanish."""
    for path in walk_weights(folder, WEIGHTS_SUFFIXES):
        if found := describe_file(path):
            yield found


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
    paths = {path: folder for folder in reversed(folders) for path in walk_weights(folder, WEIGHTS_SUFFIXES)}
    wanted = text.casefold()
    named = [(path, paths[path]) for folder in folders for path in walk_weights(folder, WEIGHTS_SUFFIXES)
             if paths[path] == folder and wanted in path.relative_to(folder).as_posix().casefold()]  # fmt: skip
    found: list[tuple[Path, FoundFile]] = []
    deadline = time.monotonic() + seconds
    for index, (path, folder) in enumerate(named[start:], start):
        if len(found) == limit or ((found or index > start) and time.monotonic() > deadline):
            return FilePage(tuple(found), len(named), index)
        file = describe_file(path)
        if file and kind in (None, file.type) and usable in (None, file.usable):
            found.append((folder, file))
    return FilePage(tuple(found), len(named), None)


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


def describe_file(path: Path) -> FoundFile | None:
    """A weights file or a diffusers folder; None if it vanished meanwhile."""
    try:
        if path.is_dir():
            return _describe_folder(path)
        return _describe_version(path, file_version(path))
    except (FileMissingError, OSError):
        return None


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
    if suffix == ".gguf":
        return FoundFile(path, "GGUF", None, size, "", usable=False, reason="GGUF files are not opened yet.")
    if suffix in PICKLE_SUFFIXES:
        reason = "A pickle: convert it with safelight models convert."
        return FoundFile(path, "pickle", None, size, "", usable=False, reason=reason)
    try:
        header = read_header(path)
    except SafelightError as error:
        return FoundFile(path, "unknown", None, size, "", usable=False, reason=error.message)
    kind = identify(header)
    precision = main_precision(list(header.tensors.values()))
    if kind.kind != "checkpoint":
        reason = f"A file of this kind ({kind.kind}) is not used yet."
        return FoundFile(path, kind.kind, kind.family, size, precision, usable=False, reason=reason)
    try:
        family = describe_checkpoint(path, path.stem).family.name
    except SafelightError as error:
        return FoundFile(path, kind.kind, kind.family, size, precision, usable=False, reason=error.message)
    return FoundFile(path, kind.kind, family, size, precision, usable=True)


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
    """The folders in ComfyUI's ``extra_model_paths.yaml``: by program, a base and paths below it, one a line."""
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
        base = path.parent / str(entries.get("base_path") or "")
        for kind, lines in entries.items():
            if kind not in ("base_path", "is_default") and isinstance(lines, str):
                for line in filter(None, map(str.strip, lines.splitlines())):
                    found[(base.expanduser() / line).resolve()] = None
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
