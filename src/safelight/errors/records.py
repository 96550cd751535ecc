"""Errors of reading a picture's reproduction record and of reproducing the picture."""

from __future__ import annotations

from safelight.errors.base import InputError


class RecordMissingError(InputError):
    """The picture has no reproduction record."""

    code = "record.missing"
    summary = "The picture carries no record of how it was made."
    default_hint = "Records are lost where a program saves a picture without its metadata."
    http_status = 422


class RecordInvalidError(InputError):
    """The record cannot be read."""

    code = "record.invalid"
    summary = "The picture's record cannot be read."
    http_status = 422


class NotReproducibleError(InputError):
    """This machine lacks something that the record needs."""

    code = "record.reproduce"
    summary = "The picture cannot be reproduced here."
    http_status = 409
