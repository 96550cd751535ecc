"""Checkpoints by hub id, from the cache of the hub's libraries on this machine; pulled where the settings allow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safelight.errors import CheckpointInvalidError, CheckpointMissingError, FileMissingError
from safelight.logs import get_logger
from safelight.models.checkpoints.discovery import HubLookup, describe_checkpoint
from safelight.models.hub.pull import plan_pull, pull, source_of
from safelight.models.hub.references import HubReference
from safelight.settings import Settings


def hub_cache_folder() -> Path:
    """The cache folder of the Hugging Face libraries."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_lookup(
    settings: Settings | None = None,
    *,
    cache: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> HubLookup:
    """The function that ``discovery.find_checkpoint`` looks up hub ids with.

    Args:
        settings: Where ``allow_network`` is set in them, a repository that is not on this machine is pulled.
        cache: The hub's cache folder; the libraries' default when None.
        should_stop: Whether to stop pulling, or waiting for another process that does.
    """

    def look_up(name: str) -> Path:
        if settings is None or not settings.allow_network:
            return find_cached(name, cache)
        try:
            path = find_cached(name, cache)
            describe_checkpoint(
                path, name, kind="hub"
            )  # an interrupted download of theirs leaves a part of it
        except (CheckpointMissingError, CheckpointInvalidError, FileMissingError):
            return _pull(name, settings, should_stop)
        return path

    return look_up


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


def _pull(name: str, settings: Settings, should_stop: Callable[[], bool]) -> Path:
    """Pull a hub id's folder into the data directory.

    Raises:
        DownloadStoppedError: ``should_stop`` said so.
        DownloadError: No connection, no such repository, or no permission.
        CheckpointMissingError: The repository holds no checkpoint.
    """
    reference = HubReference(name)
    plan = plan_pull(reference, source_of(reference, settings))
    if plan is None or not plan.folder:
        raise CheckpointMissingError(f"{name} of the hub holds no diffusers checkpoint.")
    log = get_logger(__name__).bind(reference=plan.reference, bytes=plan.size)
    log.info("a checkpoint is pulled")
    tenths = 0

    def on_progress(done: int) -> None:
        nonlocal tenths
        if plan.size and (reached := 10 * done // plan.size) > tenths:
            tenths = reached
            log.info("a checkpoint is pulled", done=done)

    return pull(plan, settings, on_progress=on_progress, should_stop=should_stop).path
