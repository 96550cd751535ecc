"""``safelight samplers``: the samplers, and the sigma schedules each supports."""

from __future__ import annotations

from typing import Annotated

import typer

from safelight.cli.console import Json, print_json, say
from safelight.errors import UsageError

KindName = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-kind",
        metavar="KIND",
        help="Only those that fit: diffusion, flow or edm.",
        show_default=False,
    ),
]


def samplers(kind: KindName = None, json: Json = False) -> None:
    """List the samplers with the sigma schedules they support."""
    from safelight.generation.sampler_table import SAMPLERS, Kind

    kinds = [each.value for each in Kind]
    if kind not in (None, *kinds):
        raise UsageError(f"There is no kind {kind!r}.", hint=f"Give one of {', '.join(kinds)}.")
    rows = [sampler.to_dict() for sampler in SAMPLERS if kind is None or kind in sampler.kinds]
    if json:
        print_json({"samplers": list(rows)})
        return
    for row in rows:
        schedules, aliases = ", ".join(row["schedules"]), ", ".join(row["aliases"])
        say(f"{row['name']:<24} {'/'.join(row['kinds']):<10} {schedules}")
        if remark := "; ".join(part for part in (f"also {aliases}" if aliases else "", row["note"]) if part):
            say(f"{'':<35} {remark}")
