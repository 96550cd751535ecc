"""The model folders of other programs: what lies in them, and how they become folders of this installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tomlkit
import yaml
from tomlkit.exceptions import TOMLKitError

from safelight.atomic_write import atomic_write
from safelight.errors import FileMissingError, SafelightError, SettingsError, UsageError
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.folder_walk import WEIGHTS_SUFFIXES, walk_weights
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, main_precision, read_header
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


def inspect_folder(folder: Path) -> Iterator[FoundFile]:
    """Describe all weights in a folder, at any depth, by their headers alone, but for files that vanish."""
    for path in walk_weights(folder, WEIGHTS_SUFFIXES):
        if path.is_dir():
            yield _describe_folder(path)
        elif found := _describe_file(path):
            yield found


def _describe_folder(folder: Path) -> FoundFile:
    try:
        found = describe_checkpoint(folder, folder.name)
    except SafelightError as error:
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        return FoundFile(folder, "checkpoint", None, size, "", usable=False, reason=error.message)
    return FoundFile(folder, "checkpoint", found.family.name, found.size, found.precision, usable=True)


def _describe_file(path: Path) -> FoundFile | None:
    """A weights file; None if it vanished meanwhile."""
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
    except OSError:
        return None
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
    path = (home / "safelight.toml").resolve()  # a link stays one
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    present = [Path(str(each)) for each in document.get("model_folders", [])]
    wanted = list(present)
    for folder in sorted(folders, key=lambda each: len(each.parts)):
        if not any(folder.is_relative_to(each) for each in wanted):
            wanted.append(folder)
    if wanted != present:
        document["model_folders"] = [str(folder) for folder in wanted]
        with atomic_write(path) as temporary:
            temporary.touch(0o600)  # it may hold the database's password
            temporary.write_text(tomlkit.dumps(document), encoding="utf-8")
    return wanted
