"""Find and describe checkpoints: folders, single files, the hub's cache, and the bundled starter.

A name is looked up in this order: ``starter``; an entry under ``checkpoints/`` in the data directory (a diffusers
folder or a .safetensors file, at any depth); one under the setting ``model_folders``, which may be those of other
programs; a path; a hub id. Nothing here loads weights or imports torch.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from safelight.atomic_write import path_exists
from safelight.errors import (
    CheckpointInvalidError,
    CheckpointMissingError,
    FileMissingError,
    ModelError,
    SafelightError,
)
from safelight.models import BUNDLED
from safelight.models.checkpoints.diffusers_layout import (
    INDEX_NAME,
    DiffusersFolder,
    is_diffusers_folder,
    read_folder,
    read_json,
)
from safelight.models.checkpoints.family_detection import detect_folder
from safelight.models.checkpoints.folder_walk import FolderListing, list_folders, weights_of
from safelight.models.checkpoints.parts import (
    NamedParts,
    PartFile,
    PartsIndex,
    choose_for_file,
    choose_for_folder,
    complete,
)
from safelight.models.checkpoints.safetensors_header import (
    PICKLE_SUFFIXES,
    PRECISIONS,
    TensorEntry,
    check_not_pickle_name,
    main_precision,
    read_header,
)
from safelight.models.checkpoints.sections import Section, read_contents
from safelight.models.checkpoints.sidecar import files_about
from safelight.models.checkpoints.single_file import identify_single_file
from safelight.models.digests import (
    FileVersion,
    cached_combined_digest,
    cached_digest,
    combined_digest,
    file_digest,
    file_version,
)
from safelight.models.families import FAMILIES, Family
from safelight.models.inventory.file_kinds import identify
from safelight.models.inventory.kind_folders import kind_folder
from safelight.models.tokenizers.tokenizer_sources import TOKENIZERS_FOLDER

STARTER = "starter"
MAX_COMPARED = 5000
"""How many names a misspelt one is compared with: comparing takes microseconds each."""
RECENT_SECONDS = 2.0
"""How long a name that was found is looked up without a walk over the folders, while its file is there."""
_SUFFIXES = frozenset({".safetensors", ".gguf", *PICKLE_SUFFIXES})
"""Files that are taken for checkpoints; a pickle gets an error that says how to convert it."""
_CONTAINERS = (
    "models/Stable-diffusion",
    "models/checkpoints",
    "models/diffusion_models",
    "models/unet",
    "Stable-diffusion",
    "checkpoints",
    "diffusion_models",
    "unet",
)
"""Folders of A1111, Forge, SD.Next and ComfyUI that names leave out."""
STARTER_PATH = BUNDLED / "starter"

HubLookup = Callable[[str], Path]
"""Returns a hub id's folder on this machine, downloading it where that is allowed; raises CheckpointMissingError."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that generates pictures, as it is stored on disk.

    Args:
        name: The name that requests use.
        path: The diffusers folder or the file.
        kind: A folder, a file, or a folder in the hub's cache.
        family: Its entry in ``families.FAMILIES``.
        size: Bytes of weights.
        precision: How most weights are stored: fp32, fp16, bf16, fp8.
        modified: Modification time of its newest file, in nanoseconds since 1970; a checkpoint that was replaced on
            disk is not equal to the one that it replaced.
        weights: The weights files.
        configs: Its config and tokenizer files; empty for a single file.
        elements: Number of floating-point weights.
        stamp: Hash over each file's path, size and modification time; it changes with any change on disk.
        parts: Its networks that are read from weights files: all of a single file's, and of a folder those that
            another file replaces.
    """

    name: str
    path: Path
    kind: Literal["folder", "file", "hub"]
    family: Family = field(compare=False)
    size: int
    precision: str
    modified: int
    weights: tuple[Path, ...] = field(repr=False)
    configs: tuple[Path, ...] = field(default=(), repr=False)
    elements: int = 0
    stamp: str = field(default="", repr=False)
    parts: tuple[PartFile, ...] = ()

    @property
    def other_files(self) -> tuple[Path, ...]:
        """The weights files beside the checkpoint's own that its networks are read from."""
        return tuple(dict.fromkeys(part.path for part in self.parts if part.path != self.path))

    def digest(self, cache: Path) -> str:
        """SHA-256 of the weights, in hexadecimal.

        For a file it is the file's own digest, without those of its ``other_files``; for a folder, the digest over one
        line "component/file digest" per weights file, sorted.

        Args:
            cache: The cache folder, which keeps digests by path, size and modification time; hashing takes seconds
                per gigabyte.

        Raises:
            FileMissingError: A weights file no longer exists.
        """
        if self.kind == "file":
            return file_digest(self.path, cache)
        return combined_digest(self.weights, cache)

    def configs_digest(self, cache: Path) -> str | None:
        """One SHA-256 over configs and tokenizers, computed like ``digest``; None for a single file.

        Raises:
            FileMissingError: One of the files no longer exists.
        """
        return combined_digest(self.configs, cache) if self.configs else None

    def cached_digest(self, cache: Path) -> str | None:
        """The cached ``digest``; None if it would have to be computed."""
        if self.kind == "file":
            return cached_digest(self.path, cache)
        return cached_combined_digest(self.weights, cache)

    def default_side(self) -> int:
        """Default width and height in pixels, from its configs; the family's default if the configs don't state one.

        A single file has no configs of its own, so ``loading.LoadedCheckpoint.default_side`` is more exact once it
        is loaded.
        """
        if not self.family.side_from_config or self.kind == "file":
            return self.family.side
        try:
            sample = read_json(self.path / self.family.denoiser / "config.json").get("sample_size")
            blocks = read_json(self.path / "vae" / "config.json").get("block_out_channels")
        except CheckpointInvalidError:  # loading the checkpoint reports it
            return self.family.side
        if not isinstance(sample, int) or not isinstance(blocks, list):
            return self.family.side
        return sample << (len(blocks) - 1)

    def to_dict(self) -> dict[str, object]:
        """The checkpoint for JSON output."""
        return {
            "name": self.name,
            "path": str(self.path),
            "kind": self.kind,
            "family": self.family.key,
            "variant": self.family.variant,
            "size": self.size,
            "precision": self.precision,
            "parts": {part.component: str(part.path) for part in self.parts if part.path != self.path},
        }


