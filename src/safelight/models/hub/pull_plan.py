"""What a pull is going to download, from where, and under which licence; nothing is downloaded yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from safelight.errors import DownloadError
from safelight.models.checkpoints.safetensors_header import PICKLE_SUFFIXES
from safelight.models.hub.file_download import RemoteFile
from safelight.models.hub.http_source import HttpSource
from safelight.models.inventory.file_kinds import Kind
from safelight.models.tokenizers.tokenizer_sources import TOKENIZERS_FOLDER

WEIGHTS_SUFFIXES = (".safetensors", ".gguf")
CONVERT_HINT = (
    "Download it with a browser, and make a safetensors file of it with: safelight models convert FILE"
)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


@dataclass(frozen=True)
class PullPlan:
    """The download of a model.

    Args:
        source: The server that it comes from.
        origin: The kind of the source.
        reference: What names exactly this version.
        title: Its name for people.
        name: The checkpoint's name, or the file's, in the data directory.
        licence: What the source says of its licence; empty if nothing.
        gated: Whether the source gives it only to those who accepted its terms.
        files: The files, whose sizes and digests are known.
        folder: Whether it is a folder: a diffusers folder, or a tokenizer.
        root: The folder of the data directory that a folder goes into.
        kind: What the source says it is; None if it does not.
        notes: What goes into the notes beside the file, as A1111 writes them.
        cached: Paths on this machine where the hub's libraries have such a file already, by its name.
    """

    source: HttpSource = field(repr=False)
    origin: Literal["hub", "civitai"]
    reference: str
    title: str
    name: str
    licence: str
    files: tuple[RemoteFile, ...]
    folder: bool = False
    root: str = "checkpoints"
    gated: bool = False
    kind: Kind | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    cached: Mapping[str, str] = field(default_factory=dict)

    @property
    def contents(self) -> str:
        """What it has, where the source says nothing."""
        return "tokenizer" if self.root == TOKENIZERS_FOLDER else "weights"

    @property
    def size(self) -> int:
        """Bytes of all files whose size is stated."""
        return sum(file.size or 0 for file in self.files)

    @property
    def file(self) -> str | None:
        """The file that was taken of a source's model; None for a folder."""
        return None if self.folder else self.files[0].name

    def patient(self, sleep: Callable[[float], object]) -> PullPlan:
        """The plan with a source for a download in the background; see ``HttpSource.patient``."""
        return replace(self, source=self.source.patient(sleep))

    def to_dict(self) -> dict[str, object]:
        """The plan for JSON output."""
        return {
            "origin": self.origin,
            "reference": self.reference,
            "title": self.title,
            "name": self.name,
            "kind": self.kind,
            "licence": self.licence,
            "gated": self.gated,
            "size": self.size,
            "trigger_words": self.notes.get("activation text", ""),
            "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in self.files],
        }


def is_pickle_name(name: str) -> bool:
    """Whether a file is a pickle, by its name."""
    return PurePosixPath(name).suffix.lower() in PICKLE_SUFFIXES


def checked_path(name: str) -> str:
    """A file's path in a repository, which cannot lead out of the folder it is put in.

    Raises:
        DownloadError: It could.
    """
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or _UNSAFE.search(name.replace("/", ""))
    if unsafe or not path.parts or any(part.startswith(".") for part in path.parts):
        raise DownloadError(f"The source names a file {name[:100]!r}, which is not written.")
    return str(path)


def checked_file_name(name: str) -> str:
    """A file name that a source states, without characters that some file system refuses.

    Raises:
        DownloadError: Nothing is left of it.
    """
    stem, dot, suffix = _UNSAFE.sub("_", name.strip()).lstrip(".").rpartition(".")
    if not stem.strip() or f"{dot}{suffix}".lower() not in WEIGHTS_SUFFIXES:
        raise DownloadError(
            f"The source names the file {name[:100]!r}, which is no safetensors or GGUF file."
        )
    return f"{stem.encode()[:200].decode(errors='ignore')}.{suffix.lower()}"
