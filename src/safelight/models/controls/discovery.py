"""Find control networks by name or by what they are for: single files, and folders as diffusers saves them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from safelight.errors import (
    CheckpointInvalidError,
    ControlFamilyError,
    ControlMissingError,
    ControlUnsupportedError,
    ModelError,
    PickleRefusedError,
    SafelightError,
)
from safelight.models.checkpoints.diffusers_layout import ComponentFiles, read_json, read_network_folder
from safelight.models.checkpoints.folder_walk import list_folders
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES, read_header
from safelight.models.controls.architectures import ARCHITECTURES, Architecture, recognise
from safelight.models.controls.ip_adapter import IPAdapterFile, describe_ip_adapter
from safelight.models.controls.kinds import ControlKind, kinds_in
from safelight.models.controls.packaged import FAMILY, is_packaged
from safelight.models.digests import FileVersion, combined_digest, file_digest, file_version
from safelight.models.families import FAMILIES, Family

_STEM = "diffusion_pytorch_model"
"""What diffusers calls the weights in a network's folder."""
_SUFFIX = ".safetensors"
_FAMILIES_OF_WIDTHS = MappingProxyType({768: "sd1", 1024: "sd2", 2048: "sdxl"})
"""The family of a ControlNet-XS, by the width of the text embeddings that it reads."""


@dataclass(frozen=True)
class ControlModel:
    """A control network on the disk.

    Args:
        name: Its name in requests: its path below its folder, without the suffix.
        path: The file, or the folder.
        architecture: What kind of network it is.
        family: The key of the family that it is for, or the name of the variant; empty where it is for any.
        kinds: What its control pictures show, as far as its name or its metadata says.
        versions: Size and modification time of its files, by which a replaced one differs.
    """

    name: str
    path: Path
    architecture: Architecture
    family: str
    kinds: tuple[ControlKind, ...]
    versions: tuple[FileVersion, ...] = field(default=(), repr=False)

    def files(self) -> PartFile | ComponentFiles:
        """What it is loaded from.

        Raises:
            CheckpointInvalidError, PickleRefusedError, FileMissingError: Its files are not complete.
        """
        if self.path.is_dir():
            return read_network_folder(self.path, "controlnet", self.architecture.class_name)
        if not self.architecture.class_name:
            return PartFile("controlnet", "", self.path, "")
        layout, prefix = recognise_file(self.path)
        return PartFile("controlnet", layout, self.path, prefix)

    def weights(self) -> int:
        """How many weights it has.

        Raises:
            CheckpointInvalidError, PickleRefusedError, FileMissingError: Its files are not complete.
        """
        files = self.files()
        paths, prefix = ([files.path], files.prefix) if isinstance(files, PartFile) else (files.weights, "")
        return sum(
            entry.elements
            for path in paths
            for name, entry in read_header(path).tensors.items()
            if name.startswith(prefix)
        )

    def digest(self, cache: Path) -> str:
        """SHA-256 of its weights, in hexadecimal: the file's own, or that over a folder's weights files.

        Raises:
            FileMissingError: They cannot be read.
        """
        files = self.files()
        if isinstance(files, PartFile):
            return file_digest(files.path, cache)
        return combined_digest(files.weights, cache)

    def ip_adapter(self) -> IPAdapterFile:
        """What its file says of it, for an IP-Adapter.

        Raises:
            CheckpointInvalidError: It is none, or not any more.
        """
        found = read_header(self.path).derive(describe_ip_adapter)
        if found is None:
            raise CheckpointInvalidError(f"{self.path} holds no IP-Adapter.")
        return found

    def has_kind(self, kind: ControlKind) -> bool:
        """Whether it is for pictures of a kind, or for those of many."""
        return kind in self.kinds or kind in self.architecture.modes(self.name)

    def fits(self, family: Family) -> bool:
        """Whether it is for a family's checkpoints."""
        return family.takes_controls and self.family in ("", family.key, family.name)


