"""The gallery: picture files on disk, and their metadata in the database."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, RowMapping, delete, func, select, update

from safelight.database.engine import read_transaction, write_transaction
from safelight.errors import (
    BlockedError,
    EntryFileMissingError,
    EntryMissingError,
    GalleryError,
    SafelightError,
)
from safelight.gallery.archive import LEFT_OUT_NAME, write_archive
from safelight.gallery.bulk import BulkChange, BulkResult, delete_entries, mark_entries
from safelight.gallery.changes import GalleryChange, record_change
from safelight.gallery.collections import Collections
from safelight.gallery.embeddings import (
    StoredEmbedding,
    get_embedding,
    list_embedding_numbers,
    list_embeddings,
)
from safelight.gallery.entry import (
    MAX_TAGS,
    Embedding,
    Entry,
    Facets,
    NewEntry,
    Page,
    Search,
    Tag,
    relative_path,
)
from safelight.gallery.entry_ids import is_entry_id, make_entry_id, make_entry_key
from safelight.gallery.files import ImageFolder
from safelight.gallery.mapping import ENTRY_QUERY, get_row, insert_entry, replace_tags, sanitize, to_entries
from safelight.gallery.repair import RepairReport, repair
from safelight.gallery.search import facets, search, visible_to
from safelight.gallery.tables import entries, entry_adapters, keys
from safelight.gallery.thumbnails import ThumbnailCache
from safelight.moderation.policy import Decision
from safelight.validation import first_problem

_TAGS = TypeAdapter(list[Tag])
_EXPIRE_BATCH = 200
_HOUR = timedelta(hours=1)


class Gallery:
    """The gallery. Several processes, on several hosts with a shared folder, may use it at once.

    Every method with an owner sees only that owner's entries and treats all others as missing; None sees all.

    Args:
        engine: The database, with the tables of ``gallery.SCHEMA``.
        home: The data directory: pictures go to ``gallery/``, thumbnails to ``cache/thumbnails/``.
    """

    def __init__(self, engine: Engine, home: Path) -> None:
        self._engine = engine
        self.collections = Collections(engine)
        self._files = ImageFolder(home / "gallery")
        self._thumbnails = ThumbnailCache(home / "cache" / "thumbnails")

    def add(self, new: NewEntry) -> Entry:
        """Add a picture: first its file, then its entry. Adding it again changes nothing.

        Returns:
            The new entry, or the existing one.

        Raises:
            StorageFullError, OutputError: The file cannot be written; no entry is added.
            DatabaseError: No entry is added; the file may be left for ``repair``.
            GalleryError, ImageError: The file is no PNG, JPEG or WebP.
        """
        if new.job_id is None:
            raise ValueError("a new entry needs its job")
        if existing_entry := self.find(new.job_id, new.index):
            return existing_entry
        key = make_entry_key(new.job_id, new.index)
        with self._files.staged(new.data) as move_to, write_transaction(self._engine) as connection:
            new_id = make_entry_id(new.created, key)
            if existing := _find_by_key(connection, key):
                if existing.job_id is not None:  # another process has added it
                    return existing
                connection.execute(delete(entries).where(entries.c.id == existing.id))
                new_id, new = existing.id, _merge_adopted(new, existing)
            if (entry := insert_entry(connection, new_id, new)) is None:
                return _get_concurrent(connection, key)
            if entry.path is not None:
                move_to(entry.path)
            return entry

    def find(self, job_id: str, index: int) -> Entry | None:
        """The entry of a job's picture, if it exists."""
        condition = (entries.c.job_id == sanitize(job_id), entries.c.index == index)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(ENTRY_QUERY.where(*condition)).mappings().all()
            return next(iter(to_entries(connection, rows)), None)

    def file_ids_by_job(self, job_ids: Collection[str]) -> dict[str, list[str]]:
        """The ids of the entries with files that jobs made, in order, by job id; jobs without any are left out."""
        query = select(entries.c.job_id, entries.c.id).where(
            entries.c.job_id.in_(job_ids), entries.c.kind.is_not(None)
        )
        ids_by_job: dict[str, list[str]] = {}
        with read_transaction(self._engine) as connection:
            for job_id, entry_id in connection.execute(query.order_by(entries.c.job_id, entries.c.index)):
                ids_by_job.setdefault(job_id, []).append(entry_id)
        return ids_by_job

    def get(self, entry_id: str, owner: str | None = None) -> Entry:
        """An entry by its id.

        Raises:
            EntryMissingError: There is none, or it belongs to another owner.
        """
        with read_transaction(self._engine) as connection:
            return to_entries(connection, [_visible_row(connection, entry_id, owner)], owner)[0]

    def read(self, entry_id: str, owner: str | None = None) -> bytes:
        """The picture file of an entry.

        Raises:
            EntryMissingError: There is no such entry.
            BlockedError: The policy blocked the picture, so it has no file.
            EntryFileMissingError: The file has been lost.
        """
        return self._files.read(_file_path(self.get(entry_id, owner)))

    def thumbnail(self, entry_id: str, side: int = 256, owner: str | None = None) -> bytes:
        """A thumbnail of an entry, as a WebP file.

        Args:
            entry_id: The entry's id.
            side: The longer side in pixels, 16 to 1024; smaller pictures keep their size.
            owner: The owner who requests it.

        Raises:
            EntryMissingError, BlockedError, EntryFileMissingError: As in ``read``.
            GalleryError: The side is out of range.
            ImageError, OutputError: The file is damaged, or the thumbnail cannot be written.
        """
        path = _file_path(self.get(entry_id, owner))
        data = self._thumbnails.get(entry_id, side, lambda: self._files.read(path))
        if not self._files.exists(path):  # deleted before, or while the thumbnail was made
            self._thumbnails.delete(entry_id)
            raise EntryFileMissingError
        return data

    def cached_thumbnail(self, entry_id: str, side: int = 256, owner: str | None = None) -> bytes | None:
        """An entry's thumbnail if it is in the cache; raises as ``thumbnail`` does."""
        path = _file_path(self.get(entry_id, owner))
        data = self._thumbnails.find(entry_id, side)
        return data if data is not None and self._files.exists(path) else None

    def embedding(self, entry_id: str, digest: str, owner: str | None = None) -> Embedding | None:
        """An entry's embedding by one classifier; None if it has none.

        Args:
            entry_id: The entry's id.
            digest: SHA-256 of the classifier's weights.
            owner: The owner who requests it.

        Raises:
            EntryMissingError: There is no such entry.
        """
        with read_transaction(self._engine) as connection:
            return get_embedding(connection, _visible_row(connection, entry_id, owner)["number"], digest)

    def embeddings(self, digest: str, after: int = 0, limit: int = 1000) -> Sequence[StoredEmbedding]:
        """A page of all owners' embeddings by one classifier, in the order of their entries' numbers.

        With several writers on PostgreSQL a smaller number can become visible after a larger one; a copy finds it,
        like deleted entries, with ``embedding_numbers``.

        Args:
            digest: SHA-256 of the classifier's weights.
            after: The last number of the previous page.
            limit: Maximum number of embeddings.
        """
        with read_transaction(self._engine) as connection:
            return list_embeddings(connection, digest, after, limit)

    def embedding_numbers(self, digest: str, after: int = 0, limit: int = 10_000) -> Sequence[int]:
        """The numbers of all entries with an embedding by one classifier; arguments as in ``embeddings``.

        Entries that a copy has and this list does not were deleted; those that the copy lacks are new.
        """
        with read_transaction(self._engine) as connection:
            return list_embedding_numbers(connection, digest, after, limit)

    def annotate(
        self,
        entry_id: str,
        owner: str | None = None,
        *,
        favourite: bool | None = None,
        tags: Iterable[str] | None = None,
    ) -> Entry:
        """Change the user's marks on an entry; None leaves a mark unchanged.

        Args:
            entry_id: The entry's id.
            owner: The owner who requests it.
            favourite: Never delete it because of its age.
            tags: The entry's new tags, which replace all others: at most 50 of 1 to 64 characters.

        Raises:
            EntryMissingError: There is no such entry.
            GalleryError: A tag is empty or too long, or there are too many.
        """
        new_tags = None if tags is None else _parse_tags(tags)
        with write_transaction(self._engine) as connection:
            number = _visible_row(connection, entry_id, owner)["number"]
            if favourite is not None:
                connection.execute(
                    update(entries).where(entries.c.number == number).values(favourite=favourite)
                )
            if new_tags is not None:
                replace_tags(connection, number, new_tags)
            changed = to_entries(connection, [get_row(connection, number)], owner)[0]
            record_change(connection, GalleryChange(changed.owner, changed=(changed.id,)))
            return changed

    def annotate_many(
        self, entry_ids: Collection[str], change: BulkChange, owner: str | None = None
    ) -> list[BulkResult]:
        """Change the user's marks on some entries, and the collections that they are in.

        Returns:
            A result for each entry, in the order of the ids.

        Raises:
            CollectionMissingError: A collection does not exist, or belongs to another owner; nothing is changed.
        """
        return mark_entries(self._engine, entry_ids, change, owner)

    def delete(self, entry_id: str, owner: str | None = None) -> None:
        """Delete an entry with its file and thumbnails.

        Raises:
            EntryMissingError: There is no such entry.
            OutputError: The file cannot be deleted; nothing is deleted.
        """
        (result,) = self.delete_many([entry_id], owner)
        if result.error is not None:
            raise result.error

    def delete_many(self, entry_ids: Collection[str], owner: str | None = None) -> list[BulkResult]:
        """Delete some entries with their files and thumbnails; what fails for one does not affect the others.

        Returns:
            A result for each entry, in the order of the ids.
        """
        return delete_entries(self._engine, entry_ids, lambda row: self._delete_files([row]), owner)

    def archive(self, entry_ids: Collection[str], owner: str | None = None) -> Iterator[bytes]:
        """A zip archive of the files of some entries, part by part.

        A picture is named as its file is. The archive lists those that are not in it, and why, in a text file.

        Raises:
            EntryMissingError, BlockedError, EntryFileMissingError: None of the entries has a file.
        """
        found = self._find_files(entry_ids, owner)
        if entry_ids and not any(isinstance(each, Entry) for each in found.values()):
            raise next(each for each in found.values() if not isinstance(each, Entry))
        return write_archive(self._archived_files(found))

    def _find_files(self, entry_ids: Collection[str], owner: str | None) -> dict[str, Entry | SafelightError]:
        """The entries that have a file, and the errors of the others, by id."""
        valid = [entry_id for entry_id in entry_ids if is_entry_id(entry_id)]
        query = ENTRY_QUERY.where(entries.c.id.in_(valid), visible_to(owner))
        with read_transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            entries_by_id = {entry.id: entry for entry in to_entries(connection, rows, owner)}
        found: dict[str, Entry | SafelightError] = {}
        for entry_id in dict.fromkeys(entry_ids):
            if (entry := entries_by_id.get(entry_id)) is None:
                found[entry_id] = EntryMissingError()
            elif entry.decision is Decision.BLOCK:
                found[entry_id] = _blocked_error(entry)
            elif not self._files.exists(_file_path(entry)):
                found[entry_id] = EntryFileMissingError()
            else:
                found[entry_id] = entry
        return found

    def _archived_files(
        self, found: Mapping[str, Entry | SafelightError]
    ) -> Iterator[tuple[str, datetime, bytes]]:
        """The files of some entries, and a list of those without."""
        left_out = []
        for entry_id, entry in found.items():
            try:
                if not isinstance(entry, Entry):
                    raise entry
                path = _file_path(entry)
                yield path.name, entry.created, self._files.read(path)
            except SafelightError as error:
                left_out.append(f"{entry_id}: {error.message}\n")
        if left_out:
            yield LEFT_OUT_NAME, datetime.now(UTC), "".join(left_out).encode()

    def search(self, criteria: Search, owner: str | None = None) -> Page:
        """A page of the entries that satisfy a search.

        Raises:
            GalleryError: ``after`` does not come from a page, or a search by relevance has no query.
        """
        with read_transaction(self._engine) as connection:
            return search(connection, criteria, owner)

    def facets(self, owner: str | None = None) -> Facets:
        """The number of entries per value of each filter."""
        with read_transaction(self._engine) as connection:
            return facets(connection, owner)

    def adapter_uses(self, owner: str | None = None) -> dict[str, int]:
        """How many pictures were made with each LoRA and textual inversion, by the SHA-256 of its file."""
        query = (
            select(entry_adapters.c.digest, func.count())
            .join_from(entry_adapters, entries)
            .where(visible_to(owner))
            .group_by(entry_adapters.c.digest)
        )
        with read_transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def expire(self, before: datetime) -> int:
        """Delete entries that are older than a time and no favourites.

        Returns:
            The number of deleted entries.

        Raises:
            OutputError: A file cannot be deleted; entries before it have been deleted.
        """
        condition = (entries.c.created < before, entries.c.favourite.is_(False))
        batch = select(entries.c.number).where(*condition).limit(_EXPIRE_BATCH)
        deleted_count = 0
        while True:
            with write_transaction(self._engine) as connection:
                deleted = delete(entries).where(entries.c.number.in_(batch.scalar_subquery()), *condition)
                rows = connection.execute(
                    deleted.returning(entries.c.id, entries.c.created, entries.c.kind)
                ).mappings()
                self._delete_files(found := rows.all())
            deleted_count += len(found)
            if not found:
                return deleted_count

    def repair(self, older_than: timedelta = _HOUR, now: float | None = None) -> RepairReport:
        """Make files and entries consistent again after a crash; see ``gallery.repair``.

        Args:
            older_than: Younger temporary files are kept: another process may be writing them.
            now: Seconds since 1970; the current time when not given.
        """
        return repair(self._engine, self._files, older_than, time.time() if now is None else now)

    def _delete_files(self, rows: Iterable[RowMapping]) -> None:
        """Delete the files of rows that are about to be deleted; otherwise ``repair`` would adopt them."""
        for row in rows:
            if row["kind"] is not None:
                self._thumbnails.delete(row["id"])  # first, so that no thumbnail outlives its picture
                self._files.remove(relative_path(row["id"], row["created"], row["kind"]))


