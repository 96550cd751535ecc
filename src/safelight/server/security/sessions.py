"""Sessions of browsers: a browser presents a key once, and a cookie identifies it from then on.

Only the SHA-256 of the cookie's random token is stored, as with keys. A session has the rights of its key at each
moment: the key is read for every request, so that the session ends with the key.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, or_, select

from safelight.database import read_transaction, write_transaction
from safelight.database.coordination import current_time, now
from safelight.errors import KeyInvalidError, KeyRequiredError
from safelight.server.security.keys import KeyStore, keys, sessions
from safelight.server.security.principal import Principal

LIFETIME = timedelta(days=30)
"""Time until a session expires: rare enough for daily use, and a device that was given away loses access within a
month."""
MAX_PER_KEY = 20
"""Maximum number of sessions of one key; one more ends the oldest."""


class SessionStore:
    """The sessions in the database.

    Args:
        engine: The database, with the tables of ``keys.SCHEMA``.
        keys: The keys that sessions belong to.
        expiry_time: Returns the time to compare expiry with, given the database's; see ``ExpiryClock.at``.
    """

    def __init__(
        self,
        engine: Engine,
        keys: KeyStore,
        expiry_time: Callable[[datetime], datetime] = lambda present: present,
    ) -> None:
        self._engine, self._keys, self._expiry_time = engine, keys, expiry_time

    def open(self, key_id: str, at: datetime | None = None) -> str:
        """Open a session for a key that the browser has presented, and delete expired sessions.

        Args:
            key_id: The key's id.
            at: The time of opening; now when not given.

        Returns:
            The token, which is stored nowhere.
        """
        token = secrets.token_urlsafe(32)
        with write_transaction(self._engine) as connection:
            opened = at or now(connection)
            row = {"digest": _digest(token), "key_id": key_id, "opened": opened, "expires": opened + LIFETIME}
            _delete_stale(connection, key_id, self._expiry_time(opened))
            connection.execute(insert(sessions).values(**row))
        return token

    def authenticate(self, token: str, at: datetime | None = None) -> Principal:
        """The principal of a session.

        Args:
            token: The token that ``open`` returned.
            at: The time of the request; now when not given.

        Raises:
            KeyRequiredError: The session does not exist, was closed, has expired, or its key was revoked.
        """
        query = select(sessions.c.key_id, sessions.c.expires).where(sessions.c.digest == _digest(token))
        with read_transaction(self._engine) as connection:
            query = query.add_columns(current_time(connection).label("present"))
            row = connection.execute(query).one_or_none()
        if row is None or row.expires <= self._expiry_time(at or row.present):
            raise _signed_out()
        try:
            return self._keys.principal_of(row.key_id)
        except KeyInvalidError as error:
            raise _signed_out() from error

    def close(self, token: str) -> str | None:
        """Close a session.

        Returns:
            The name of its key; None if there was no such session.
        """
        found = sessions.c.digest == _digest(token)
        whose = select(keys.c.name).where(keys.c.id == sessions.c.key_id, found)
        with write_transaction(self._engine) as connection:
            owner = connection.execute(whose).scalar()
            connection.execute(delete(sessions).where(found))
        return owner


def _delete_stale(connection: Connection, key_id: str, at: datetime) -> None:
    """Delete all expired sessions, and the oldest of one key so that it may have one more."""
    revoked = select(keys.c.id).where(keys.c.revoked.is_not(None))
    own = sessions.c.key_id == key_id
    newest = select(sessions.c.digest).where(own).order_by(sessions.c.opened.desc()).limit(MAX_PER_KEY - 1)
    connection.execute(delete(sessions).where(or_(sessions.c.expires <= at, sessions.c.key_id.in_(revoked))))
    connection.execute(delete(sessions).where(own & sessions.c.digest.not_in(newest)))


def _signed_out() -> KeyRequiredError:
    return KeyRequiredError("This browser is not signed in, or no longer.", hint="Sign in at /sign-in.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