def find_checkpoints(
    home: Path,
    on_error: Callable[[Path, SafelightError], None] = lambda *_: None,
    *,
    folders: Sequence[Path] = (),
    hub_cache: Path | None = None,
) -> list[Checkpoint]:
    """List the checkpoints of a data directory, those pulled from the hub, and the starter, sorted by name.

    Args:
        home: The data directory.
        on_error: Called with the path and the error of each checkpoint that cannot be used; not for files in
            ``folders`` that are something else than checkpoints.
        folders: Further folders, such as those of other programs (the setting ``model_folders``).
        hub_cache: The hub's cache folder (``checkpoint_download.hub_cache_folder``); None leaves out the hub's
            checkpoints.
    """
    for folder in missing_folders(folders):
        on_error(folder, FileMissingError(f"The folder {folder} of model_folders is not there."))
    own = dict(_candidates(home, folders))
    if is_diffusers_folder(STARTER_PATH):
        own[STARTER] = STARTER_PATH
    pulled = (
        {name: path for name, path in _iter_hub_checkpoints(hub_cache) if name not in own}
        if hub_cache
        else {}
    )
    found = []
    parts = parts_index(home, folders)
    for path in own.values():
        _read_once(path)
    for name, path in (pulled | own).items():
        try:
            kind: Literal["hub"] | None = "hub" if name in pulled else None
            found.append(
                _describe_starter()
                if path == STARTER_PATH
                else describe_checkpoint(path, name, kind=kind, parts=parts)
            )
        except SafelightError as error:
            if _is_meant_as_checkpoint(path, own=path.is_relative_to(checkpoints_folder(home))):
                on_error(path, error)
    return sorted(found, key=lambda checkpoint: (checkpoint.name != STARTER, checkpoint.name))


def parts_index(home: Path, folders: Sequence[Path] = ()) -> PartsIndex:
    """The files with autoencoders and text encoders in the data directory and in further folders."""
    pulled = (kind_folder(home, "autoencoder"), kind_folder(home, "text encoder"))
    return PartsIndex((checkpoints_folder(home), *pulled, *folders), home / TOKENIZERS_FOLDER)


