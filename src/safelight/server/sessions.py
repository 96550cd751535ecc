"""Sessions: browsers that have shown a key once, and are known by a cookie from then on.

Of the cookie's random token only the SHA-256 is kept, as of keys. A session is worth what its key is worth at each
moment: it is looked up anew for every request, so that it ends with its key.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, or_, select

from safelight.database import reading, writing
from safelight.database.hosts import current_time, now
from safelight.errors import KeyInvalidError, KeyRequiredError
from safelight.server.keys import Keys, keys, sessions
from safelight.server.roles import Caller

LASTS = timedelta(days=30)
"""Time until somebody has to sign in again: seldom enough for every day's work, and a device that was given away
is shut out within a month without anybody's doing."""
MOST = 20
"""How many browsers may be signed in with one key; with one more, the first of them no longer is."""


class Sessions:
    """The sessions in the database.

    Args:
        engine: The database, with the tables of ``keys.SCHEMA``.
        keys: Whose they are.
        believed: The time by which they end, given the database's; see ``ExpiryClock.at``.
    """

    def __init__(
        self, engine: Engine, keys: Keys, believed: Callable[[datetime], datetime] = lambda present: present
    ) -> None:
        self._engine, self._keys, self._believed = engine, keys, believed

    def open(self, key_id: str, at: datetime | None = None) -> str:
        """Begin one for a key that was shown; those that are over are forgotten on the way.

        Args:
            key_id: Whose.
            at: When; now when not given.

        Returns:
            The token, which is nowhere else.
        """
        token = secrets.token_urlsafe(32)
        with writing(self._engine) as connection:
            opened = at or now(connection)
            row = {"digest": _digest(token), "key_id": key_id, "opened": opened, "expires": opened + LASTS}
            _make_room(connection, key_id, self._believed(opened))
            connection.execute(insert(sessions).values(**row))
        return token

    def caller(self, token: str, at: datetime | None = None) -> Caller:
        """Whose session it is.

        Args:
            token: What ``open`` gave.
            at: When it is shown; now when not given.

        Raises:
            KeyRequiredError: It is none, has been ended, is too old, or its key was revoked.
        """
        query = select(sessions.c.key_id, sessions.c.expires).where(sessions.c.digest == _digest(token))
        with reading(self._engine) as connection:
            query = query.add_columns(current_time(connection).label("present"))
            row = connection.execute(query).one_or_none()
        if row is None or row.expires <= self._believed(at or row.present):
            raise _over()
        try:
            return self._keys.holder(row.key_id)
        except KeyInvalidError as error:
            raise _over() from error

    def close(self, token: str) -> str | None:
        """End one.

        Returns:
            Whose it was, by the key's name; None where there was none.
        """
        found = sessions.c.digest == _digest(token)
        whose = select(keys.c.name).where(keys.c.id == sessions.c.key_id, found)
        with writing(self._engine) as connection:
            owner = connection.execute(whose).scalar()
            connection.execute(delete(sessions).where(found))
        return owner


def _make_room(connection: Connection, key_id: str, at: datetime) -> None:
    """Forget all that are over, and of one key's the oldest, so that there is room for one more."""
    revoked = select(keys.c.id).where(keys.c.revoked.is_not(None))
    own = sessions.c.key_id == key_id
    newest = select(sessions.c.digest).where(own).order_by(sessions.c.opened.desc()).limit(MOST - 1)
    connection.execute(delete(sessions).where(or_(sessions.c.expires <= at, sessions.c.key_id.in_(revoked))))
    connection.execute(delete(sessions).where(own & sessions.c.digest.not_in(newest)))


def _over() -> KeyRequiredError:
    return KeyRequiredError("This browser is not signed in, or no longer.", hint="Sign in at /sign-in.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
