"""``safelight demo``: the tour."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import Json, legible, print_json, progress, warn

if TYPE_CHECKING:
    from safelight.moderation import Judgement
    from safelight.studio import Picture, Studio

_SHOWN = 24
"""Pictures on the sheet and in the table; a folder of thousands must not become one picture of a mile."""
_VERDICTS = "verdicts.png"
_REPORT = "verdicts.jsonl"
_HEAT = "heat"
_SEEN = "seen"
_DRAWN = "drawn"
_SHEET = "drawn.png"
_PAGE = "index.html"

THINGS = ("a red apple", "a cat face", "a rocket", "a butterfly")
STYLES = ("3d style", "flat style", "cartoon style", "sticker style")
MORE = (
    "a blue car, 3d style",
    "a strawberry, cartoon style, on a light blue background",
    "a dog and a cat, flat style",
    "a castle, 3d style",
)
EDIT = "a green apple, 3d style"


@dataclass(frozen=True)
class Drawings:
    """What the tour drew.

    Args:
        pictures: The prompts' pictures with their paths; None where the policy blocks one.
        before: The picture that was edited.
        after: The edited one.
    """

    pictures: list[tuple[Picture, Path | None]]
    before: Path | None
    after: tuple[Picture, Path | None] | None


@dataclass(frozen=True)
class Shown:
    """A judged picture with what there is to see of it.

    Args:
        judgement: What was found.
        picture: A copy of the picture, small enough for a page; None where it cannot be read.
        heat: Its heat map.
    """

    judgement: Judgement
    picture: Path | None = None
    heat: Path | None = None


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
    """The tour: draws, edits, judges what it drew and what you point it at, and leaves a page to look at."""
    import json as jsonlib

    from safelight.files import written_whole
    from safelight.settings import Settings

    warn("Safelight draws and judges on this machine; nothing is sent anywhere.")
    from safelight.studio import Studio

    studio = Studio(Settings.load(classifier="open-nsfw", checkpoint="starter"), tell=warn)
    drawings = _draw(studio, out / _DRAWN)
    _write_sheet(drawings, out / _SHEET)
    judgements = _judge(studio, _pictures(pictures or []))
    rows = [judgement.to_dict() for judgement in judgements]
    with written_whole(out / _REPORT) as temporary:
        temporary.write_text("".join(jsonlib.dumps(row) + "\n" for row in rows))
    shown = _explain(studio, judgements[:_SHOWN], out)
    _write_page(drawings, shown, len(judgements) - len(shown), out)
    if json:
        drawn = [picture.to_dict(path) for picture, path in _all(drawings)]
        print_json({"folder": str(out), "drawn": drawn, "verdicts": rows})
        return
    _print_table(judgements)
    if len(judgements) > _SHOWN:
        typer.echo(f"… and {len(judgements) - _SHOWN} less remarkable ones, in {out / _REPORT}.")
    typer.echo(f"\nLook at {out / _PAGE} in a browser; what was drawn is also in {out / _SHEET}.")
    typer.echo("What the numbers show and what they don't: docs/moderation.md")


def _draw(studio: Studio, folder: Path) -> Drawings:
    """Every prompt of the tour, and an edit of the first picture."""
    prompts = [f"{thing}, {style}" for thing in THINGS for style in STYLES] + list(MORE)
    drawn = []
    with progress("Drawing") as ticker:
        ticker.expect(len(prompts) + 1)
        for number, prompt in enumerate(prompts):
            picture = studio.generate(prompt, seed=number)[0]
            drawn.append((picture, _saved(picture, folder / f"{number:02}.png")))
            ticker.advance()
        before = drawn[0][1]
        after = None
        if before is not None:
            edited = studio.edit(before, EDIT, seed=0, strength=0.7)[0]
            after = (edited, _saved(edited, folder / "edited.png"))
        ticker.advance()
    return Drawings(drawn, before, after)


def _saved(picture: Picture, path: Path) -> Path | None:
    return None if picture.image is None else picture.save(path)


def _all(drawings: Drawings) -> list[tuple[Picture, Path | None]]:
    return drawings.pictures + ([drawings.after] if drawings.after else [])


def _write_sheet(drawings: Drawings, path: Path) -> None:
    """The drawn pictures, four in a row."""
    from PIL import Image

    from safelight.files import written_whole

    images = [picture.image for picture, _ in drawings.pictures]
    side = max((image.width for image in images if image), default=128)
    sheet = Image.new("RGB", (4 * (side + 6) + 6, -(-len(images) // 4) * (side + 6) + 6), (225, 225, 228))
    for number, image in enumerate(images):
        if image is not None:
            row, column = divmod(number, 4)
            sheet.paste(image, (column * (side + 6) + 6, row * (side + 6) + 6))
    with written_whole(path) as temporary:
        sheet.save(temporary, "PNG")


def _write_page(drawings: Drawings, shown: list[Shown], left_out: int, out: Path) -> None:
    from safelight.cli.demo_page import page
    from safelight.files import written_whole

    with written_whole(out / _PAGE) as temporary:
        temporary.write_text(page(drawings, shown, left_out, out), encoding="utf-8")


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


def _explain(studio: Studio, judgements: list[Judgement], out: Path) -> list[Shown]:
    """A heat map for each picture that could be read, and a sheet with all of them."""
    from safelight.files import written_whole
    from safelight.moderation.sheet import draw_sheet

    explainer = studio.explainer()
    cells, shown = [], []
    for number, judgement in enumerate(judgements):
        if judgement.verdict is None:
            shown.append(Shown(judgement))
            continue
        explanation = explainer.explain(judgement.path, limits=studio.limits, frame=judgement.verdict.frame)
        name = f"{number:02}-{Path(judgement.path).stem[:60]}"  # file systems take 255 bytes
        heat, picture = out / _HEAT / f"{name}.png", out / _SEEN / f"{name}.jpg"
        explanation.save(heat)
        with written_whole(picture) as temporary:
            explanation.picture.save(temporary, "JPEG", quality=90)
        shown.append(Shown(judgement, picture, heat))
        cells.append((judgement, explanation))
    draw_sheet(cells, out / _VERDICTS)
    return shown


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
