"""Refuse, by name, fields of A1111 and SD.Next that Safelight does not support, unless their value requests nothing."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import FieldError
from safelight.generation.recall.filling import sound
from safelight.server.compat.a1111_names import NAMES, PASSED_OVER, REASONS, SWITCHED, empty


def check_extras(extras: Mapping[str, object]) -> None:
    """Check that unsupported fields of A1111, Forge and SD.Next request nothing.

    Names that none of these programs knows pass, as they do there; ``without_effect`` lists them.

    Args:
        extras: Fields by name.

    Raises:
        FieldError: A field requests something.
    """
    for name, value in extras.items():
        switch = _switch(name)
        if switch is not None and switch != name and empty(extras.get(switch)):
            continue
        fits = NAMES.get(name) if switch is None else empty
        if fits is not None and not fits(value):
            reason = REASONS.get(name, "Safelight does not support this field.")
            shown = name if name.isascii() else ascii(name)
            raise FieldError(f"{shown}: {reason}", field=name, hint="Leave the field out.")


def without_effect(extras: Mapping[str, object]) -> list[str]:
    """Names of the fields that request something and were ignored, as texts that can be encoded.

    They are fields that none of the three programs knows, and fields that say where images are saved.
    """
    names = [
        name
        for name, value in extras.items()
        if (name in PASSED_OVER and not empty(value)) or (name not in NAMES and _switch(name) is None)
    ]
    return [sound(name) for name in names]


def _switch(name: str) -> str | None:
    """The field that switches this one on; None where no other field does."""
    return next((switch for start, switch in SWITCHED.items() if name.startswith(start)), None)
