"""API keys and their daily quotas, stored in the database.

A key is ``sl_``, a public id, and a secret of 32 random bytes. Only the SHA-256 of the secret is stored: nobody can try
2^256 values, so a slow hash, as passwords need, would only slow down every request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    RowMapping,
    String,
    Table,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from safelight.database import METADATA, Schema, read_transaction, write_transaction
from safelight.database.coordination import current_time, now
from safelight.database.types import Instant
from safelight.database.upsert import insert_into
from safelight.errors import DatabaseError, KeyInvalidError, KeyNameError, QuotaError
from safelight.logs import get_logger
from safelight.server.security.pending_usage import PendingUsage
from safelight.server.security.principal import Principal, Role

keys = Table(
    "keys",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("active_name", String(64), unique=True),  # the name until it is revoked
    Column("digest", String(64), nullable=False),  # SHA-256 of the secret
    Column("role", String(20), nullable=False),
    Column("pictures_per_day", Integer),
    Column("megapixels_per_day", Float),
    Column("created", Instant, nullable=False),
    Column("used", Instant),
    Column("revoked", Instant),
)
usage = Table(
    "key_usage",
    METADATA,
    Column("key_id", ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),  # days since 1970, UTC
    Column("pictures", BigInteger, nullable=False),
    Column("pixels", BigInteger, nullable=False),
)
sessions = Table(  # of browsers; see ``sessions.py``
    "key_sessions",
    METADATA,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the token
    Column("key_id", ForeignKey("keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("opened", Instant, nullable=False),
    Column("expires", Instant, nullable=False),
)
SCHEMA = Schema.read("keys")

LAST_USE_INTERVAL = timedelta(minutes=1)
"""Minimum time between two updates of a key's last use."""
SECONDS_PER_DAY = 86400
"""Seconds of a day."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_KEY = re.compile(r"sl_([0-9a-f]{12})_([a-z2-7]{52})", re.ASCII)
_UNLIMITED = 2**62


@dataclass(frozen=True)
class Key:
    """A key without its secret.

    Args:
        id: The public part of the key.
        name: The key's name, which is the owner of all that is made with it.
        role: The role that the key gives.
        pictures_per_day: Quota of pictures from midnight to midnight UTC; None: unlimited.
        megapixels_per_day: Quota of megapixels, over all pictures; None: unlimited.
        created: Time of creation.
        used: Time of the last use, to the minute.
        revoked: Time of revocation; None for a valid key.
    """

    id: str
    name: str
    role: Role
    pictures_per_day: int | None
    megapixels_per_day: float | None
    created: datetime
    used: datetime | None
    revoked: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """The key for JSON output; times are seconds since 1970."""
        fields = asdict(self)
        times = {name: value.timestamp() for name, value in fields.items() if isinstance(value, datetime)}
        return fields | times


class KeyStore:
    """The keys in the database.

    Args:
        engine: The database, with the tables of ``SCHEMA``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pending = PendingUsage()

    def add(
        self,
        name: str,
        role: Role = Role.USER,
        *,
        pictures_per_day: int | None = None,
        megapixels_per_day: float | None = None,
    ) -> str:
        """Create a key.

        Returns:
            The key with its secret, which is stored nowhere.

        Raises:
            KeyNameError: The name has characters other than a-z, 0-9, dot, hyphen and underscore, is longer than 64
                characters, is ``local``, or belongs to another valid key.
        """
        if not _NAME.fullmatch(name) or name == "local":
            raise KeyNameError(
                f"{name[:80]!r} is no name for a key.",
                hint="Give 1 to 64 of the characters a-z, 0-9, '.', '-', '_', and not the word local.",
            )
        key_id, secret = secrets.token_hex(6), _secret()
        row = {
            "id": key_id,
            "name": name,
            "active_name": name,
            "digest": _digest(secret),
            "role": role,
            "pictures_per_day": pictures_per_day,
            "megapixels_per_day": megapixels_per_day,
        }
        try:
            with write_transaction(self._engine) as connection:
                connection.execute(insert(keys).values(**row, created=current_time(connection)))
        except IntegrityError as error:
            raise KeyNameError(f"There is a key of the name {name} already.") from error
        return f"sl_{key_id}_{secret}"

    def all(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        with read_transaction(self._engine) as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created, keys.c.id)).mappings()
            return [_key(row) for row in rows]

    def has_any(self) -> bool:
        """Whether there is a valid key."""
        with read_transaction(self._engine) as connection:
            return bool(connection.execute(select(exists().where(keys.c.active_name.is_not(None)))).scalar())

    def revoke(self, name: str) -> Key:
        """Revoke a key, with immediate effect.

        Raises:
            KeyNameError: There is no valid key of that name.
        """
        with write_transaction(self._engine) as connection:
            found = keys.c.active_name == name
            row = connection.execute(select(keys).where(found)).mappings().first()
            if row is None:
                raise KeyNameError(f"There is no valid key of the name {name[:80]!r}.")
            revoked = now(connection)
            connection.execute(update(keys).where(found).values(revoked=revoked, active_name=None))
            return replace(_key(row), revoked=revoked)

    def authenticate(self, key: str, name: str | None = None) -> Principal:
        """The principal of a key.

        Args:
            key: The key as the client sent it.
            name: The name that the key must have, if the client sent one.

        Raises:
            KeyInvalidError: The key does not exist, was revoked, or has another name.
        """
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise KeyInvalidError
        with read_transaction(self._engine) as connection:
            row = _row_of(connection, parts[1])
        same = hmac.compare_digest(row["digest"] if row else "", _digest(parts[2]))
        if row is None or not same or name not in (None, row["name"]):
            raise KeyInvalidError
        return self._principal(row)

    def principal_of(self, key_id: str) -> Principal:
        """The principal of a key's id, for a client that has shown the key itself before.

        Raises:
            KeyInvalidError: The key does not exist or was revoked.
        """
        with read_transaction(self._engine) as connection:
            row = _row_of(connection, key_id)
        if row is None:
            raise KeyInvalidError
        return self._principal(row)

    def _principal(self, row: RowMapping) -> Principal:
        if row["revoked"] is not None:
            raise KeyInvalidError
        self._record_use(row)
        return Principal(row["name"], Role(row["role"]), row["id"])

    def _record_use(self, row: RowMapping) -> None:
        """Record the use of a key; a failure to write it does not refuse the request."""
        present, known = row["present"], self._pending.last_use(row["id"]) or row["used"]
        if known is not None and abs(present - known) <= LAST_USE_INTERVAL:  # also if the clock was set back
            return
        self._pending.record_use(row["id"], present)
        try:
            self.flush()
        except DatabaseError as error:
            get_logger(__name__).warning("the use of a key is not written down yet", error=error.message)

    def spend(self, key_id: str, pictures: int, pixels: int, at: datetime | None = None) -> None:
        """Count pictures against a key's daily quota: all of them or none.

        The usage of a key without a quota is written with the next write about keys, or at the end of the process, so
        that a verdict does not wait for writers of jobs. Usage that cannot be written stays in memory likewise.

        Args:
            key_id: The key's id.
            pictures: Number of pictures.
            pixels: Number of pixels, over all pictures.
            at: The time of the request; now when not given.

        Raises:
            QuotaError: The quota would be exceeded.
            DatabaseError: The database cannot be read.
        """
        with read_transaction(self._engine) as connection:
            quota, present = _quota(connection, key_id)
        at = at or present
        where, amount = (key_id, _day(at)), (pictures, pixels)
        if not quota.is_limited:
            self._pending.add(*where, *amount)
            return
        try:
            with self._flushing() as connection:
                quota, _ = _quota(connection, key_id)
                if not _spend(connection, where, amount, quota.limits):
                    raise quota.exceeded(at)
        except DatabaseError as error:
            self._spend_pending(where, amount, at)
            get_logger(__name__).warning("what a key asks for is not written down yet", error=error.message)

    def flush(self) -> None:
        """Write the usage that is in memory only, as before the process ends.

        Raises:
            DatabaseError: It could not be written and stays in memory.
        """
        with self._flushing():
            pass

    def _spend_pending(self, where: tuple[str, int], amount: tuple[int, int], at: datetime) -> None:
        with self._pending.lock, read_transaction(self._engine) as connection:
            quota, _ = _quota(connection, where[0])
            known = connection.execute(
                select(usage.c.pictures, usage.c.pixels).where(
                    usage.c.key_id == where[0], usage.c.day == where[1]
                )
            ).one_or_none() or (0, 0)
            total = map(sum, zip(known, self._pending.spent(*where), amount, strict=True))
            if any(one > limit for one, limit in zip(total, quota.limits, strict=True)):
                raise quota.exceeded(at)
            self._pending.add(*where, *amount)

    def refund(self, key_id: str, pictures: int, pixels: int, at: datetime | None = None) -> None:
        """Undo today's count of pictures that are not made.

        Args:
            key_id: The key's id.
            pictures: Number of pictures.
            pixels: Number of pixels, over all pictures.
            at: The time of the request; now when not given.

        Raises:
            DatabaseError: The count is in the database and could not be changed.
        """
        if at is None:
            with read_transaction(self._engine) as connection:
                at = now(connection)
        day = _day(at)
        with self._pending.lock:
            unwritten = self._pending.spent(key_id, day)
            if pictures <= unwritten[0] and pixels <= unwritten[1]:
                self._pending.add(key_id, day, -pictures, -pixels)
                return
        counted = (usage.c.key_id == key_id) & (usage.c.day == day)
        enough = (usage.c.pictures >= pictures) & (usage.c.pixels >= pixels)  # not what was counted yesterday
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(usage)
                .where(counted & enough)
                .values(pictures=usage.c.pictures - pictures, pixels=usage.c.pixels - pixels)
            )

    @contextmanager
    def _flushing(self) -> Iterator[Connection]:
        """A write transaction that first writes the pending usage."""
        uses = self._pending.drain()
        try:
            with write_transaction(self._engine) as connection:
                for key_id, seen in uses.last_used.items():
                    connection.execute(update(keys).where(keys.c.id == key_id).values(used=seen))
                for where, pictures in uses.pictures.items():
                    _spend(connection, where, (pictures, uses.pixels[where]), (_UNLIMITED, _UNLIMITED))
                yield connection
        except BaseException:
            self._pending.restore(uses)
            raise


