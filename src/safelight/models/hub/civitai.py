"""Models of CivitAI by its public REST API (``/api/v1/models``, ``/api/v1/model-versions``).

Written from its published reference; not verified against the real service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from safelight.errors import DownloadError, DownloadMissingError, PickleRefusedError
from safelight.models.hub.file_download import RemoteFile
from safelight.models.hub.http_source import HttpSource
from safelight.models.hub.pull_plan import (
    CONVERT_HINT,
    WEIGHTS_SUFFIXES,
    PullPlan,
    checked_file_name,
    is_pickle_name,
)
from safelight.models.hub.references import CivitaiReference
from safelight.models.inventory.file_kinds import Kind

DEFAULT_URL = "https://civitai.com"
SIZE_TOLERANCE = 1024
"""Bytes; sizes are stated in KB, as fractions that may be rounded."""

_KINDS = MappingProxyType[str, Kind](
    {
        "checkpoint": "checkpoint",
        "lora": "LoRA",
        "locon": "LoRA",
        "dora": "LoRA",
        "textualinversion": "embedding",
        "vae": "autoencoder",
        "controlnet": "ControlNet",
        "upscaler": "upscaler",
    }
)
_FILE_KINDS = MappingProxyType[str, Kind]({"VAE": "autoencoder", "Text Encoder": "text encoder"})
_SHA256 = re.compile(r"[0-9a-f]{64}")

_JsonObject = Mapping[str, Any]


def plan_civitai_pull(reference: CivitaiReference, source: HttpSource) -> PullPlan:
    """What pulling a model downloads; asks the API.

    Raises:
        DownloadError: The API cannot be asked, or has no such model, or no file that can be taken.
        PickleRefusedError: The model exists as a pickle only.
    """
    model_id = reference.model
    if model_id is None:
        version = _object(source.get_json(f"/api/v1/model-versions/{reference.version}"))
        model_id = _number(version.get("modelId"))
    model = _object(source.get_json(f"/api/v1/models/{model_id}"))
    version = _find_version(model, reference)
    file = _find_file(version, reference)
    name = str(model.get("name") or model_id)
    version_id = _number(version.get("id"))
    return PullPlan(
        source=source,
        origin="civitai",
        reference=f"civitai:{model_id}@{version_id}",
        title=f"{name}, {version.get('name') or version_id}",
        name=checked_file_name(str(file.get("name") or "")).rpartition(".")[0],
        licence=_licence(model, version),
        files=(_remote_file(file, version_id, source),),
        kind=_kind(model, file),
        notes=_notes(model, version, f"{source.base_url}/models/{model_id}?modelVersionId={version_id}"),
    )


def _find_version(model: _JsonObject, reference: CivitaiReference) -> _JsonObject:
    versions = [_object(each) for each in model.get("modelVersions") or ()]
    for version in versions:
        if reference.version in (None, version.get("id")):
            return version
    wanted = f"version {reference.version}" if reference.version else "published version"
    raise DownloadMissingError(f"{model.get('name')} has no {wanted} on CivitAI.")


def _find_file(version: _JsonObject, reference: CivitaiReference) -> _JsonObject:
    """The file to take: the named one, else the main one among those of a format that is taken."""
    files = [_object(each) for each in version.get("files") or ()]
    if reference.file is not None:
        files = [each for each in files if each.get("name") == reference.file]
        if not files:
            raise DownloadMissingError(f"{version.get('name')} has no file {reference.file!r} on CivitAI.")
    else:
        files = [each for each in files if each.get("type") in ("Model", "Pruned Model", None)]
    usable = [each for each in files if str(each.get("name")).lower().endswith(WEIGHTS_SUFFIXES)]
    if usable:
        return max(usable, key=lambda each: bool(each.get("primary")))  # the first of equals
    if pickles := [each for each in files if is_pickle_name(str(each.get("name")))]:
        name = pickles[0].get("name")
        raise PickleRefusedError(f"{name} is a pickle, and there is no other file.", hint=CONVERT_HINT)
    raise DownloadMissingError(f"{version.get('name')} has no safetensors or GGUF file on CivitAI.")


def _remote_file(file: _JsonObject, version_id: int, source: HttpSource) -> RemoteFile:
    name = checked_file_name(str(file.get("name") or ""))
    digest = str(_object(file.get("hashes") or {}).get("SHA256") or "").lower()
    if not _SHA256.fullmatch(digest):
        raise DownloadError(
            f"CivitAI states no SHA-256 of {name}.", hint="It may not be scanned yet: try later."
        )
    kilobytes = file.get("sizeKB")
    size = round(kilobytes * 1024) if isinstance(kilobytes, int | float) and kilobytes > 0 else None
    # The address's host is the source's, whatever the description says: a token or a request goes nowhere else.
    address = urlsplit(str(file.get("downloadUrl") or ""))
    path = address.path if address.path.startswith("/api/download/") else f"/api/download/models/{version_id}"
    query = f"?{address.query}" if address.query else ""
    return RemoteFile(name, f"{source.base_url}{path}{query}", size, SIZE_TOLERANCE, digest)


def _kind(model: _JsonObject, file: _JsonObject) -> Kind:
    if kind := _FILE_KINDS.get(str(file.get("type"))):
        return kind
    found = _KINDS.get(str(model.get("type")).lower())
    if found is None:
        raise DownloadError(
            f"{model.get('name')} is a {model.get('type')} on CivitAI, which Safelight has no use for.",
            hint="Checkpoints, LoRAs, embeddings, VAEs, ControlNets and upscalers can be pulled.",
        )
    return found


def _licence(model: _JsonObject, version: _JsonObject) -> str:
    """What the creator allows, as CivitAI's flags say it."""
    commercial = model.get("allowCommercialUse")
    uses = [commercial] if isinstance(commercial, str) else [str(each) for each in commercial or ()]
    parts = [f"base model {version.get('baseModel') or 'not stated'}"]
    if "allowNoCredit" in model:
        parts.append("credit not needed" if model["allowNoCredit"] else "credit needed")
    if commercial is not None:
        parts.append(f"commercial use: {', '.join(uses) or 'None'}")
    if "allowDerivatives" in model:
        parts.append(f"derivatives {'allowed' if model['allowDerivatives'] else 'not allowed'}")
    if "allowDifferentLicense" in model:
        parts.append(
            f"other terms for derivatives {'allowed' if model['allowDifferentLicense'] else 'not allowed'}"
        )
    return "; ".join(parts)


