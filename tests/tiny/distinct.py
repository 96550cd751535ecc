"""Which families and variants are computed in a way of their own: tests of the engine need no others."""

from __future__ import annotations

from dataclasses import replace

from tests.tiny import TINY

from safelight.models.families import FAMILIES, Family

OTHER_SCHEDULERS = frozenset({"sdxl-playground", "sd2-base"})
"""Whose scheduler's kind or prediction differs from that of their family."""


def is_distinct(name: str) -> bool:
    """Whether more than defaults differ from the family without a variant; name is one of ``TINY``.

    Those that need a reference picture have tests of their own.
    """
    if name in OTHER_SCHEDULERS:
        return True
    family = FAMILIES[name]
    if family.references is not None and family.references.required:
        return False
    own = FAMILIES.get(family.key)
    return own is None or not family.variant or _computation(family) != _computation(own)


def _computation(family: Family) -> Family:
    """The family without its names and defaults, and without references, which change nothing where there are none."""
    return replace(
        family,
        variant="",
        title="",
        references=None,
        steps=1,
        guidance_scale=1.0,
        side=64,
        sampler="",
        schedule=None,
    )


DISTINCT = [name for name in TINY if is_distinct(name)]
