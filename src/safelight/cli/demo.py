"""``safelight demo``: the tour."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import Json, legible, print_json, progress, warn

if TYPE_CHECKING:
    from safelight.moderation import Judgement
    from safelight.studio import Studio

_SHOWN = 24
"""Pictures on the sheet and in the table; a folder of thousands must not become one picture of a mile."""
_SHEET = "verdicts.png"
_REPORT = "verdicts.jsonl"
_HEAT = "heat"


def demo(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE...]", help="Files or folders of your own.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the results go.")] = Path(
        "safelight-demo"
    ),
    json: Json = False,
) -> None:
    """The tour: judges the sample photographs and whatever you point it at, and leaves pictures to look at."""
    import json as jsonlib

    from safelight.files import written_whole
    from safelight.settings import Settings

    warn("Safelight looks at pictures on this machine; nothing is sent anywhere.")
    from safelight.studio import Studio

    studio = Studio(Settings.load(classifier="open-nsfw"), tell=warn)
    judgements = _judge(studio, _pictures(pictures or []))
    rows = [judgement.to_dict() for judgement in judgements]
    with written_whole(out / _REPORT) as temporary:
        temporary.write_text("".join(jsonlib.dumps(row) + "\n" for row in rows))
    _draw(studio, judgements, out)
    if json:
        print_json({"folder": str(out), "verdicts": rows})
        return
    _print_table(judgements)
    if len(judgements) > _SHOWN:
        typer.echo(f"… and {len(judgements) - _SHOWN} less remarkable ones, in {out / _REPORT}.")
    typer.echo(f"\nLook at {out / _SHEET}, and at the heat maps in {out / _HEAT}.")
    typer.echo("What the numbers show and what they don't: docs/moderation.md")


def _judge(studio: Studio, pictures: list[tuple[str, Path]]) -> list[Judgement]:
    """Judgements, the most remarkable first where there are more than can be shown."""
    from safelight.runtime.machine import usable_cores

    judged = []
    with progress("Judging") as ticker:
        ticker.expect(len(pictures))
        for judgement in studio.moderator().judge_many(pictures, workers=usable_cores()):
            judged.append(judgement)
            ticker.advance()
    if len(judged) <= _SHOWN:
        return judged
    return sorted(judged, key=lambda each: each.verdict.unsafe if each.verdict else 2.0, reverse=True)


def _pictures(own: list[str]) -> list[tuple[str, Path]]:
    from safelight.moderation.finding import find_pictures
    from safelight.samples import sample_photographs

    samples = [(str(path), path) for path in sample_photographs()]
    found = [(name, Path(name)) for target in own for name, _ in find_pictures(target)]
    return samples + found


def _draw(studio: Studio, judgements: list[Judgement], out: Path) -> None:
    """A heat map for each picture, and a sheet with all of them."""
    from safelight.moderation.sheet import draw_sheet

    explainer = studio.explainer()
    cells = []
    for number, judgement in enumerate(judgements[:_SHOWN]):
        if judgement.verdict is None:
            continue
        explanation = explainer.explain(judgement.path, limits=studio.limits, frame=judgement.verdict.frame)
        explanation.save(out / _HEAT / f"{number:02}-{Path(judgement.path).stem}.png")
        cells.append((judgement, explanation))
    draw_sheet(cells, out / _SHEET)


def _print_table(judgements: list[Judgement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("picture", "decision", "unsafe", "classifier", "policy")
    for judgement in judgements[:_SHOWN]:
        name = legible(Path(judgement.path).name)
        if judgement.verdict is None:
            table.add_row(name, "error", "", "", str(judgement.error))
            continue
        verdict = judgement.verdict
        policy = f"{verdict.policy.name} v{verdict.policy.version}"
        table.add_row(name, verdict.decision.value, f"{verdict.unsafe:.4f}", verdict.classifier.name, policy)
    Console(file=sys.stdout).print(table)
