"""Sessions of browsers: a browser presents a key once, and a cookie identifies it from then on.

Only the SHA-256 of the cookie's random token is stored, as with keys. A session has the rights of its key at each
moment: the key is read for every request, so that the session ends with the key.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, insert, or_, select

from safelight.database import reading, writing
from safelight.errors import KeyInvalidError, KeyRequiredError
from safelight.server.keys import Keys, keys, sessions
from safelight.server.roles import Caller

LASTS = 30 * 86400.0
"""Seconds until a session expires: rare enough for daily use, and a device that was given away loses access within a
month."""
MOST = 20
"""Maximum number of sessions of one key; one more ends the oldest."""


class Sessions:
    """The sessions in the database.

    Args:
        engine: The database, with the tables of ``keys.SCHEMA``.
        keys: The keys that sessions belong to.
        clock: Returns seconds since 1970; sessions expire by it.
    """

    def __init__(self, engine: Engine, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._keys, self._clock = engine, keys, clock

    def open(self, key_id: str, now: float | None = None) -> str:
        """Open a session for a key that the browser has presented, and delete expired sessions.

        Returns:
            The token, which is stored nowhere.
        """
        now, known, token = now or time.time(), now or self._clock(), secrets.token_urlsafe(32)
        row = {"digest": _digest(token), "key_id": key_id, "opened": now, "expires": now + LASTS}
        with writing(self._engine) as connection:
            _make_room(connection, key_id, known)
            connection.execute(insert(sessions).values(**row))
        return token

    def caller(self, token: str, now: float | None = None) -> Caller:
        """The principal of a session.

        Raises:
            KeyRequiredError: The session does not exist, was closed, has expired, or its key was revoked.
        """
        live = (sessions.c.digest == _digest(token)) & (sessions.c.expires > (now or self._clock()))
        with reading(self._engine) as connection:
            key_id = connection.execute(select(sessions.c.key_id).where(live)).scalar()
        if key_id is None:
            raise _over()
        try:
            return self._keys.holder(key_id)
        except KeyInvalidError as error:
            raise _over() from error

    def close(self, token: str) -> str | None:
        """Close a session.

        Returns:
            The name of its key; None if there was no such session.
        """
        found = sessions.c.digest == _digest(token)
        whose = select(keys.c.name).where(keys.c.id == sessions.c.key_id, found)
        with writing(self._engine) as connection:
            owner = connection.execute(whose).scalar()
            connection.execute(delete(sessions).where(found))
        return owner


def _make_room(connection: Connection, key_id: str, now: float) -> None:
    """Delete all expired sessions, and the oldest of one key so that it may have one more."""
    revoked = select(keys.c.id).where(keys.c.revoked.is_not(None))
    own = sessions.c.key_id == key_id
    newest = select(sessions.c.digest).where(own).order_by(sessions.c.opened.desc()).limit(MOST - 1)
    connection.execute(delete(sessions).where(or_(sessions.c.expires <= now, sessions.c.key_id.in_(revoked))))
    connection.execute(delete(sessions).where(own & sessions.c.digest.not_in(newest)))


def _over() -> KeyRequiredError:
    return KeyRequiredError("This browser is not signed in, or no longer.", hint="Sign in at /sign-in.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
