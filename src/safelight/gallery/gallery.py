"""The gallery: pictures on disk, what is known of them in the database."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, RowMapping, delete, select, update

from safelight.database.engine import reading, writing
from safelight.errors import BlockedError, EntryFileMissingError, EntryMissingError, GalleryError
from safelight.gallery.embeddings import StoredEmbedding, embedding_of, page_of_embeddings, page_of_numbers
from safelight.gallery.entry import MAX_TAGS, Embedding, Entry, Facets, NewEntry, Page, Search, Tag, path_of
from safelight.gallery.entry_ids import entry_id, entry_key, is_id
from safelight.gallery.files import PictureFolder
from safelight.gallery.mapping import SHOWN, enter, entries_of, put_tags, storable, the_row
from safelight.gallery.repair import Repaired, repair
from safelight.gallery.search import facets, search, visible
from safelight.gallery.tables import entries, keys
from safelight.gallery.thumbnails import Thumbnails
from safelight.moderation.policy import Decision
from safelight.validation import first_problem

_TAGS = TypeAdapter(list[Tag])
_BATCH = 200
_HOUR = timedelta(hours=1)


class Gallery:
    """The record of what was made. Several processes, on several hosts with a common folder, may use it at once.

    Everywhere an owner sees their own entries only, and those of others are missing to them; None sees all.

    Args:
        engine: The database, with the tables of ``gallery.SCHEMA``.
        home: The data directory: pictures go to ``gallery/``, thumbnails to ``cache/thumbnails/``.
    """

    def __init__(self, engine: Engine, home: Path) -> None:
        self._engine = engine
        self._files = PictureFolder(home / "gallery")
        self._thumbnails = Thumbnails(home / "cache" / "thumbnails")

    def add(self, new: NewEntry) -> Entry:
        """Enter a picture: its file first, then what is known of it. Entering it again changes nothing.

        Returns:
            The entry, or the one that was there.

        Raises:
            StorageFullError, OutputError: The file cannot be written; nothing is entered.
            DatabaseError: Nothing is entered; a file may be left for ``repair``.
            GalleryError, ImageError: The file is no PNG, JPEG or WebP.
        """
        if new.job_id is None:
            raise ValueError("a new entry needs its job")
        if known := self.find(new.job_id, new.index):
            return known
        key = entry_key(new.job_id, new.index)
        with self._files.prepared(new.data) as place, writing(self._engine) as connection:
            name = entry_id(new.created, key)
            if found := _by_key(connection, key):
                if found.job_id is not None:  # another process was faster
                    return found
                connection.execute(delete(entries).where(entries.c.id == found.id))
                name, new = found.id, _completed(new, found)
            if (entry := enter(connection, name, new)) is None:
                return _entered(connection, key)
            if entry.path is not None:
                place(entry.path)
            return entry

    def find(self, job_id: str, index: int) -> Entry | None:
        """A job's picture, where it is entered already."""
        same = (entries.c.job_id == storable(job_id), entries.c.index == index)
        with reading(self._engine) as connection:
            rows = connection.execute(SHOWN.where(*same)).mappings().all()
            return next(iter(entries_of(connection, rows)), None)

    def made_by(self, job_ids: Collection[str]) -> dict[str, list[str]]:
        """The entries with files that jobs made: their ids in order, by the job's id; jobs without any are left out."""
        query = select(entries.c.job_id, entries.c.id).where(
            entries.c.job_id.in_(job_ids), entries.c.kind.is_not(None)
        )
        found: dict[str, list[str]] = {}
        with reading(self._engine) as connection:
            for job_id, name in connection.execute(query.order_by(entries.c.job_id, entries.c.index)):
                found.setdefault(job_id, []).append(name)
        return found

    def get(self, name: str, owner: str | None = None) -> Entry:
        """An entry by its id.

        Raises:
            EntryMissingError: There is none, or it is somebody else's.
        """
        with reading(self._engine) as connection:
            return entries_of(connection, [_row(connection, name, owner)])[0]

    def read(self, name: str, owner: str | None = None) -> bytes:
        """An entry's picture file.

        Raises:
            EntryMissingError: There is no such entry.
            BlockedError: The policy blocked it, so it was never written.
            EntryFileMissingError: It is gone.
        """
        return self._files.read(_path(self.get(name, owner)))

    def thumbnail(self, name: str, side: int = 256, owner: str | None = None) -> bytes:
        """An entry's picture made small, as a WebP file.

        Args:
            name: The entry's id.
            side: The longer side in pixels, 16 to 1024; smaller pictures keep their size.
            owner: Who asks.

        Raises:
            EntryMissingError, BlockedError, EntryFileMissingError: As in ``read``.
            GalleryError: The side is out of range.
            ImageError, OutputError: The file is damaged, or the thumbnail cannot be written.
        """
        path = _path(self.get(name, owner))
        data = self._thumbnails.get(name, side, lambda: self._files.read(path))
        if not self._files.has(path):  # deleted while its thumbnail was made, or before
            self._thumbnails.forget(name)
            raise EntryFileMissingError
        return data

    def kept_thumbnail(self, name: str, side: int = 256, owner: str | None = None) -> bytes | None:
        """An entry's thumbnail where there is one already; raises as ``thumbnail`` does."""
        path = _path(self.get(name, owner))
        data = self._thumbnails.kept(name, side)
        return data if data is not None and self._files.has(path) else None

    def embedding(self, name: str, digest: str, owner: str | None = None) -> Embedding | None:
        """An entry's embedding by one classifier; None where there is none.

        Args:
            name: The entry's id.
            digest: SHA-256 of the classifier's weights.
            owner: Who asks.

        Raises:
            EntryMissingError: There is no such entry.
        """
        with reading(self._engine) as connection:
            return embedding_of(connection, _row(connection, name, owner)["number"], digest)

    def embeddings(self, digest: str, after: int = 0, limit: int = 1000) -> Sequence[StoredEmbedding]:
        """All owners' embeddings by one classifier, page by page, by the numbers of their entries.

        With several writers on PostgreSQL a smaller number can come to light after a larger one: ``embedding_numbers``
        tells a copy of it, as of what was deleted.

        Args:
            digest: SHA-256 of the classifier's weights.
            after: The number of the last one that is known already.
            limit: At most so many.
        """
        with reading(self._engine) as connection:
            return page_of_embeddings(connection, digest, after, limit)

    def embedding_numbers(self, digest: str, after: int = 0, limit: int = 10_000) -> Sequence[int]:
        """The numbers of all entries with an embedding by one classifier, in order; arguments as in ``embeddings``.

        What a copy has and is not among them was deleted; what is among them and the copy lacks is new.
        """
        with reading(self._engine) as connection:
            return page_of_numbers(connection, digest, after, limit)

    def mark(
        self,
        name: str,
        owner: str | None = None,
        *,
        favourite: bool | None = None,
        tags: Iterable[str] | None = None,
    ) -> Entry:
        """Change what the user says of an entry; None leaves it.

        Args:
            name: The entry's id.
            owner: Who asks.
            favourite: Kept whatever its age.
            tags: All its tags from now on: at most 50 of 1 to 64 characters.

        Raises:
            EntryMissingError: There is no such entry.
            GalleryError: A tag is empty or too long, or there are too many.
        """
        words = None if tags is None else _checked_tags(tags)
        with writing(self._engine) as connection:
            number = _row(connection, name, owner)["number"]
            if favourite is not None:
                connection.execute(
                    update(entries).where(entries.c.number == number).values(favourite=favourite)
                )
            if words is not None:
                put_tags(connection, number, words)
            return entries_of(connection, [the_row(connection, number)])[0]

    def delete(self, name: str, owner: str | None = None) -> None:
        """Delete an entry with its file and thumbnails.

        Raises:
            EntryMissingError: There is no such entry.
            OutputError: The file cannot be deleted; nothing is.
        """
        with writing(self._engine) as connection:
            row = _row(connection, name, owner)
            connection.execute(delete(entries).where(entries.c.number == row["number"]))
            self._delete_files([row])

    def search(self, wanted: Search, owner: str | None = None) -> Page:
        """Find entries, page by page.

        Raises:
            GalleryError: ``after`` is not what a page gave, or relevance is asked for without words.
        """
        with reading(self._engine) as connection:
            return search(connection, wanted, owner)

    def facets(self, owner: str | None = None) -> Facets:
        """How many entries there are, by what they can be filtered by."""
        with reading(self._engine) as connection:
            return facets(connection, owner)

    def expire(self, before: datetime) -> int:
        """Delete what was made before a time and is no favourite.

        Returns:
            How many entries were deleted.

        Raises:
            OutputError: A file cannot be deleted; what came before it is.
        """
        old = (entries.c.created < before, entries.c.favourite.is_(False))
        some = select(entries.c.number).where(*old).limit(_BATCH)
        gone = 0
        while True:
            with writing(self._engine) as connection:
                deleted = delete(entries).where(entries.c.number.in_(some.scalar_subquery()), *old)
                rows = connection.execute(
                    deleted.returning(entries.c.id, entries.c.created, entries.c.kind)
                ).mappings()
                self._delete_files(found := rows.all())
            gone += len(found)
            if not found:
                return gone

    def repair(self, older_than: timedelta = _HOUR, now: float | None = None) -> Repaired:
        """Bring files and entries together again after a crash; ``gallery.repair`` says how.

        Args:
            older_than: Temporary files younger than this are let be: another process may be writing them.
            now: Seconds since 1970, where it is not the time of day that counts.
        """
        return repair(self._engine, self._files, older_than, time.time() if now is None else now)

    def _delete_files(self, rows: Iterable[RowMapping]) -> None:
        """Delete what belongs to rows that are about to go; files left by a crash, ``repair`` would bring back."""
        for row in rows:
            if row["kind"] is not None:
                self._thumbnails.forget(row["id"])  # first: while one stays, so does its picture
                self._files.remove(path_of(row["id"], row["created"], row["kind"]))


