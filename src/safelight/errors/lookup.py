"""Finding error classes: all of them, or the one that has a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.errors import (
    api,
    base,
    bench,
    client,
    database,
    fields,
    gallery,
    generation,
    images,
    jobs,
    models,
    moderation,
    plugins,
    records,
    runtime,
    search,
    security,
    server,
)
from safelight.errors.base import SafelightError

DOMAINS = (
    base,
    images,
    generation,
    moderation,
    records,
    models,
    runtime,
    jobs,
    gallery,
    search,
    database,
    server,
    security,
    api,
    fields,
    client,
    bench,
    plugins,
)
"""The modules of errors in the catalogue's order; a class comes after its parent."""


def catalogue() -> list[type[SafelightError]]:
    """All error classes by domain, parents before children; classes of other packages come last."""
    order = {module.__name__: number for number, module in enumerate(DOMAINS)}

    def walk(parent: type[SafelightError]) -> list[type[SafelightError]]:
        return [parent, *(found for child in parent.__subclasses__() for found in walk(child))]

    return sorted(walk(SafelightError), key=lambda error: order.get(error.__module__, len(order)))


def error_of(
    code: str,
    message: str,
    hint: str = "",
    field: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> SafelightError:
    """Rebuild the error that another process raised; of an unknown code it is one of the root class."""
    kind = next((error for error in catalogue() if error.code == code), SafelightError)
    error = kind(message, hint=hint)
    error.field, error.context = field or "", dict(context or {})
    return error
