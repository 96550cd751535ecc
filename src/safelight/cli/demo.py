"""``safelight demo``: a tour of generating, editing and judging."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_stderr, printable, progress

if TYPE_CHECKING:
    from safelight.moderation import Judgement
    from safelight.studio import Picture, Studio

_MAX_SHOWN = 24
"""Maximum number of images on the contact sheet and in the table; a folder may hold thousands."""
_VERDICTS = "verdicts.png"
_REPORT = "verdicts.jsonl"
_HEATMAPS = "heat"
_COPIES = "seen"
_GENERATED = "drawn"
_CONTACT_SHEET = "drawn.png"
_PAGE = "index.html"

SUBJECTS = ("a red apple", "a cat face", "a rocket", "a butterfly")
STYLES = ("3d style", "flat style", "cartoon style", "sticker style")
MORE_PROMPTS = (
    "a blue car, 3d style",
    "a strawberry, cartoon style, on a light blue background",
    "a dog and a cat, flat style",
    "a castle, 3d style",
)
EDIT_PROMPT = "a green apple, 3d style"


@dataclass(frozen=True)
class DemoImages:
    """The images of the tour.

    Args:
        generated: The generated images with their paths; None where the policy blocks one.
        before: The image that was edited.
        after: The edited image.
    """

    generated: list[tuple[Picture, Path | None]]
    before: Path | None
    after: tuple[Picture, Path | None] | None


@dataclass(frozen=True)
class JudgedImage:
    """A judged image with its files for the page.

    Args:
        judgement: The judgement.
        copy: A copy of the image, small enough for a page; None where it cannot be read.
        heatmap: Its heat map.
    """

    judgement: Judgement
    copy: Path | None = None
    heatmap: Path | None = None


def demo(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE...]", help="Files or folders of your own.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the results go.")] = Path(
        "safelight-demo"
    ),
    json: JsonOption = False,
) -> None:
    """A tour: generates, edits, judges its own pictures and yours, and writes a page to look at."""
    import json as jsonlib

    from safelight.atomic_write import atomic_write
    from safelight.settings import Settings

    print_stderr("Safelight generates and judges on this machine; nothing is sent anywhere.")
    from safelight.studio import Studio

    studio = Studio(Settings.load(classifier="open-nsfw", checkpoint="starter"), on_message=print_stderr)
    drawings = _generate(studio, out / _GENERATED)
    _write_contact_sheet(drawings, out / _CONTACT_SHEET)
    judgements = _judge(studio, _find_images(pictures or []))
    rows = [judgement.to_dict() for judgement in judgements]
    with atomic_write(out / _REPORT) as temporary:
        temporary.write_text("".join(jsonlib.dumps(row) + "\n" for row in rows))
    shown = _explain(studio, judgements[:_MAX_SHOWN], out)
    _write_page(drawings, shown, len(judgements) - len(shown), out)
    if json:
        drawn = [picture.to_dict(path) for picture, path in _all_images(drawings)]
        print_json({"folder": str(out), "drawn": drawn, "verdicts": rows})
        return
    _print_table(judgements)
    if len(judgements) > _MAX_SHOWN:
        typer.echo(f"… and {len(judgements) - _MAX_SHOWN} more with lower scores, in {out / _REPORT}.")
    typer.echo(
        f"\nLook at {out / _PAGE} in a browser; the generated pictures are also in {out / _CONTACT_SHEET}."
    )
    typer.echo("What the numbers show and what they don't: docs/moderation.md")


def _generate(studio: Studio, folder: Path) -> DemoImages:
    """Generate every prompt of the tour, and edit the first picture."""
    prompts = [f"{thing}, {style}" for thing in SUBJECTS for style in STYLES] + list(MORE_PROMPTS)
    drawn = []
    with progress("Generating") as ticker:
        ticker.set_total(len(prompts) + 1)
        for number, prompt in enumerate(prompts):
            picture = studio.generate(prompt, seed=number)[0]
            drawn.append((picture, _save(picture, folder / f"{number:02}.png")))
            ticker.advance()
        before = drawn[0][1]
        after = None
        if before is not None:
            edited = studio.edit(before, EDIT_PROMPT, seed=0, strength=0.7)[0]
            after = (edited, _save(edited, folder / "edited.png"))
        ticker.advance()
    return DemoImages(drawn, before, after)


def _save(picture: Picture, path: Path) -> Path | None:
    return None if picture.image is None else picture.save(path)


def _all_images(images: DemoImages) -> list[tuple[Picture, Path | None]]:
    return images.generated + ([images.after] if images.after else [])


def _write_contact_sheet(drawings: DemoImages, path: Path) -> None:
    """Write the generated images as a contact sheet, four in a row."""
    from PIL import Image

    from safelight.atomic_write import atomic_write

    images = [picture.image for picture, _ in drawings.generated]
    side = max((image.width for image in images if image), default=128)
    sheet = Image.new("RGB", (4 * (side + 6) + 6, -(-len(images) // 4) * (side + 6) + 6), (225, 225, 228))
    for number, image in enumerate(images):
        if image is not None:
            row, column = divmod(number, 4)
            sheet.paste(image, (column * (side + 6) + 6, row * (side + 6) + 6))
    with atomic_write(path) as temporary:
        sheet.save(temporary, "PNG")


def _write_page(images: DemoImages, judged: list[JudgedImage], omitted: int, out: Path) -> None:
    from safelight.atomic_write import atomic_write
    from safelight.cli.demo_page import render_page

    with atomic_write(out / _PAGE) as temporary:
        temporary.write_text(render_page(images, judged, omitted, out), encoding="utf-8")


def _judge(studio: Studio, pictures: list[tuple[str, Path]]) -> list[Judgement]:
    """Judge the images; where there are more than can be shown, sort them by unsafe score, the highest first."""
    from safelight.runtime.machine import usable_cores

    judged = []
    with progress("Judging") as ticker:
        ticker.set_total(len(pictures))
        for judgement in studio.moderator().judge_many(pictures, workers=usable_cores()):
            judged.append(judgement)
            ticker.advance()
    if len(judged) <= _MAX_SHOWN:
        return judged
    return sorted(judged, key=lambda each: each.verdict.unsafe if each.verdict else 2.0, reverse=True)


def _find_images(own: list[str]) -> list[tuple[str, Path]]:
    from safelight.moderation.scan.sources import find_images
    from safelight.samples import sample_photographs

    samples = [(str(path), path) for path in sample_photographs()]
    found = [(name, Path(name)) for target in own for name, _ in find_images(target)]
    return samples + found


def _explain(studio: Studio, judgements: list[Judgement], out: Path) -> list[JudgedImage]:
    """A heat map of each image that could be read, and a contact sheet of all."""
    from safelight.atomic_write import atomic_write
    from safelight.moderation.contact_sheet import write_contact_sheet

    explainer = studio.explainer()
    cells, shown = [], []
    for number, judgement in enumerate(judgements):
        if judgement.verdict is None:
            shown.append(JudgedImage(judgement))
            continue
        explanation = explainer.explain(judgement.path, limits=studio.limits, frame=judgement.verdict.frame)
        name = f"{number:02}-{Path(judgement.path).stem[:60]}"  # file systems take 255 bytes
        heat, picture = out / _HEATMAPS / f"{name}.png", out / _COPIES / f"{name}.jpg"
        explanation.save(heat)
        with atomic_write(picture) as temporary:
            explanation.image.save(temporary, "JPEG", quality=90)
        shown.append(JudgedImage(judgement, picture, heat))
        cells.append((judgement, explanation))
    write_contact_sheet(cells, out / _VERDICTS)
    return shown


def _print_table(judgements: list[Judgement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("picture", "decision", "unsafe", "classifier", "policy")
    for judgement in judgements[:_MAX_SHOWN]:
        name = printable(Path(judgement.path).name)
        if judgement.verdict is None:
            table.add_row(name, "error", "", "", str(judgement.error))
            continue
        verdict = judgement.verdict
        policy = f"{verdict.policy.name} v{verdict.policy.version}"
        table.add_row(name, verdict.decision.value, f"{verdict.unsafe:.4f}", verdict.classifier.name, policy)
    Console(file=sys.stdout).print(table)