def _notes(model: _JsonObject, version: _JsonObject, page: str) -> dict[str, object]:
    """The notes beside the file, in A1111's format."""
    base = str(version.get("baseModel") or "")
    words = [str(word).strip(" ,") for word in version.get("trainedWords") or ()]
    texts = [page, _preview_prompt(version)]
    return {
        "description": f"{model.get('name')}, {version.get('name')}",
        "sd version": _sd_version(base),
        "base model": base,
        "activation text": ", ".join(dict.fromkeys(filter(None, words))),
        "preferred weight": 0,
        "notes": "\n".join(filter(None, texts)),
    }


def _preview_prompt(version: _JsonObject) -> str:
    """The prompt of the first preview that states one."""
    for image in version.get("images") or ():
        meta = image.get("meta") if isinstance(image, dict) else None
        if isinstance(meta, dict) and isinstance(meta.get("prompt"), str):
            return f"Preview: {meta['prompt'][:2000]}"
    return ""


def _sd_version(base: str) -> str:
    """A1111's word for a base model: SD1, SD2, SDXL, SD3, or empty."""
    words = base.upper().replace(".", " ").split()
    if words[:1] == ["SDXL"] or base in ("Pony", "Illustrious", "NoobAI"):
        return "SDXL"
    return f"SD{words[1]}" if len(words) > 1 and words[0] == "SD" and words[1] in ("1", "2", "3") else ""


def _object(value: object) -> _JsonObject:
    if not isinstance(value, dict):
        raise DownloadError("CivitAI's answer is not understood.")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise DownloadError("CivitAI's answer is not understood: a number is missing.")
    return value
