"""Errors of the database and of what is stored in it."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError, SettingsError


class DatabaseError(SafelightError):
    """What Safelight keeps cannot be read or written."""

    code = "database"
    summary = "The database cannot be used."
    http_status = 503


class DatabaseUrlError(SettingsError):
    """A setting that names no usable database."""

    code = "database.url"
    summary = "The setting database is no URL of a database."
    default_hint = (
        "Leave it empty, or give sqlite:////path/to/file.db or postgresql://user:password@host:port/name."
    )


class DatabaseOpenError(DatabaseError):
    """A database that cannot be reached or opened."""

    code = "database.open"
    summary = "The database cannot be opened."
    default_hint = "Check that the file can be written or that the server runs, and the setting database."


class DatabaseBusyError(DatabaseError):
    """A lock that was held too long by others."""

    code = "database.busy"
    summary = "The database was locked by others for too long."
    default_hint = "Try again; if it stays so, another program may hold it open."


class DatabaseDamagedError(DatabaseError):
    """A database whose content makes no sense."""

    code = "database.damaged"
    summary = "The database is damaged, or is none."
    default_hint = "Put a backup in its place, or move it away: Safelight then begins with an empty one."


class DatabaseVersionError(DatabaseError):
    """A database of a newer version."""

    code = "database.version"
    summary = "The database was made by a newer Safelight."
    default_hint = "Update Safelight, or use another database or data directory."
    http_status = 500


class StoredObjectError(DatabaseError):
    """A stored value that is refused for what it could do."""

    code = "database.pickle"
    summary = (
        "A row of the queue's tables holds a pickled Python object, which could run code; it is not read."
    )
    default_hint = (
        "Safelight never writes such rows: find out who can write to the database, and delete them."
    )
    http_status = 500


class StorageFullError(DatabaseError):
    """No space left."""

    code = "storage.full"
    summary = "The disk is full: nothing more can be kept."
    default_hint = "Make space; what was kept before is whole."
    http_status = 507


class BlobMissingError(InputError):
    """Bytes that something refers to and that are gone."""

    code = "blob.missing"
    summary = "A picture that was sent along is not kept any more."
    default_hint = "Send it again."
    http_status = 404