def _visible_row(connection: Connection, entry_id: str, owner: str | None) -> RowMapping:
    """The row of an entry that the owner may see."""
    if is_entry_id(entry_id):
        query = ENTRY_QUERY.where(entries.c.id == entry_id, visible_to(owner))
        if row := connection.execute(query).mappings().first():
            return row
    raise EntryMissingError


def _find_by_key(connection: Connection, key: str) -> Entry | None:
    rows = connection.execute(ENTRY_QUERY.where(keys == key)).mappings().all()
    return next(iter(to_entries(connection, rows)), None)


def _merge_adopted(new: NewEntry, found: Entry) -> NewEntry:
    """A job's entry for a picture that ``repair`` adopted before; the user's marks are kept."""
    return replace(
        new, created=found.created, favourite=found.favourite or new.favourite, tags=(*new.tags, *found.tags)
    )


def _get_concurrent(connection: Connection, key: str) -> Entry:
    """The entry that another process added at the same moment."""
    if (entry := _find_by_key(connection, key)) is None:
        raise EntryMissingError("The entry was made and deleted by others at this moment.")
    return entry


def _file_path(entry: Entry) -> PurePosixPath:
    if entry.decision is Decision.BLOCK:
        raise _blocked_error(entry)
    assert entry.path is not None
    return entry.path


def _blocked_error(entry: Entry) -> BlockedError:
    return BlockedError(f"The policy {entry.policy} blocked this picture, so there is no file of it.")


def _parse_tags(tags: Iterable[str]) -> list[str]:
    try:
        parsed = _TAGS.validate_python(list(tags))
    except ValidationError as error:
        raise GalleryError(f"A tag cannot be used: {first_problem(error).message}.") from error
    if len(set(parsed)) > MAX_TAGS:
        raise GalleryError(f"An entry has at most {MAX_TAGS} tags.")
    return parsed