@dataclass(frozen=True)
class _Quota:
    """The daily quota of a key; None: unlimited."""

    pictures: int | None
    megapixels: float | None

    @property
    def is_limited(self) -> bool:
        """Whether the key has a quota."""
        return self.pictures is not None or self.megapixels is not None

    @property
    def limits(self) -> tuple[int, int]:
        """The limits in pictures and pixels."""
        return (
            _UNLIMITED if self.pictures is None else self.pictures,
            _UNLIMITED if self.megapixels is None else int(self.megapixels * 1e6),
        )

    def exceeded(self, at: datetime) -> QuotaError:
        """The error for an exceeded quota."""
        parts = [f"{self.pictures} pictures"] if self.pictures is not None else []
        parts += [f"{self.megapixels:g} megapixels"] if self.megapixels is not None else []
        return QuotaError(
            f"The key's quota is {' and '.join(parts)} a day.",
            retry_after=SECONDS_PER_DAY - at.timestamp() % SECONDS_PER_DAY,
        )


def _row_of(connection: Connection, key_id: str) -> RowMapping | None:
    """A key's row, with the database's current time as ``present``."""
    query = select(keys, current_time(connection).label("present")).where(keys.c.id == key_id)
    return connection.execute(query).mappings().first()


def _quota(connection: Connection, key_id: str) -> tuple[_Quota, datetime]:
    """A key's quota, and the database's current time."""
    query = select(keys.c.pictures_per_day, keys.c.megapixels_per_day, current_time(connection))
    pictures, megapixels, present = connection.execute(query.where(keys.c.id == key_id)).one()
    return _Quota(pictures, megapixels), present


def _day(at: datetime) -> int:
    """Days since 1970, UTC."""
    return int(at.timestamp() // SECONDS_PER_DAY)


def _spend(
    connection: Connection, where: tuple[str, int], amount: tuple[int, int], limits: tuple[int, int]
) -> bool:
    """Count and compare in one statement, so that two concurrent requests cannot both get the last picture."""
    if any(one > limit for one, limit in zip(amount, limits, strict=True)):
        return False
    pictures, pixels = usage.c.pictures + amount[0], usage.c.pixels + amount[1]
    new = insert_into(connection, usage).values(
        key_id=where[0], day=where[1], pictures=amount[0], pixels=amount[1]
    )
    done = connection.execute(
        new.on_conflict_do_update(
            index_elements=["key_id", "day"],
            set_={"pictures": pictures, "pixels": pixels},
            where=(pictures <= limits[0]) & (pixels <= limits[1]),
        ).returning(usage.c.day)
    )
    return done.first() is not None


def _secret() -> str:
    return base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: RowMapping) -> Key:
    values = {name: row[name] for name in Key.__dataclass_fields__}
    return Key(**{**values, "role": Role(row["role"])})
