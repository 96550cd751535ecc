"""Checkpoints by hub id, from the Hugging Face cache on this machine; downloaded into it when the caller allows it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from safelight.errors import CheckpointMissingError, DownloadError
from safelight.models.checkpoints.discovery import HubLookup

ALLOW_PATTERNS = ["model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.jinja", "*/*.safetensors"]
IGNORE_PATTERNS = [
    "*.fp16.*",
    "*.fp16-*",
    "*.non_ema.*",
    "*flax*",
    "*openvino*",
    "safety_checker/*",
    "image_encoder/*",
]
"""The same weights in other formats, and components that are never loaded."""


def hub_cache_folder() -> Path:
    """The cache folder of the Hugging Face libraries."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_lookup(*, allow_network: bool = False, cache: Path | None = None) -> HubLookup:
    """The function that ``discovery.find_checkpoint`` looks up hub ids with.

    Args:
        allow_network: Download a repository that is not on this machine.
        cache: The hub's cache folder; the libraries' default when None.
    """
    return partial(download if allow_network else find_cached, cache=cache)


def find_cached(name: str, cache: Path | None = None) -> Path:
    """Find a hub id's folder on this machine, without using the network.

    Raises:
        CheckpointMissingError: It is not on this machine.
    """
    from huggingface_hub import snapshot_download  # a late import: it takes a quarter of a second
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise CheckpointMissingError(
            f"The checkpoint {name!r} is not on this machine, and nothing is fetched unless you ask.",
            hint=f"Fetch it once with: safelight models pull {name}",
        ) from error


def remove_cached(name: str, cache: Path | None = None) -> None:
    """Delete every revision of a hub id's files from this machine.

    Raises:
        CheckpointMissingError: There are no such files.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(cache)
    except CacheNotFound as error:
        raise CheckpointMissingError(f"There is no checkpoint {name!r} on this machine.") from error
    versions = [
        revision.commit_hash
        for repository in found.repos
        if repository.repo_id == name and repository.repo_type == "model"
        for revision in repository.revisions
    ]
    if not versions:
        raise CheckpointMissingError(f"There is no checkpoint {name!r} on this machine.")
    found.delete_revisions(*versions).execute()


def download(name: str, cache: Path | None = None) -> Path:
    """Return a hub id's folder; download it if it is missing or incomplete.

    Raises:
        DownloadError: No connection, no such repository, or no permission.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    try:
        return Path(
            snapshot_download(
                name, cache_dir=cache, allow_patterns=ALLOW_PATTERNS, ignore_patterns=IGNORE_PATTERNS
            )
        )
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DownloadError(f"{name} could not be fetched: {lines[0]}") from error