def _row(connection: Connection, name: str, owner: str | None) -> RowMapping:
    """The row of an entry that an owner may see."""
    if is_id(name):
        query = SHOWN.where(entries.c.id == name, visible(owner))
        if row := connection.execute(query).mappings().first():
            return row
    raise EntryMissingError


def _by_key(connection: Connection, key: str) -> Entry | None:
    rows = connection.execute(SHOWN.where(keys == key)).mappings().all()
    return next(iter(entries_of(connection, rows)), None)


def _completed(new: NewEntry, found: Entry) -> NewEntry:
    """What its job says of a picture that ``repair`` found before; marks that were set since stay."""
    return replace(
        new, created=found.created, favourite=found.favourite or new.favourite, tags=(*new.tags, *found.tags)
    )


def _entered(connection: Connection, key: str) -> Entry:
    """What another process entered at the same moment."""
    if (entry := _by_key(connection, key)) is None:
        raise EntryMissingError("The entry was made and deleted by others at this moment.")
    return entry


def _path(entry: Entry) -> PurePosixPath:
    if entry.decision is Decision.BLOCK:
        raise BlockedError(f"The policy {entry.policy} blocked this picture, so there is no file of it.")
    assert entry.path is not None
    return entry.path


def _checked_tags(tags: Iterable[str]) -> list[str]:
    try:
        words = _TAGS.validate_python(list(tags))
    except ValidationError as error:
        raise GalleryError(f"A tag cannot be used: {first_problem(error).message}.") from error
    if len(set(words)) > MAX_TAGS:
        raise GalleryError(f"An entry has at most {MAX_TAGS} tags.")
    return words
