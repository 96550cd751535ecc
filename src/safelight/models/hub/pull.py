"""Pull a model: plan it, download its files under temporary names, check them, and put them where their kind belongs.

Files arrive in ``.downloads`` in the folder that they are going to, so that moving them is one step; nothing reads
hidden folders. A pull that was cut off, also by the end of its process, continues there. What is not taken up again is
deleted after a week. Of several that pull one model at once, in any process, one downloads; the others wait for it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from safelight.atomic_write import atomic_write, path_exists, sha256_of
from safelight.errors import (
    CheckpointInvalidError,
    DigestMismatchError,
    DownloadStoppedError,
    OutputError,
    OutputExistsError,
    SafelightError,
)
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder
from safelight.models.checkpoints.discovery import describe_checkpoint
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.digests import file_digest, remember_digest
from safelight.models.hub.civitai import plan_civitai_pull
from safelight.models.hub.file_download import RemoteFile, download_file, git_blob_digest
from safelight.models.hub.http_source import HttpSource
from safelight.models.hub.hub_repository import hub_url, login_token, plan_hub_pull
from safelight.models.hub.pull_plan import PullPlan
from safelight.models.hub.references import CivitaiReference, Reference
from safelight.models.hub.tokens import read_token
from safelight.models.inventory.file_kinds import FileKind, Kind, identify
from safelight.models.inventory.kind_folders import KIND_FOLDERS, kind_folder
from safelight.models.inventory.staging import (
    FREE_SPACE,
    STAGING,
    delete_abandoned,
    move_file,
    remove_if_empty,
)
from safelight.models.tokenizers.tokenizer_sources import TOKENIZERS_FOLDER
from safelight.settings import Settings

RECORD = ".safelight.json"
"""What a pulled diffusers folder says of its origin; hidden, so that nothing takes it for a part."""
LOCKS = "pulls"
"""The folder of locks in the cache folder."""
LOCK_SECONDS = 0.5
"""How long a lock is waited for before the next question whether to stop."""


@dataclass(frozen=True)
class Pulled:
    """A model that was pulled.

    Args:
        path: The file or the diffusers folder.
        name: Its name.
        kind: What it is, by its content.
        family: Its family, where the content tells.
        reference: What names exactly this version at its source.
        size: Bytes of all files.
        files: SHA-256 by file name.
        present: It was there already, and nothing was downloaded.
        remarks: What its user should know.
    """

    path: Path
    name: str
    kind: str
    family: str | None
    reference: str
    size: int
    files: Mapping[str, str]
    present: bool = False
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The model for JSON output."""
        return {
            "path": str(self.path),
            "name": self.name,
            "kind": self.kind,
            "family": self.family,
            "reference": self.reference,
            "size": self.size,
            "files": dict(self.files),
            "present": self.present,
            "remarks": list(self.remarks),
        }


def source_of(reference: Reference, settings: Settings, token_file: Path | None = None) -> HttpSource:
    """The server of a model, with the token for it.

    Args:
        reference: The model.
        settings: Addresses and token files of the sources.
        token_file: Takes the place of the setting.

    Raises:
        SettingsError: The token file cannot be used.
    """
    if isinstance(reference, CivitaiReference):
        file = token_file or settings.civitai_token_file
        return HttpSource(settings.civitai_url, read_token(file) if file else None)
    file = token_file or settings.hub_token_file
    if file:
        return HttpSource(settings.hub_url or hub_url(), read_token(file))
    # The login's token is for the address that the hub's own libraries use, and for no other.
    return HttpSource(settings.hub_url) if settings.hub_url else HttpSource(hub_url(), login_token())


def plan_pull(reference: Reference, source: HttpSource) -> PullPlan | None:
    """What pulling a model downloads; asks its source, and downloads nothing. None for a classifier of the hub.

    Raises:
        ModelReferenceError, PickleRefusedError, DownloadError: It cannot be pulled.
    """
    if isinstance(reference, CivitaiReference):
        return plan_civitai_pull(reference, source)
    return plan_hub_pull(reference, source)


