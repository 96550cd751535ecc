"""The texts that name a model of a source: hub ids, CivitAI's numbers, addresses of pages, AIR urns, tokenizers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from safelight.errors import ModelReferenceError
from safelight.models.tokenizers.tokenizer_sources import TOKENIZER_PREFIX, TOKENIZER_SOURCES

_HUB = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w.][\w./-]*))?", re.ASCII)
_TOKENIZER = re.compile(rf"{TOKENIZER_PREFIX}(?P<name>[\w.-]+)(@(?P<revision>[\w.][\w./-]*))?", re.ASCII)
_CIVITAI = re.compile(r"civitai:(?P<model>\d{1,12})(@(?P<version>\d{1,12}))?", re.ASCII)
_AIR = re.compile(
    r"(urn:)?air:[\w.-]+:[\w.-]+:civitai:(?P<model>\d{1,12})(@(?P<version>\d{1,12}))?(\+\d{1,12})?",
    re.ASCII | re.I,
)
_CIVITAI_PAGE = re.compile(r"/models/(?P<model>\d{1,12})(/.*)?", re.ASCII)
_CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(?P<version>\d{1,12})", re.ASCII)
_HUB_PAGE = re.compile(
    r"/(?P<name>[\w.-]+/[\w.-]+)(/(tree|blob|resolve)/(?P<revision>[\w.-]+)(/(?P<file>.+))?)?/?", re.ASCII
)
_CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red")
_HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")


@dataclass(frozen=True)
class HubReference:
    """A repository of the hub, or a file of one.

    Args:
        name: owner/name.
        revision: A commit, branch or tag; None for the newest of the main branch.
        file: A file's path in the repository; None for the repository.
        tokenizer: The tokenizer in it that is wanted, by its name in ``TOKENIZER_SOURCES``; empty for models.
    """

    name: str
    revision: str | None = None
    file: str | None = None
    tokenizer: str = ""


@dataclass(frozen=True)
class CivitaiReference:
    """A model of CivitAI.

    Args:
        model: The model's number; None where only the version's is known.
        version: The version's number; None for the newest.
        file: A file's name; None for the version's main file.
    """

    model: int | None
    version: int | None = None
    file: str | None = None


Reference = HubReference | CivitaiReference


def parse_reference(text: str, file: str | None = None) -> Reference:
    """The model that a text names.

    Args:
        text: owner/name[@revision], civitai:MODEL[@VERSION], tokenizer:NAME[@REVISION], the address of a page, or an
            AIR urn.
        file: The file to take of it.

    Raises:
        ModelReferenceError: It names none.
    """
    text = text.strip()
    if text.startswith(("https://", "http://")):
        return _parse_page(text, file)
    if match := _CIVITAI.fullmatch(text) or _AIR.fullmatch(text):
        return CivitaiReference(
            int(match["model"]), int(match["version"]) if match["version"] else None, file
        )
    if match := _TOKENIZER.fullmatch(text):
        return _parse_tokenizer(match["name"], match["revision"], file)
    if match := _HUB.fullmatch(text):
        return HubReference(match["name"], match["revision"], file)
    raise ModelReferenceError(f"{text[:200]!r} names no model that can be pulled.")


def _parse_tokenizer(name: str, revision: str | None, file: str | None) -> HubReference:
    source = TOKENIZER_SOURCES.get(name)
    if source is None:
        raise ModelReferenceError(
            f"There is no tokenizer {name!r} to pull.",
            hint=f"There are: {', '.join(TOKENIZER_SOURCES)}. Those of CLIP, T5 and Qwen come with Safelight.",
        )
    if file is not None:
        raise ModelReferenceError("A tokenizer is pulled whole, without --file.")
    return HubReference(source.repository, revision or source.revision, tokenizer=name)


def _parse_page(text: str, file: str | None) -> Reference:
    url = urlsplit(text)
    host, path = url.hostname or "", unquote(url.path)
    if host in _CIVITAI_HOSTS:
        if match := _CIVITAI_DOWNLOAD.fullmatch(path):
            return CivitaiReference(None, int(match["version"]), file)
        if match := _CIVITAI_PAGE.fullmatch(path):
            version = parse_qs(url.query).get("modelVersionId", [""])[0]
            return CivitaiReference(int(match["model"]), int(version) if version.isdecimal() else None, file)
    if host in _HUB_HOSTS and (match := _HUB_PAGE.fullmatch(path)):
        return HubReference(match["name"], match["revision"], file or match["file"])
    raise ModelReferenceError(f"{text[:200]!r} is no page of a model.")
