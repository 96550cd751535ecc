"""Repositories of the Hugging Face hub: which files a pull takes, with the digests that the hub states.

``huggingface_hub`` asks the API. It does not download here: its downloads start anew in each process, and do not
compare what arrives with the stated SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from safelight.errors import (
    DownloadDeniedError,
    DownloadError,
    DownloadMissingError,
    ModelReferenceError,
    PickleRefusedError,
)
from safelight.models.checkpoints.diffusers_layout import INDEX_NAME
from safelight.models.hub.file_download import RemoteFile
from safelight.models.hub.http_source import TIMEOUT, HttpSource
from safelight.models.hub.pull_plan import (
    CONVERT_HINT,
    WEIGHTS_SUFFIXES,
    PullPlan,
    checked_file_name,
    checked_path,
    is_pickle_name,
)
from safelight.models.hub.references import HubReference
from safelight.models.hub.tokenizer_pull import tokenizer_files, tokenizer_plan

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

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
_HALF = ("*.fp16.*", "*.fp16-*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_url() -> str:
    """The hub's address as its libraries have it, without a slash at the end."""
    from huggingface_hub import constants  # a late import: it takes a quarter of a second

    return str(constants.ENDPOINT).rstrip("/")


def login_token() -> str | None:
    """The token of this user's login at the hub (``hf auth login``), if there is one."""
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token


def plan_hub_pull(reference: HubReference, source: HttpSource, cache: Path | None = None) -> PullPlan | None:
    """What pulling a repository or one of its files downloads; asks the hub.

    Args:
        reference: The repository, its revision, and a file of it.
        source: The hub.
        cache: The hub's cache folder on this machine; the libraries' default when None.

    Returns:
        The plan; None for a repository of a classifier, which ``classifier_download`` pulls.

    Raises:
        ModelReferenceError: The name is no hub id, or the file to take is not clear.
        DownloadError: No connection, no such repository, revision or file, or no permission.
        PickleRefusedError: The weights exist as a pickle only.
    """
    info = _model_info(reference, source)
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise DownloadError(f"{source.host} names no commit of {reference.name}.")
    siblings: dict[str, Any] = {each.rfilename: each for each in info.siblings or ()}
    if reference.tokenizer:
        taken = tokenizer_files(reference.tokenizer, list(siblings))
        remote = [_remote_file(siblings[name], reference.name, commit, source) for name in taken]
        gated = bool(info.gated)
        return tokenizer_plan(reference.tokenizer, source, commit, _licence(info), remote, gated=gated)
    names = _wanted_names(reference, list(siblings))
    if names is None:
        return None
    files = tuple(_remote_file(siblings[name], reference.name, commit, source) for name in names)
    folder = reference.file is None and INDEX_NAME in names
    return PullPlan(
        source=source,
        origin="hub",
        reference=f"{reference.name}@{commit}",
        title=reference.name,
        name=reference.name if folder else checked_file_name(PurePosixPath(names[0]).name).rpartition(".")[0],
        licence=_licence(info),
        gated=bool(info.gated),
        files=files,
        folder=folder,
        cached=_cached_paths(reference.name, commit, names, cache),
    )


def _wanted_names(reference: HubReference, names: Sequence[str]) -> list[str] | None:
    if reference.file is not None:
        return [_single_file(reference, names)]
    if INDEX_NAME in names:
        return _folder_files(reference.name, names)
    if {"config.json", "model.safetensors"} <= set(names):
        return None
    weights = [name for name in names if name.lower().endswith(WEIGHTS_SUFFIXES)]
    if len(weights) == 1:
        return weights
    if not weights and any(is_pickle_name(name) for name in names):
        raise PickleRefusedError(f"{reference.name} has its weights as pickles only.", hint=CONVERT_HINT)
    if not weights:
        raise DownloadMissingError(f"{reference.name} has no safetensors or GGUF file.")
    listed = ", ".join(weights[:12]) + (" …" if len(weights) > 12 else "")
    raise ModelReferenceError(
        f"{reference.name} has {len(weights)} files of weights.",
        hint=f"Choose one of them, with --file: {listed}",
    )


