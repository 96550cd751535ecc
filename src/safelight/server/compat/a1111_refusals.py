"""What clients of A1111 and SD.Next may ask for in vain: refused by name, unless the value asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import FieldError
from safelight.generation.recall.filling import sound
from safelight.server.compat.a1111_names import NAMES, PASSED_OVER, REASONS, SWITCHED, empty


def check_extras(extras: Mapping[str, object]) -> None:
    """See that fields which A1111, Forge or SD.Next know, and Safelight does nothing with, ask for nothing.

    Names that none of them knows pass, as they do there; ``without_effect`` lists them.

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


def without_effect(extras: Mapping[str, object]) -> list[str]:
    """The fields that ask for something and were passed over, by their names, as texts that can be sent.

    They are those that none of the three programs knows, and those that say where pictures go.
    """
    names = [
        name
        for name, value in extras.items()
        if (name in PASSED_OVER and not empty(value)) or (name not in NAMES and _switch(name) is None)
    ]
    return [sound(name) for name in names]


def _switch(name: str) -> str | None:
    """The field that switches this one on; None for one that no other switches."""
    return next((switch for start, switch in SWITCHED.items() if name.startswith(start)), None)