def pull(
    plan: PullPlan,
    settings: Settings,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Pulled:
    """Download what a plan says, unless it is there already; while another pull does, wait for it.

    Args:
        plan: From ``plan_pull``.
        settings: The data directory, and the cache of digests.
        on_progress: Called with the bytes of all files that are there.
        should_stop: Whether to stop; what has arrived is kept for another time.

    Raises:
        OutputExistsError: Something else has the name; nothing was downloaded.
        OutputError: The disk is full or cannot be written.
        DownloadError, DigestMismatchError: As in ``download_file``.
    """
    try:
        with _locked(plan, settings.cache_folder / LOCKS, should_stop):
            return _Pull(plan, settings, on_progress, should_stop).run()
    except OSError as error:
        raise OutputError(
            f"{error.filename or settings.home} cannot be written: {error.strerror}."
        ) from error


@contextmanager
def _locked(plan: PullPlan, folder: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let no other pull of the same files run, in any process that shares the data directory.

    Raises:
        DownloadStoppedError: ``should_stop`` said so while another pull ran.
        OSError: The lock's file cannot be written.
    """
    create_private_folder(folder)
    key = json.dumps([plan.reference, sorted(file.name for file in plan.files)])
    lock = FileLock(folder / hashlib.sha256(key.encode()).hexdigest()[:32])
    while not lock.acquire(plan.title, timeout=LOCK_SECONDS):
        if should_stop():
            raise DownloadStoppedError
    try:
        yield
    finally:
        lock.release()


@dataclass
class _Pull:
    plan: PullPlan
    settings: Settings
    on_progress: Callable[[int], None]
    should_stop: Callable[[], bool]

    def run(self) -> Pulled:
        return self._pull_folder() if self.plan.folder else self._pull_file(self.plan.files[0])

    # One file.

    def _pull_file(self, file: RemoteFile) -> Pulled:
        expected: Kind = self.plan.kind or "checkpoint"
        name = f"{self.plan.name}.{file.name.rpartition('.')[2].lower()}"
        present = self._find_present(name, file)
        if present is not None:
            return present
        self._refuse_existing(name)
        staging = kind_folder(self.settings.home, expected) / STAGING
        delete_abandoned(staging)
        temporary = staging / f"{file.sha256 or file.git_oid}-{name}.part"
        digest = self._download(file, temporary, 0)
        checked = temporary.with_suffix("")  # with its own suffix, as the reader of headers wants it
        temporary.replace(checked)
        try:
            kind, family, remarks = self._identify(checked, expected)
        except SafelightError as error:
            checked.unlink()
            raise DigestMismatchError(
                f"{file.name} is no file of weights: {error.message}", hint=""
            ) from error
        target = _free_path(kind_folder(self.settings.home, kind) / name)
        if target.name != name:  # it appeared meanwhile, or lies where the source's word does not lead
            remarks.append(f"{name} is there already with other content: this one is called {target.name}.")
        move_file(checked, target)
        remove_if_empty(staging)
        remember_digest(target, digest, self.settings.cache_folder)
        if self.plan.notes:
            remarks += self._write_notes(target)
        return self._pulled(target, kind, family, {file.name: digest}, remarks=tuple(remarks))

    def _find_present(self, name: str, file: RemoteFile) -> Pulled | None:
        """The file where it was pulled before, in the folder of any kind."""
        for path in self._namesakes(name):
            if file.size is not None and abs(path.stat().st_size - file.size) > file.size_tolerance:
                continue
            digest = file_digest(path, self.settings.cache_folder)
            if digest == file.sha256 or (file.git_oid and git_blob_digest(path) == file.git_oid):
                found = _identify(path)
                kind, family = (found.kind, found.family) if found else (self.plan.kind or "unknown", None)
                return self._pulled(path, kind, family, {file.name: digest}, present=True)
        return None

    def _namesakes(self, name: str) -> Iterator[Path]:
        """Files of a name, or with a number after it, in the folders of all kinds."""
        stem, _, suffix = name.rpartition(".")
        for folder in dict.fromkeys(KIND_FOLDERS.values()):
            place = self.settings.home / folder
            if path_exists(place / name):
                yield place / name
            yield from place.glob(f"{glob.escape(stem)} ([0-9]*).{suffix}")

    def _refuse_existing(self, name: str) -> None:
        """Refuse a name that is taken in the folder of the plan's kind, or in any if the source states none."""
        kinds = KIND_FOLDERS if self.plan.kind is None else (self.plan.kind,)
        for kind in kinds:
            path = kind_folder(self.settings.home, kind) / name
            if path_exists(path):
                raise OutputExistsError(
                    f"{path} is another file.",
                    hint="Rename it, or delete it with: safelight models remove NAME",
                )

    def _identify(self, path: Path, expected: Kind) -> tuple[Kind, str | None, list[str]]:
        """What a file is by its content; what the source says only where the content does not tell."""
        if path.suffix == ".gguf" and not _is_gguf(path):
            raise CheckpointInvalidError(f"{path.name} is no GGUF file.")
        found = _identify(path)
        if found is None or found.kind == "unknown":
            return expected, None, ["What it is cannot be told from its content."]
        alike = {found.kind, expected} <= {"checkpoint", "denoiser"} or self.plan.kind is None
        remark = f"The source calls it {_article(expected)}; by its content it is {_article(found.kind)}."
        return found.kind, found.family, [] if alike or found.kind == expected else [remark]

    def _write_notes(self, target: Path) -> list[str]:
        path = target.with_suffix(".json")
        if path_exists(path):
            return [f"{path.name} was there already and stays as it is."]
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.plan.notes, indent=1, ensure_ascii=False), encoding="utf-8")
        return []

    # A diffusers folder.

    def _pull_folder(self) -> Pulled:
        root = self.settings.home / self.plan.root
        target = root / self.plan.name
        if path_exists(target):
            record = _read_record(target)
            if record is None:
                raise OutputExistsError(
                    f"{target} was not pulled, and is not replaced.", hint="Rename or remove it."
                )
            reference, digests = record
            if reference == self.plan.reference and self._is_complete(target):
                return self._describe_folder(target, digests, present=True)
        delete_abandoned(root / STAGING)
        self._check_space(root)
        staging = root / STAGING / self.plan.reference.replace("/", "--").replace(":", "--")
        digests, done = {}, 0  # by file name
        for file in self.plan.files:
            digests[file.name] = self._stage(file, staging / "files" / file.name, staging, done)
            done += file.size or 0
        record_text = json.dumps(
            {"reference": self.plan.reference, "licence": self.plan.licence, "files": digests}
        )
        (staging / "files" / RECORD).write_text(record_text, encoding="utf-8")
        _replace_folder(staging / "files", target)
        shutil.rmtree(staging, ignore_errors=True)
        remove_if_empty(root / STAGING)
        for name, digest in digests.items():
            remember_digest(target / name, digest, self.settings.cache_folder)
        return self._describe_folder(target, digests)

    def _stage(self, file: RemoteFile, path: Path, staging: Path, done: int) -> str:
        """Put a checked file into the staging folder; one that is there was checked by an earlier pull."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            temporary = staging / f"{file.sha256 or file.git_oid}.part"
            digest = self._download(file, temporary, done)
            temporary.replace(path)
        else:
            digest = file.sha256 or sha256_of(path)
        self.on_progress(done + (file.size or 0))
        return digest

    def _is_complete(self, folder: Path) -> bool:
        sizes = {file.name: file.size for file in self.plan.files}
        return all(
            path_exists(folder / name) and size in (None, (folder / name).stat().st_size)
            for name, size in sizes.items()
        )

    def _check_space(self, root: Path) -> None:
        """Refuse a folder that cannot fit, before its first file."""
        root.mkdir(parents=True, exist_ok=True)
        staging = root / STAGING / self.plan.reference.replace("/", "--").replace(":", "--")
        present = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        missing = self.plan.size - present - (shutil.disk_usage(root).free - FREE_SPACE)
        if missing > 0:
            raise OutputError(
                f"The disk of {root} has too little space for {self.plan.title}: "
                f"{missing / 1e6:,.0f} MB more are needed.",
                hint="Free space on it; what has arrived is kept.",
            )

    def _describe_folder(self, path: Path, digests: Mapping[str, str], *, present: bool = False) -> Pulled:
        remarks: tuple[str, ...] = ()
        family = None
        if self.plan.root == TOKENIZERS_FOLDER:
            return self._pulled(path, "tokenizer", None, digests, present=present)
        try:
            family = describe_checkpoint(path, self.plan.name).family.key
        except SafelightError as error:
            remarks = (f"It cannot be used: {error.message}",)
        return self._pulled(path, "checkpoint", family, digests, present=present, remarks=remarks)

    # Both.

    def _download(self, file: RemoteFile, temporary: Path, done: int) -> str:
        cached = self.plan.cached.get(file.name)
        if cached is not None and (digest := _copy_cached(Path(cached), file, temporary)):
            return digest
        return download_file(
            self.plan.source,
            file,
            temporary,
            on_progress=lambda size: self.on_progress(done + size),
            should_stop=self.should_stop,
        )

    def _pulled(
        self,
        path: Path,
        kind: str,
        family: str | None,
        digests: Mapping[str, str],
        *,
        present: bool = False,
        remarks: tuple[str, ...] = (),
    ) -> Pulled:
        size = sum((path / name if self.plan.folder else path).stat().st_size for name in digests)
        return Pulled(
            path,
            self.plan.name if self.plan.folder else path.stem,
            kind,
            family,
            self.plan.reference,
            size,
            digests,
            present=present,
            remarks=remarks,
        )


def _identify(path: Path) -> FileKind | None:
    """What a file is; None for a GGUF file whose header is not understood.

    Raises:
        SafelightError: It is no file of weights.
    """
    try:
        return identify(read_header(path))
    except SafelightError:
        if path.suffix != ".gguf":
            raise
        return None


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _copy_cached(cached: Path, file: RemoteFile, temporary: Path) -> str | None:
    """Take a file from the cache of the hub's libraries, without a second copy where the disk is the same.

    Returns:
        Its digest; None if it is not the file that is wanted.
    """
    try:
        digest = sha256_of(cached)
        if file.sha256 != digest:  # small files have no SHA-256 and are downloaded
            return None
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            os.link(cached.resolve(), temporary)
        except OSError:
            shutil.copyfile(cached, temporary)
    except OSError:
        return None
    return digest


def _read_record(folder: Path) -> tuple[str, dict[str, str]] | None:
    """The reference and the digests of a folder that was pulled."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return str(record["reference"]), {str(name): str(digest) for name, digest in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _free_path(path: Path) -> Path:
    """The path, with a number after the name where it is taken."""
    numbered = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
    return path if not path_exists(path) else next(each for each in numbered if not path_exists(each))


def _replace_folder(new: Path, target: Path) -> None:
    """Put a folder in the place of another, which is renamed first, so that none is ever half there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiouIu" else f"a {kind}"