def find_path(name: str, home: Path, folders: Sequence[Path] = ()) -> Path | None:
    """The path of a name's checkpoint in the data directory or in further folders, usable or not; None if none."""
    plain = _without_suffix(name)
    # Several lookups for one request cost one walk: on a network drive each folder's stat takes a millisecond.
    recent = _recent_candidates(home, tuple(folders), int(time.monotonic() / RECENT_SECONDS))
    place = recent.get(name) or recent.get(plain)
    if place is not None and path_exists(place):
        return place
    places = _candidates(home, folders)
    return places.get(name) or places.get(plain)


def missing_folders(folders: Iterable[Path]) -> list[Path]:
    """Those of the folders that are not there, such as on a drive that is not connected."""
    return [folder for folder in folders if not folder.is_dir()]


def checkpoints_folder(home: Path) -> Path:
    """The folder of a data directory's own checkpoints."""
    return home / "checkpoints"


def find_checkpoint(
    name: str,
    home: Path,
    *,
    folders: Sequence[Path] = (),
    hub_lookup: HubLookup | None = None,
    allow_paths: bool = True,
    named: NamedParts = NamedParts(),  # noqa: B008  it is frozen
) -> Checkpoint:
    """Find the checkpoint of a name; the module's docstring says how names are looked up.

    Args:
        name: starter, a name, a path or a hub id.
        home: The data directory.
        folders: Further folders, such as those of other programs (the setting ``model_folders``).
        hub_lookup: Looks up hub ids (``checkpoint_download.hub_lookup``); without it, they are not looked up.
        allow_paths: Accept paths; a server does not.
        named: Files that are used in place of the checkpoint's own networks.

    Raises:
        CheckpointMissingError: There is no such checkpoint; the hint suggests similar names.
        PartMissingError: There is no file of a name in ``named``.
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    parts = parts_index(home, folders)
    if name == STARTER:
        return _describe_starter(parts, named)
    if place := find_path(name, home, folders):
        plain = _without_suffix(name)
        own_name = plain if find_path(plain, home, folders) == place else name
        return describe_checkpoint(place, own_name, parts=parts, named=named)
    if allow_paths and name and (name.startswith((".", "/", "~")) or path_exists(Path(name))):
        return describe_checkpoint(_expand_path(name).absolute(), name, parts=parts, named=named)
    if hub_lookup and name.count("/") == 1 and "\\" not in name:
        return describe_checkpoint(hub_lookup(name), name, kind="hub", parts=parts, named=named)
    near = get_close_matches(name, [STARTER, *islice(_candidates(home, folders), MAX_COMPARED)], n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else None
    if missing := missing_folders(folders):
        listed = ", ".join(map(str, missing))
        hint = (
            f"Not there of model_folders: {listed}. Connect the drive, or take the folder out of the setting."
        )
    raise CheckpointMissingError(f"There is no checkpoint {name!r} on this machine.", hint=hint)


def describe_checkpoint(
    path: Path,
    name: str,
    *,
    kind: Literal["hub"] | None = None,
    parts: PartsIndex | None = None,
    named: NamedParts = NamedParts(),  # noqa: B008  it is frozen
) -> Checkpoint:
    """Describe the checkpoint at a path, checked as far as possible without loading it.

    Args:
        path: A diffusers folder or a weights file.
        name: What requests call it.
        kind: For a folder in the hub's cache.
        parts: Where the networks that a file lacks are looked for, beside its own folder tree.
        named: Files that are used in place of the checkpoint's own networks.

    Raises:
        CheckpointMissingError: The path does not exist.
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    index = parts or PartsIndex(())
    if path.is_dir():
        return _describe_folder(path, name, kind or "folder", index, named)
    if not path_exists(path):
        raise CheckpointMissingError(f"There is no checkpoint {name!r}: {path} is not there.")
    return _describe_file(path, name, index, named)


def _describe_file(path: Path, name: str, index: PartsIndex, named: NamedParts) -> Checkpoint:
    """Describe the checkpoint in a file, with its networks from other files; a header is read once until it changes."""
    single = identify_single_file(path)
    given = {} if named.is_empty else choose_for_file(single, index.within(path), named)
    parts = complete(single, index, given)
    sections = {part.component: _section_of(part) for part in parts}
    others = tuple(dict.fromkeys(part.path for part in parts if part.path != path))
    stats = _stats(
        [
            *(path, *others),
            *(file for each in (path, *others) for file in files_about(each)),
            *(file for part in parts for file in part.tokenizer_files),
        ]
    )
    return Checkpoint(
        name=name,
        path=path.resolve(),
        kind="file",
        family=single.family,
        size=sum(section.size for section in sections.values()),
        precision=sections[single.family.denoiser].precision,
        modified=max(stat.st_mtime_ns for stat in stats.values()),
        weights=(path.absolute(), *(other.absolute() for other in others)),
        elements=sum(section.elements for section in sections.values()),
        stamp=_hash_stats(stats),
        parts=tuple(replace(part, path=path.resolve()) if part.path == path else part for part in parts),
    )


