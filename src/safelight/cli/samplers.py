"""``safelight samplers``: the samplers, and the sigma schedules each supports."""

from __future__ import annotations

from typing import Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_line
from safelight.errors import UsageError

KindOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-kind",
        metavar="KIND",
        help="Only those that fit: diffusion, flow or edm.",
        show_default=False,
    ),
]


def samplers(kind: KindOption = None, json: JsonOption = False) -> None:
    """List the samplers with the sigma schedules they support."""
    from safelight.generation.solvers.registry import SAMPLERS, PredictionProcess

    kinds = [each.value for each in PredictionProcess]
    if kind not in (None, *kinds):
        raise UsageError(f"There is no kind {kind!r}.", hint=f"Give one of {', '.join(kinds)}.")
    rows = [
        sampler.to_dict()
        for sampler in SAMPLERS.values()
        if kind is None or kind in sampler.prediction_processes
    ]
    if json:
        print_json({"samplers": list(rows)})
        return
    for row in rows:
        schedules, aliases = ", ".join(row["schedules"]), ", ".join(row["aliases"])
        print_line(f"{row['name']:<24} {'/'.join(row['kinds']):<10} {schedules}")
        if remark := "; ".join(part for part in (f"also {aliases}" if aliases else "", row["note"]) if part):
            print_line(f"{'':<35} {remark}")
