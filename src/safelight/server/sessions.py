"""Sessions: browsers that have shown a key once, and are known by a cookie from then on.

Of the cookie's random token only the SHA-256 is kept, as of keys. A session is worth what its key is worth at each
moment: it is looked up anew for every request, so that it ends with its key.
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
"""Seconds until somebody has to sign in again: seldom enough for every day's work, and a device that was given away
is shut out within a month without anybody's doing."""
MOST = 20
"""How many browsers may be signed in with one key; with one more, the first of them no longer is."""


class Sessions:
    """The sessions in the database.

    Args:
        engine: The database, with the tables of ``keys.SCHEMA``.
        keys: Whose they are.
        clock: Seconds since 1970, by which they end.
    """

    def __init__(self, engine: Engine, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._keys, self._clock = engine, keys, clock

    def open(self, key_id: str, now: float | None = None) -> str:
        """Begin one for a key that was shown; those that are over are forgotten on the way.

        Returns:
            The token, which is nowhere else.
        """
        now, known, token = now or time.time(), now or self._clock(), secrets.token_urlsafe(32)
        row = {"digest": _digest(token), "key_id": key_id, "opened": now, "expires": now + LASTS}
        with writing(self._engine) as connection:
            _make_room(connection, key_id, known)
            connection.execute(insert(sessions).values(**row))
        return token

    def caller(self, token: str, now: float | None = None) -> Caller:
        """Whose session it is.

        Raises:
            KeyRequiredError: It is none, has been ended, is too old, or its key was revoked.
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


def _make_room(connection: Connection, key_id: str, now: float) -> None:
    """Forget all that are over, and of one key's the oldest, so that there is room for one more."""
    revoked = select(keys.c.id).where(keys.c.revoked.is_not(None))
    own = sessions.c.key_id == key_id
    newest = select(sessions.c.digest).where(own).order_by(sessions.c.opened.desc()).limit(MOST - 1)
    connection.execute(delete(sessions).where(or_(sessions.c.expires <= now, sessions.c.key_id.in_(revoked))))
    connection.execute(delete(sessions).where(own & sessions.c.digest.not_in(newest)))


def _over() -> KeyRequiredError:
    return KeyRequiredError("This browser is not signed in, or no longer.", hint="Sign in at /sign-in.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
