"""What clients of A1111 and SD.Next may ask for in vain: refused by name, unless the value asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import FieldError
from safelight.server.compat.a1111_names import NAMES, REASONS, SWITCHED, empty


def check_extras(extras: Mapping[str, object]) -> None:
    """See that fields which A1111, Forge or SD.Next know, and Safelight does nothing with, ask for nothing.

    Names that none of them knows pass, as they do there; ``unknown`` lists them.

    Args:
        extras: Fields by name.

    Raises:
        FieldError: One asks for something.
    """
    for name, value in extras.items():
        switch = _switch(name)
        if switch is not None and switch != name and empty(extras.get(switch)):
            continue
        fits = NAMES.get(name) if switch is None else empty
        if fits is not None and not fits(value):
            reason = REASONS.get(name, "Nothing of Safelight's is behind this field.")
            shown = name if name.isascii() else ascii(name)
            raise FieldError(f"{shown}: {reason}", field=name, hint="Leave the field out.")


def unknown(extras: Mapping[str, object]) -> list[str]:
    """The names of fields that none of the three programs knows, as texts that can be sent."""
    strange = [name for name in extras if name not in NAMES and _switch(name) is None]
    return [name.encode("utf-8", "replace").decode() for name in strange]


def _switch(name: str) -> str | None:
    """The field that switches this one on; None for one that no other switches."""
    return next((switch for start, switch in SWITCHED.items() if name.startswith(start)), None)