def _single_file(reference: HubReference, names: Sequence[str]) -> str:
    wanted = str(reference.file)
    if wanted not in names:
        same = [name for name in names if PurePosixPath(name).name == wanted]
        if len(same) != 1:
            raise DownloadMissingError(f"{reference.name} has no file {wanted!r}.")
        wanted = same[0]
    if is_pickle_name(wanted):
        raise PickleRefusedError(f"{wanted} is a pickle.", hint=CONVERT_HINT)
    return wanted


def _folder_files(repository: str, names: Sequence[str]) -> list[str]:
    """The files of a diffusers folder that generating needs, the index last.

    Raises:
        PickleRefusedError: A component's weights exist as a pickle only.
    """
    allowed = [name for name in names if _matches(name, ALLOW_PATTERNS)]
    wanted = [name for name in allowed if not _matches(name, IGNORE_PATTERNS)]
    never = [pattern for pattern in IGNORE_PATTERNS if pattern not in _HALF]
    loaded = {_folder(name) for name in wanted if name.endswith(".safetensors")}
    wanted += [  # half precision where there is no other
        name
        for name in allowed
        if _matches(name, _HALF) and not _matches(name, never) and _folder(name) not in loaded
    ]
    complete = {_folder(name) for name in wanted if name.endswith(".safetensors")}
    pickles = (name for name in names if is_pickle_name(name) and not _matches(name, never))
    if missing := sorted({_folder(name) for name in pickles if "/" in name} - complete):
        raise PickleRefusedError(f"{repository} has {', '.join(missing)} as pickles only.", hint=CONVERT_HINT)
    return sorted(wanted, key=lambda name: (name == INDEX_NAME, name))


def _remote_file(sibling: Any, repository: str, commit: str, source: HttpSource) -> RemoteFile:
    name = checked_path(sibling.rfilename)
    digest = str(sibling.lfs.sha256).lower() if sibling.lfs else None
    if digest is None and not sibling.blob_id:
        raise DownloadError(f"{source.host} states no digest of {name}.")
    url = f"{source.base_url}/{repository}/resolve/{commit}/{quote(name)}"
    return RemoteFile(name, url, sibling.size, sha256=digest, git_oid=None if digest else sibling.blob_id)


def _model_info(reference: HubReference, source: HttpSource) -> ModelInfo:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = reference.name, reference.revision
    try:
        api = HfApi(endpoint=source.base_url, token=source.token or False)
        return api.model_info(
            name, revision=revision, files_metadata=True, timeout=min(TIMEOUT, source.timeout)
        )
    except HFValidationError as error:
        raise ModelReferenceError(f"{name!r} is no name of the hub.") from error
    except GatedRepoError as error:
        raise DownloadDeniedError(f"{name} is given only to those who accepted its terms.") from error
    except RevisionNotFoundError as error:
        raise DownloadMissingError(f"{name} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:  # the hub does not say whether a private one exists
        raise DownloadMissingError(
            f"{source.host} has no model {name}, or shows it only with a token.",
            hint="Check the name; for a private or gated model give a token with --token-file.",
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise DownloadDeniedError(f"{source.host} does not show {name} (status {status}).") from error
        wait = error.response.headers.get("Retry-After", "")
        more = f" It asks to wait {wait} seconds." if wait.isdecimal() else ""
        raise DownloadError(f"{source.host} answers with the status {status}.{more}") from error
    except OfflineModeIsEnabled as error:
        raise DownloadError(f"{name} is not asked for: HF_HUB_OFFLINE is set.") from error
    except (HTTPError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # The last three are what the library raises where an answer lacks a part.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DownloadError(f"The hub does not tell of {name}: {lines[0]}") from error


def _licence(info: ModelInfo) -> str:
    card: Mapping[str, Any] = info.card_data.to_dict() if info.card_data else {}
    words = [card.get(key) for key in ("license", "license_name", "license_link")]
    stated = [str(word) for word in words if isinstance(word, str) and word]
    if not stated:
        stated = [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
    return ", ".join(dict.fromkeys(stated))


def _cached_paths(repository: str, commit: str, names: Sequence[str], cache: Path | None) -> dict[str, str]:
    """Files of this commit that the hub's libraries have downloaded already."""
    from huggingface_hub import try_to_load_from_cache

    found = {
        name: try_to_load_from_cache(repository, name, cache_dir=cache, revision=commit) for name in names
    }
    return {name: path for name, path in found.items() if isinstance(path, str)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
