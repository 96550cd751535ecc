"""Collections: named sets of pictures. A picture may be in several; a deleted collection leaves its pictures."""

from __future__ import annotations

import secrets
from collections.abc import Collection as Items
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    case,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from safelight.database.coordination import now
from safelight.database.engine import read_transaction, write_transaction
from safelight.errors import CollectionExistsError, CollectionMissingError, GalleryError
from safelight.gallery.changes import GalleryChange, record_change
from safelight.gallery.search import visible_to
from safelight.gallery.tables import collection_entries, collections, entries
from safelight.validation import first_problem

MAX_COLLECTIONS = 1000
"""Maximum number of collections of one owner."""
CollectionName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$")
]
_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)
_ID_BYTES = 8


@dataclass(frozen=True)
class Collection:
    """A collection, as its owner or an administrator sees it.

    Args:
        id: 16 characters.
        owner: The owner's name.
        name: Its name, which no other collection of the owner has.
        created: When it was made.
        pictures: The number of its pictures that the viewer may see.
        cover: The id of the newest of them that has a file; None if there is none.
    """

    id: str
    owner: str
    name: str
    created: datetime
    pictures: int = 0
    cover: str | None = None


class Collections:
    """The collections of a gallery.

    Every method with a scope treats the collections of all other owners as missing; None sees all.

    Args:
        engine: The database, with the tables of ``gallery.SCHEMA``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, scope: str | None = None) -> tuple[Collection, ...]:
        """All collections, by owner and name."""
        with read_transaction(self._engine) as connection:
            return _find(connection, visible_collections(scope), scope)

    def get(self, collection_id: str, scope: str | None = None) -> Collection:
        """A collection by its id.

        Raises:
            CollectionMissingError: There is none, or it belongs to another owner.
        """
        with read_transaction(self._engine) as connection:
            return _get(connection, collection_id, scope)

    def add(self, name: str, owner: str) -> Collection:
        """Make an empty collection.

        Raises:
            CollectionExistsError: The owner has one of this name.
            GalleryError: The name is empty or too long, or the owner has too many collections.
        """
        collection_id, new_name = secrets.token_hex(_ID_BYTES), _parse_name(name)
        try:
            with write_transaction(self._engine) as connection:
                owned = select(func.count()).select_from(collections).where(collections.c.owner == owner)
                if connection.execute(owned).scalar_one() >= MAX_COLLECTIONS:
                    raise GalleryError(f"An owner has at most {MAX_COLLECTIONS} collections.")
                created = now(connection)
                values = {"id": collection_id, "owner": owner, "name": new_name, "created": created}
                connection.execute(insert(collections).values(**values))
                record_change(connection, GalleryChange(owner, collections=True))
        except IntegrityError as error:
            raise CollectionExistsError(f"There is a collection {new_name!r} already.") from error
        return Collection(collection_id, owner, new_name, created)

    def rename(self, collection_id: str, name: str, scope: str | None = None) -> Collection:
        """Give a collection another name.

        Raises:
            CollectionMissingError: As in ``get``.
            CollectionExistsError: Its owner has another one of this name.
            GalleryError: The name is empty or too long.
        """
        new_name = _parse_name(name)
        try:
            with write_transaction(self._engine) as connection:
                check_collections(connection, [collection_id], scope)
                change = update(collections).where(collections.c.id == collection_id).values(name=new_name)
                connection.execute(change)
                renamed = _get(connection, collection_id, scope)
                record_change(connection, GalleryChange(renamed.owner, collections=True))
                return renamed
        except IntegrityError as error:
            raise CollectionExistsError(f"There is a collection {new_name!r} already.") from error

    def delete(self, collection_id: str, scope: str | None = None) -> Collection:
        """Delete a collection, and none of its pictures; returns it.

        Raises:
            CollectionMissingError: As in ``get``.
        """
        with write_transaction(self._engine) as connection:
            deleted = _get(connection, collection_id, scope)
            connection.execute(delete(collections).where(collections.c.id == collection_id))
            record_change(connection, GalleryChange(deleted.owner, collections=True))
            return deleted


def visible_collections(scope: str | None) -> ColumnElement[bool]:
    """The condition for collections that a viewer may see: their own, or all if the scope is None."""
    return true() if scope is None else collections.c.owner == scope


def check_collections(
    connection: Connection, collection_ids: Items[str], scope: str | None, *, lock: bool = False
) -> None:
    """Check that collections exist.

    Args:
        connection: A connection to read with.
        collection_ids: Their ids.
        scope: The owner that they must have; None for any.
        lock: Whether nobody may delete them until the transaction ends.

    Raises:
        CollectionMissingError: One of them does not, or belongs to another owner.
    """
    if not collection_ids:
        return
    query = select(collections.c.id).where(collections.c.id.in_(collection_ids), visible_collections(scope))
    if lock:
        query = query.with_for_update(read=True, key_share=True)
    if missing := set(collection_ids) - set(connection.execute(query).scalars()):
        raise CollectionMissingError(f"There is no collection {min(missing)!r}.")


def _get(connection: Connection, collection_id: str, scope: str | None) -> Collection:
    check_collections(connection, [collection_id], scope)
    return _find(connection, collections.c.id == collection_id, scope)[0]


def _find(
    connection: Connection, condition: ColumnElement[bool], scope: str | None
) -> tuple[Collection, ...]:
    """Collections with the number of their pictures and the newest of them."""
    has_file = and_(entries.c.kind.is_not(None), entries.c.missing.is_(False))
    contents = (
        select(
            collection_entries.c.collection_id,
            func.count().label("pictures"),
            func.max(case((has_file, entries.c.number))).label("cover_number"),
        )
        .join_from(collection_entries, entries)
        .where(visible_to(scope))
        .group_by(collection_entries.c.collection_id)
        .subquery("contents")
    )
    cover = entries.alias("cover")
    query = (
        select(collections, contents.c.pictures, cover.c.id.label("cover"))
        .outerjoin(contents, contents.c.collection_id == collections.c.id)
        .outerjoin(cover, cover.c.number == contents.c.cover_number)
        .where(condition)
        .order_by(collections.c.owner, collections.c.name)
    )
    return tuple(_to_collection(row) for row in connection.execute(query).mappings())


def _to_collection(row: RowMapping) -> Collection:
    return Collection(**{**row, "pictures": row["pictures"] or 0})


def _parse_name(name: str) -> str:
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise GalleryError(f"A collection's name cannot be used: {first_problem(error).message}.") from error
