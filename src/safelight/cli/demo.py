"""``safelight demo``: a tour of generating, editing and judging."""

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
"""Maximum number of images on the contact sheet and in the table; a folder may hold thousands."""
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
    """The images of the tour.

    Args:
        pictures: The generated images with their paths; None where the policy blocks one.
        before: The image that was edited.
        after: The edited image.
    """

    pictures: list[tuple[Picture, Path | None]]
    before: Path | None
    after: tuple[Picture, Path | None] | None


@dataclass(frozen=True)
class Shown:
    """A judged image with its files for the page.

    Args:
        judgement: The judgement.
        picture: A copy of the image, small enough for a page; None where it cannot be read.
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
    """A tour: generates, edits, judges its own pictures and yours, and writes a page to look at."""
    import json as jsonlib

    from safelight.files import written_whole
    from safelight.settings import Settings

    warn("Safelight generates and judges on this machine; nothing is sent anywhere.")
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
        typer.echo(f"… and {len(judgements) - _SHOWN} more with lower scores, in {out / _REPORT}.")
    typer.echo(f"\nLook at {out / _PAGE} in a browser; the generated pictures are also in {out / _SHEET}.")
    typer.echo("What the numbers show and what they don't: docs/moderation.md")


def _draw(studio: Studio, folder: Path) -> Drawings:
    """Generate every prompt of the tour, and edit the first picture."""
    prompts = [f"{thing}, {style}" for thing in THINGS for style in STYLES] + list(MORE)
    drawn = []
    with progress("Generating") as ticker:
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
    """Write the generated images as a contact sheet, four in a row."""
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
    """Judge the images; where there are more than can be shown, sort them by unsafe score, the highest first."""
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
    """A heat map of each image that could be read, and a contact sheet of all."""
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
