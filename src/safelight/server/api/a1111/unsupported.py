"""Refuse, by name, fields of A1111 and SD.Next that Safelight does not support, unless their value requests nothing."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import UnsupportedFieldError
from safelight.generation.recall.field_builder import replace_surrogates
from safelight.server.api.a1111.ignored_fields import (
    KNOWN_FIELDS,
    REASONS,
    STORAGE_FIELDS,
    SWITCH_BY_PREFIX,
    is_empty,
)


def check_unsupported(fields: Mapping[str, object]) -> None:
    """Check that unsupported fields of A1111, Forge and SD.Next request nothing.

    Names that none of these programs knows pass, as they do there; ``ineffective_fields`` lists them.

    Args:
        fields: Fields by name.

    Raises:
        UnsupportedFieldError: A field requests something.
    """
    for name, value in fields.items():
        switch = _switch_of(name)
        if switch is not None and switch != name and is_empty(fields.get(switch)):
            continue
        fits = KNOWN_FIELDS.get(name) if switch is None else is_empty
        if fits is not None and not fits(value):
            reason = REASONS.get(name, "Safelight does not support this field.")
            shown = name if name.isascii() else ascii(name)
            raise UnsupportedFieldError(f"{shown}: {reason}", field=name, hint="Leave the field out.")


def ineffective_fields(fields: Mapping[str, object]) -> list[str]:
    """Names of the fields that request something and were ignored, as texts that can be encoded.

    They are fields that none of the three programs knows, and fields that say where images are saved.
    """
    names = [
        name
        for name, value in fields.items()
        if (name in STORAGE_FIELDS and not is_empty(value))
        or (name not in KNOWN_FIELDS and _switch_of(name) is None)
    ]
    return [replace_surrogates(name) for name in names]


def _switch_of(name: str) -> str | None:
    """The field that switches this one on; None where no other field does."""
    return next((switch for start, switch in SWITCH_BY_PREFIX.items() if name.startswith(start)), None)
