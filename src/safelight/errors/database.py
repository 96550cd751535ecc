"""Errors of the database and of what is stored in it."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError, SettingsError


class DatabaseError(SafelightError):
    """The database cannot be read or written."""

    code = "database"
    summary = "The database cannot be used."
    http_status = 503


class DatabaseUrlError(SettingsError):
    """The setting database is not a usable database URL."""

    code = "database.url"
    summary = "The setting database is no URL of a database."
    default_hint = (
        "Leave it empty, or give sqlite:////path/to/file.db or postgresql://user:password@host:port/name."
    )


class DatabaseOpenError(DatabaseError):
    """The database cannot be reached or opened."""

    code = "database.open"
    summary = "The database cannot be opened."
    default_hint = "Check that the file can be written or that the server runs, and the setting database."


class DatabaseBusyError(DatabaseError):
    """The database was locked for too long."""

    code = "database.busy"
    summary = "The database was locked by others for too long."
    default_hint = "Try again; if it stays so, another program may hold it open."


class DatabaseDamagedError(DatabaseError):
    """The database is damaged."""

    code = "database.damaged"
    summary = "The database is damaged, or is none."
    default_hint = "Put a backup in its place, or move it away: Safelight then begins with an empty one."


class DatabaseVersionError(DatabaseError):
    """The database has a newer schema version."""

    code = "database.version"
    summary = "The database was made by a newer Safelight."
    default_hint = "Update Safelight, or use another database or data directory."
    http_status = 500


class StoredPickleError(DatabaseError):
    """A stored value is a pickle, which is refused."""

    code = "database.pickle"
    summary = (
        "A row of the queue's tables holds a pickled Python object, which could run code; it is not read."
    )
    default_hint = (
        "Safelight never writes such rows: find out who can write to the database, and delete them."
    )
    http_status = 500


class StorageFullError(DatabaseError):
    """The disk is full."""

    code = "storage.full"
    summary = "The disk is full: nothing more can be kept."
    default_hint = "Make space; what was kept before is whole."
    http_status = 507


class BlobMissingError(InputError):
    """A referenced blob no longer exists."""

    code = "blob.missing"
    summary = "A picture that was sent with the request is no longer stored."
    default_hint = "Send it again."
    http_status = 404