def _section_of(part: PartFile) -> Section:
    """The network of a part, in its file."""
    sections = read_contents(part.path).sections
    return next(section for section in sections if section.prefix == part.prefix)


def _read_once(path: Path) -> None:
    """Keep what a file's header says; the index of parts would read all headers between one file and the next."""
    try:
        if path.suffix.lower() in _SUFFIXES and not path.is_dir():
            _file_kind(path, file_version(path))
            identify_single_file(path)
    except SafelightError:  # describing the file says why
        pass


@lru_cache(maxsize=10_000)
def _file_kind(path: Path, _: FileVersion) -> str | None:
    """What a file is; None for one that cannot be read. Its header is read once until the file changes."""
    try:
        return identify(read_header(path)).kind
    except ModelError:
        return None


def _describe_folder(
    path: Path, name: str, kind: Literal["folder", "hub"], index: PartsIndex, named: NamedParts
) -> Checkpoint:
    if not is_diffusers_folder(path):
        _check_no_pickles(path)
        raise CheckpointInvalidError(f"{path} is no diffusers folder: it has no model_index.json.")
    folder = read_folder(path)
    family = detect_folder(folder)
    _check_components(folder, family)
    configs = tuple(file.absolute() for file in folder.configs)
    checkpoint = _checkpoint(name, path, kind, family, tuple(folder.weights), folder.tensors(), configs)
    given = choose_for_folder(folder, family, index, named)
    if not given:
        return checkpoint
    stats = _stats([file for part in given for file in (part.path, *files_about(part.path))])
    return replace(checkpoint, parts=given, stamp=f"{checkpoint.stamp} {_hash_stats(stats)}")


def _check_components(folder: DiffusersFolder, family: Family) -> None:
    """Refuse a folder that lacks a component which the family's pipelines need; only SD3's T5 is optional."""
    optional = ("text_encoder_3", "tokenizer_3") if family.key == "sd3" else ()
    needed = [family.denoiser, "vae", "scheduler", *family.text_encoders, *family.tokenizer_names]
    needed += family.references.components if family.references is not None else ()
    if missing := [part for part in needed if part not in folder.components and part not in optional]:
        llama = family.key == "hidream" and "text_encoder_4" in missing
        raise CheckpointInvalidError(
            f"{folder.path} lacks {', '.join(missing)}.",
            hint="HiDream is published without its fourth text encoder, Llama 3.1 8B Instruct: save a pipeline "
            "with it from diffusers."
            if llama
            else None,
        )


def _checkpoint(
    name: str,
    path: Path,
    kind: Literal["folder", "file", "hub"],
    family: Family,
    weights: tuple[Path, ...],
    tensors: list[TensorEntry],
    configs: tuple[Path, ...] = (),
) -> Checkpoint:
    stats = _stats([*weights, *configs, *([path / INDEX_NAME] if path.is_dir() else [])])
    return Checkpoint(
        name=name,
        path=path.resolve(),
        kind=kind,
        family=family,
        size=sum(tensor.nbytes for tensor in tensors),
        precision=main_precision(tensors),
        modified=max(stat.st_mtime_ns for stat in stats.values()),
        weights=tuple(file.absolute() for file in weights),
        configs=configs,
        elements=sum(tensor.elements for tensor in tensors if tensor.dtype in PRECISIONS),
        stamp=_hash_stats(stats),
    )


def _stats(files: Iterable[Path]) -> dict[Path, os.stat_result]:
    try:
        return {file: file.stat() for file in files}
    except OSError as error:
        raise FileMissingError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _hash_stats(stats: Mapping[Path, os.stat_result]) -> str:
    lines = (f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in stats.items())
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _describe_starter(
    parts: PartsIndex | None = None,
    named: NamedParts = NamedParts(),  # noqa: B008  it is frozen
) -> Checkpoint:
    if not is_diffusers_folder(STARTER_PATH):
        raise CheckpointMissingError(
            "The starter checkpoint did not come with this installation.",
            hint="Name a checkpoint of your own with --checkpoint; safelight models list shows them.",
        )
    found = describe_checkpoint(STARTER_PATH, STARTER, parts=parts, named=named)
    return replace(found, family=FAMILIES["sd1-starter"])


