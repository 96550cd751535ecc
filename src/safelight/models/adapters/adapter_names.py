"""Find LoRAs and textual inversions by the names that people use; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Literal

from safelight.errors import AdapterAmbiguousError, AdapterMissingError, SafelightError
from safelight.models.checkpoints.folder_walk import WEIGHTS_SUFFIXES, walk_weights
from safelight.models.checkpoints.safetensors_header import (
    PICKLE_SUFFIXES,
    check_not_pickle_name,
    read_header,
)
from safelight.models.digests import FileVersion, file_version
from safelight.models.inventory.file_kinds import Kind, identify

AdapterKind = Literal["LoRA", "embedding"]
MAX_LISTED = 8
"""Most files of one name that an error lists."""


@dataclass(frozen=True)
class NamedAdapter:
    """A LoRA or a textual inversion by its names.

    Args:
        path: Its file.
        name: The file's name without its suffix, by which A1111 calls it.
        place: The path below the folder of models, without its suffix and with slashes.
        alias: The name that its trainer gave it (``ss_output_name``); "" if there is none.
    """

    path: Path
    name: str
    place: str
    alias: str


def list_adapters(
    folders: Sequence[Path], kind: AdapterKind, *, texts: Iterable[str] | None = None
) -> tuple[NamedAdapter, ...]:
    """The adapters of a kind in folders, each file once; a file's header is read once until it changes.

    Args:
        folders: The folders with weights, as ``inventory.kind_folders.weights_folders`` gives them.
        kind: Which of the two.
        texts: List only files whose names occur in one of these, in any case; the headers of others are not read,
            which takes seconds where there are thousands.
    """
    files = files_of_weights(folders)
    if texts is not None:
        folded = [text.casefold() for text in texts]
        files = (each for each in files if any(each.name.casefold() in text for text in folded))
    return tuple(_with_alias(each) for each in files if (found := _named(each)) and found[0] == kind)


def find_adapter(
    name: str, folders: Sequence[Path], kind: AdapterKind, *, allow_paths: bool = False
) -> NamedAdapter:
    """The adapter of a name.

    In this order: a path, where those are accepted; a path below a folder, as in style/name; a file's name; both again
    in any case; the name that its trainer gave it. The file's suffix may be left out. What has the name and is of
    another kind is not meant.

    Args:
        name: What the user calls it.
        folders: The folders with weights.
        kind: Which of the two.
        allow_paths: Accept absolute paths; a server does not.

    Raises:
        AdapterMissingError: None has the name.
        AdapterAmbiguousError: Several have it.
        PickleRefusedError: It is a pickle.
    """
    given = _expand(name)
    if allow_paths and given.is_absolute() and given.is_file():
        check_not_pickle_name(given)
        return _with_alias(NamedAdapter(given, given.stem, given.stem, ""))
    candidates = list(files_of_weights(folders))
    wanted = name.replace("\\", "/")
    pickle: Path | None = None
    for exact, rule in product((True, False), ("place", "name")):
        found = [each for each in candidates if _matches(wanted, each, rule=rule, exact=exact)]
        own = [each for each in found if (known := _named(each)) and known[0] == kind]
        if own:
            return _with_alias(_only(own, name))
        pickle = next((each.path for each in found if each.path.suffix.lower() in PICKLE_SUFFIXES), pickle)
    if pickle:
        check_not_pickle_name(pickle)
    aliased = [each for each in list_adapters(folders, kind) if _same(wanted, each.alias)]
    if aliased:
        return _only(aliased, name)
    raise _missing(name, folders, kind)


def _only(found: Sequence[NamedAdapter], name: str) -> NamedAdapter:
    if len(found) > 1:
        listed = ", ".join(str(each.path) for each in found[:MAX_LISTED])
        raise AdapterAmbiguousError(f"{len(found)} files are called {name}: {listed}.")
    return found[0]


def _expand(name: str) -> Path:
    """A name as a path; ~ stays where it cannot be replaced."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _matches(wanted: str, adapter: NamedAdapter, *, rule: str, exact: bool) -> bool:
    """Whether a name is an adapter's: that of its file, or its path below the folder."""
    own = adapter.place if rule == "place" else adapter.name
    names = (own, own + adapter.path.suffix)
    return wanted in names if exact else any(_same(wanted, name) for name in names)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def files_of_weights(folders: Sequence[Path]) -> Iterator[NamedAdapter]:
    """All files of weights in folders, each once, of whatever kind; aliases are not read."""
    seen = set()
    for folder in folders:
        for path in walk_weights(folder, WEIGHTS_SUFFIXES):
            if path not in seen and path.suffix.lower() in WEIGHTS_SUFFIXES and not path.is_dir():
                seen.add(path)
                place = path.relative_to(folder).with_suffix("").as_posix()
                yield NamedAdapter(path, path.stem, place, "")


def _with_alias(adapter: NamedAdapter) -> NamedAdapter:
    found = _named(adapter)
    return NamedAdapter(adapter.path, adapter.name, adapter.place, found[1] if found else "")


def _named(adapter: NamedAdapter) -> tuple[Kind, str] | None:
    """A file's kind and alias; None if it cannot be read."""
    try:
        return _read_names(adapter.path, file_version(adapter.path))
    except SafelightError:
        return None


@lru_cache(maxsize=20_000)
def _read_names(path: Path, _: FileVersion) -> tuple[Kind, str] | None:
    try:
        header = read_header(path)
    except SafelightError:
        return None
    return identify(header).kind, header.metadata.get("ss_output_name", "")


def _missing(name: str, folders: Sequence[Path], kind: AdapterKind) -> AdapterMissingError:
    known = [each.name for each in list_adapters(folders, kind)]
    by_case = {each.casefold(): each for each in known}
    near = [by_case[each] for each in get_close_matches(name.casefold(), by_case, n=3)]
    what = "LoRA" if kind == "LoRA" else "embedding"
    hint = f"There are: {', '.join(near)}." if near else None
    return AdapterMissingError(f"There is no {what} called {name}.", hint=hint, context={"near": near})