REFERENCE = ControlModel("reference", Path(), ARCHITECTURES["reference"], "", ("reference",))
"""In the place of a network for the kind that needs none."""


def find_controls(folders: Sequence[Path]) -> list[ControlModel]:
    """All control networks in some folders, by name, the package's own last; files that cannot be read are left out."""
    found: dict[str, ControlModel] = {}
    for name, path in _candidates(folders):
        try:
            model = _describe(name, path)
        except SafelightError:
            continue
        if model is not None:
            found.setdefault(model.name, model)
    return sorted(found.values(), key=lambda model: (is_packaged(model.path), model.name.casefold()))


def find_control(
    name: str | None,
    kind: ControlKind | None,
    family: Family,
    folders: Sequence[Path],
    *,
    allow_paths: bool = True,
) -> ControlModel:
    """The control network of a request.

    Args:
        name: Its name, with or without the suffix; its own name or its path below its folder; or any path. None takes
            the first that is for the kind.
        kind: What the control picture shows; not needed with a name.
        family: The family of the checkpoint.
        folders: Where it is looked for.
        allow_paths: Accept paths; a server does not.

    Raises:
        ControlMissingError: There is none.
        ControlFamilyError: There is one, for checkpoints of another family.
        ModelError: Its file cannot be used.
    """
    if name is None:
        assert kind is not None
        return _first_of_kind(kind, family, folders)
    model = find_control_by_name(name, folders, allow_paths=allow_paths)
    if not model.fits(family):
        raise ControlFamilyError(
            f"{model.name} is for {_title(model.family)}, and the checkpoint is {family.title}.",
            hint=_hint_for_family(family, folders),
            context={"family": model.family},
        )
    return model


def _title(family: str) -> str:
    return FAMILIES[family].title if family in FAMILIES else family


def _hint_for_family(family: Family, folders: Sequence[Path]) -> str:
    fitting = [model.name for model in find_controls(folders) if model.fits(family)]
    listed = ", ".join(fitting[:8])
    return (
        f"These are for {family.title}: {listed}." if fitting else f"There is none for {family.title} here."
    )


def _first_of_kind(kind: ControlKind, family: Family, folders: Sequence[Path]) -> ControlModel:
    models = find_controls(folders)
    fitting = [model for model in models if model.fits(family) and model.has_kind(kind)]
    if fitting:  # those of the very variant come first, then those for this kind before all
        return min(fitting, key=lambda model: (model.family != family.name, kind not in model.kinds[:1]))
    others = sorted({_title(model.family) for model in models if model.has_kind(kind)})
    if others:
        raise ControlFamilyError(
            f"There is a control of the kind {kind} for {', '.join(others)}, and none for {family.title}.",
            hint=_hint_for_family(family, folders),
        )
    raise ControlMissingError(f"There is no control of the kind {kind} for {family.title} on this machine.")


def find_control_by_name(name: str, folders: Sequence[Path], *, allow_paths: bool = True) -> ControlModel:
    """The control network with a name, for whatever family; see ``find_control``.

    Raises:
        ControlMissingError: There is none.
        ModelError: Its file cannot be used.
    """
    wanted = name.strip().removesuffix(_SUFFIX)
    candidates = list(_candidates(folders))
    for matches in (
        lambda each: each == wanted,
        lambda each: _last(each).casefold() == _last(wanted).casefold(),
    ):
        for each, path in candidates:
            if matches(each) and (model := _describe(each, path)) is not None:
                return model
    if allow_paths and (given := _given_path(name)) is not None:
        if (model := _describe(given.stem if given.is_file() else given.name, given)) is not None:
            return model
        raise CheckpointInvalidError(
            f"{given} holds no ControlNet or adapter that Safelight knows.",
            hint="safelight models show FILE says what a file holds.",
        )
    known = [model.name for model in find_controls(folders)]
    near = difflib.get_close_matches(wanted, known, 3, 0.4) or known[:5]
    raise ControlMissingError(
        f"There is no control {name!r} on this machine.",
        hint=f"There are {', '.join(near)}." if near else None,
        context={"name": name, "choices": known[:100]},
    )