def _candidates(home: Path, folders: Sequence[Path]) -> Mapping[str, Path]:
    """Possible checkpoints by name, the data directory's first; a name that is taken gets its folder's before it."""
    root = checkpoints_folder(home)
    return _name_weights(root, list_folders(root), tuple((each, list_folders(each)) for each in folders))


@lru_cache(maxsize=8)
def _name_weights(
    root: Path,
    own: tuple[FolderListing, ...],
    others: tuple[tuple[Path, tuple[FolderListing, ...]], ...],
) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(weights_of(own, _SUFFIXES), key=lambda path: path.suffix.lower() == ".gguf"):
        name = _checkpoint_name(path, root)
        found[path.relative_to(root).as_posix() if name in found else name] = (
            path  # x.gguf beside x.safetensors
        )
    listed = set(found.values())
    for folder, listings in others:
        for path in weights_of(listings, _SUFFIXES):
            if path not in listed:  # folders may lie within each other
                listed.add(path)
                found[_free_name(path, folder, found)] = path
    return MappingProxyType(found)


@lru_cache(maxsize=8)
def _recent_candidates(home: Path, folders: tuple[Path, ...], _: int) -> Mapping[str, Path]:
    """The candidates as they were within a span of time; none where a folder has changed just before."""
    names = _candidates(home, folders)
    walked = (list_folders(folder) for folder in (checkpoints_folder(home), *folders))
    return names if all(listing.settled for listings in walked for listing in listings) else {}


def _free_name(path: Path, folder: Path, taken: Container[str]) -> str:
    """A checkpoint's name in a model folder, with the folder's before it and then a number where it is taken."""
    name = _short_name(_checkpoint_name(path, folder))
    longer = f"{folder.name}/{name}"
    numbered = (f"{longer} ({number})" for number in count(2))
    return next(each for each in chain((name, longer), numbered) if each not in taken)


def _short_name(name: str) -> str:
    """A name without the folders in which other programs keep checkpoints."""
    for container in _CONTAINERS:
        if name.startswith(f"{container}/"):
            return name.removeprefix(f"{container}/")
    return name


def _is_meant_as_checkpoint(path: Path, *, own: bool) -> bool:
    """Whether a file or folder that cannot be used looks like a checkpoint, and not like another kind of weights.

    Args:
        path: It.
        own: It lies in the data directory's own folder, where all but text encoders and autoencoders are.
    """
    if path.is_dir():
        return True
    if own:
        return not _is_part(path)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return path.suffix.lower() == ".ckpt"
    try:
        return _file_kind(path, file_version(path)) in ("checkpoint", "denoiser", None)
    except FileMissingError:  # deleted meanwhile
        return False


def _is_part(path: Path) -> bool:
    """Whether a file holds text encoders or autoencoders and nothing else."""
    try:
        contents = read_contents(path)
    except SafelightError:
        return False
    return bool(contents.sections) and not contents.of_role("denoiser")


def _iter_hub_checkpoints(cache: Path) -> Iterator[tuple[str, Path]]:
    """Hub ids and folders of the diffusers checkpoints in the hub's cache, at the revision fetched last."""
    for repository in _list_folder(cache):
        kind, *owner_and_name = repository.name.split("--")
        try:
            version = (repository / "refs" / "main").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind == "models" and len(owner_and_name) == 2:
            folder = repository / "snapshots" / version
            if version and is_diffusers_folder(folder):
                yield "/".join(owner_and_name), folder


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:  # missing or unreadable: nothing to list
        return []


def _checkpoint_name(path: Path, root: Path) -> str:
    return _without_suffix(path.relative_to(root).as_posix())


def _without_suffix(name: str) -> str:
    return name.removesuffix(".safetensors").removesuffix(".gguf")


def _expand_path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~ of an unknown user
        raise CheckpointMissingError(f"There is no checkpoint {name!r}: {error}") from error


def _check_no_pickles(path: Path) -> None:
    for entry in _list_folder(path):
        check_not_pickle_name(entry)
