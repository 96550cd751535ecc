"""Download classifiers from the Hugging Face hub; only called when the user asks for a model by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from safelight.errors import DownloadError
from safelight.models.classifiers.classifier_store import ModelSource
from safelight.models.hub.http_source import HttpSource


def download_classifier(source: ModelSource, folder: Path, hub: HttpSource | None = None) -> str:
    """Download a source's files into a folder and return the commit; a ``classifier_store.DownloadFunction``.

    Args:
        source: The files.
        folder: Where they go.
        hub: The hub's address and token; those of its libraries when None.

    Raises:
        DownloadError: No connection, no such repository, no such file, or no permission.
    """
    # A late import: it takes a quarter of a second, and most runs download nothing.
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    try:
        endpoint, token = (hub.base_url, hub.token or False) if hub else (None, None)
        api = HfApi(endpoint=endpoint, token=token)
        commit = str(api.model_info(source.repository, revision=source.revision).sha)
        for file in source.files:
            options = {"revision": commit, "local_dir": folder, "endpoint": endpoint, "token": token}
            hf_hub_download(source.repository, file, **options)
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(f"{source.repository} could not be fetched: {first_line}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's download metadata
    return commit