def has_control(name: str, folders: Sequence[Path]) -> bool:
    """Whether there is a control network of a name in some folders."""
    try:
        find_control_by_name(name, folders, allow_paths=False)
    except ModelError:
        return False
    return True


def _given_path(name: str) -> Path | None:
    try:
        path = Path(name).expanduser().absolute()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    if exists and path.suffix.lower() in PICKLE_SUFFIXES:
        raise PickleRefusedError(f"{path} is a pickle file, which can run any code when opened.")
    return path if exists else None


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _candidates(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Names and paths of what may be a control network."""
    for root in folders:
        for listing in list_folders(root):
            if listing.is_diffusers:
                continue
            below = listing.folder.relative_to(root).as_posix()
            weights = [name for name in listing.files if name.endswith(_SUFFIX)]
            if any(name.startswith(_STEM) for name in weights) and (listing.folder / "config.json").is_file():
                yield (root.name if below == "." else below), listing.folder
                continue
            for name in weights:
                stem = name.removesuffix(_SUFFIX)
                yield (stem if below == "." else f"{below}/{stem}"), listing.folder / name


def _describe(name: str, path: Path) -> ControlModel | None:
    """The control network at a path; None for anything else."""
    if path.is_dir():
        return _describe_folder(name, path, file_version(path / "config.json"))
    return _describe_file(name, path, file_version(path))


@lru_cache(maxsize=5_000)
def _describe_folder(name: str, path: Path, version: FileVersion) -> ControlModel | None:
    config = read_json(path / "config.json")
    class_name = config.get("_class_name")
    architecture = next((each for each in ARCHITECTURES.values() if each.class_name == class_name), None)
    if architecture is None:
        return None
    files = read_network_folder(path, "controlnet", architecture.class_name)
    tensors = {key: entry for file in files.weights for key, entry in read_header(file).tensors.items()}
    found = recognise(tensors)
    versions = (version, *(file_version(file) for file in files.weights))
    if found is not None:
        architecture = ARCHITECTURES[found.architecture]
    family = architecture.family if found is None else found.family
    if is_packaged(path):
        family = FAMILY
    elif architecture.name == "controlnet-xs":
        width = config.get("cross_attention_dim")
        family = _FAMILIES_OF_WIDTHS.get(width, "") if isinstance(width, int) else ""
    return ControlModel(name, path, architecture, family, kinds_in(name), versions)


@lru_cache(maxsize=20_000)
def _describe_file(name: str, path: Path, version: FileVersion) -> ControlModel | None:
    header = read_header(path)
    found = header.derive(recognise)
    if found is None:
        return None
    if found.reason:
        raise ControlUnsupportedError(f"{name} {found.reason}.")
    architecture = ARCHITECTURES[found.architecture]
    if architecture.is_ip_adapter:
        kinds: tuple[ControlKind, ...] = ("ip-adapter",)
    else:
        kinds = kinds_in(path.stem) or kinds_in(_declared(header.metadata))
    return ControlModel(name, path, architecture, found.family, kinds, (version,))


def _declared(metadata: Mapping[str, str]) -> str:
    """What the makers wrote into the file by Stability AI's model specification."""
    return " ".join(metadata.get(f"modelspec.{key}", "") for key in ("architecture", "title", "description"))


def recognise_file(path: Path) -> tuple[str, str]:
    """The layout of a control network in a file, and the prefix of its tensors.

    Raises:
        CheckpointInvalidError: It is none.
    """
    found = read_header(path).derive(recognise)
    if found is None:
        raise CheckpointInvalidError(f"{path} holds no ControlNet or adapter that Safelight knows.")
    return found.layout, found.prefix
