"""What pulling a tokenizer downloads: a few files of one folder of a hub repository, and no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from safelight.errors import DigestMismatchError, DownloadError, DownloadMissingError
from safelight.models.hub.file_download import RemoteFile
from safelight.models.hub.http_source import HttpSource
from safelight.models.hub.pull_plan import PullPlan
from safelight.models.tokenizers.tokenizer_sources import (
    TOKENIZER_FILES,
    TOKENIZER_PREFIX,
    TOKENIZER_SOURCES,
    TOKENIZERS_FOLDER,
    TokenizerSource,
)

MAX_BYTES = 64 * 1024 * 1024
"""More than any tokenizer has."""
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def tokenizer_files(name: str, files: Sequence[str]) -> list[str]:
    """The files of a repository that make up a tokenizer, in order.

    Args:
        name: A key of ``TOKENIZER_SOURCES``.
        files: The repository's files.

    Raises:
        DownloadMissingError: It has none.
    """
    source = TOKENIZER_SOURCES[name]
    found = [path for each in TOKENIZER_FILES if (path := _path(source, each)) in files]
    if not any(path.rpartition("/")[2] in _VOCABULARIES for path in found):
        raise DownloadMissingError(
            f"{source.repository} has no tokenizer in {source.folder or 'its folder'}."
        )
    return found


def tokenizer_plan(
    name: str, source: HttpSource, commit: str, licence: str, files: Sequence[RemoteFile], *, gated: bool
) -> PullPlan:
    """The plan of a tokenizer's pull.

    Args:
        name: A key of ``TOKENIZER_SOURCES``.
        source: The hub.
        commit: The repository's commit.
        licence: What the repository says of its licence.
        files: The files, with the digests that the hub states.
        gated: Whether the repository is given only to those who accepted its terms.

    Raises:
        DigestMismatchError: The hub states another digest than the one that is known.
        DownloadError: The files are too large for a tokenizer.
    """
    wanted = TOKENIZER_SOURCES[name]
    if sum(file.size or 0 for file in files) > MAX_BYTES:
        raise DownloadError(f"{wanted.repository} has files that are too large for a tokenizer.")
    return PullPlan(
        source=source,
        origin="hub",
        reference=f"{TOKENIZER_PREFIX}{name}@{commit}",
        title=f"{wanted.title}, of {wanted.repository}",
        name=name,
        licence="; ".join(each for each in (licence, wanted.terms) if each),
        gated=gated,
        files=tuple(_checked(file, wanted.sha256) for file in files),
        folder=True,
        root=TOKENIZERS_FOLDER,
    )


def _checked(file: RemoteFile, known: Mapping[str, Any]) -> RemoteFile:
    """A file by its own name, with the digest that is known of it where the hub states none in SHA-256."""
    name = file.name.rpartition("/")[2]
    pinned = known.get(name)
    if pinned is not None and file.sha256 not in (None, pinned):
        raise DigestMismatchError(f"The hub states the SHA-256 {file.sha256} of {name}, not {pinned}.")
    return replace(file, name=name, sha256=pinned or file.sha256)


def _path(source: TokenizerSource, file: str) -> str:
    return f"{source.folder}/{file}" if source.folder else file
